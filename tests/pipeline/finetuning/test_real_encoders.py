"""Real architectures are tuned, written and opened again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.sources import EncoderRequest
from msa.features.encoders.vision import build_torchvision
from msa.features.encoders.zoo import open_encoder
from msa.features.extraction.embed import decode
from msa.features.extraction.extract import extract
from msa.features.posts.samples import Corpus, Sample
from msa.features.spec import Modality
from msa.pipeline.config.tune_config import TuneConfig
from msa.pipeline.finetuning.finetune import finetune
from msa.pipeline.finetuning.request import TuneRequest

LOCAL = EncoderOptions(local_files_only=True)


def pictures(folder: Path, count: int = 16) -> Corpus:
    """Posts of a noisy picture and a text each."""
    draw = np.random.default_rng(0)
    samples = []
    for number in range(count):
        Image.fromarray(draw.integers(0, 256, (240, 250, 3), np.uint8)).save(folder / f"{number}.png")
        samples.append(Sample(f"p{number}", folder / f"{number}.png", f"number {number} is fine", "ab"[number % 2]))
    return Corpus(folder, "table", samples)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("modality", "name"),
    [
        *(("image", name) for name in ("resnet18", "resnet50", "densenet121", "swin_t", "vit_b_32", "inception_v3")),
        *(("image", "efficientnet_lite0"), ("text", "minilm"), ("image", "timm:resnetv2_18.ra4_e3600_r224_in1k")),
    ],
)
def test_real_encoders_are_tuned_written_and_opened(tmp_path: Path, modality: Modality, name: str) -> None:
    corpus, options = pictures(tmp_path), LOCAL
    if name not in ("efficientnet_lite0", "minilm"):
        torch.manual_seed(0)
        model = timm.create_model(name[5:]) if name.startswith("timm:") else build_torchvision(name)
        torch.save(model.state_dict(), tmp_path / "weights.pth")
        options = replace(LOCAL, weights=tmp_path / "weights.pth")
    config = TuneConfig(epochs=1, batch_size=4, lr=1e-4)
    out, cache = tmp_path / "tuned", tmp_path / "cache"
    names = ((name,), ()) if modality == "image" else ((), (name,))
    files = () if options.weights is None else (str(options.weights),)
    request = TuneRequest(EncoderRequest(*names, LOCAL, files), config, cache=cache, device="cpu")
    finetune(corpus, request, out)
    pooled = []
    for source in (open_encoder(name, modality, options), open_encoder(str(out), modality, LOCAL)):
        encoder = source.load(Runtime())
        pooled.append(encoder.encode([encoder.preprocess(decode(corpus.samples[0], modality))])[0].pooled[0])
        assert pooled[-1].shape == (source.spec.width,)
    assert np.isfinite(pooled[1]).all()
    assert np.abs(pooled[0] - pooled[1]).max() > 1e-4
    names = ((str(out),), ()) if modality == "image" else ((), (str(out),))
    (report,) = extract(corpus, EncoderRequest(*names, LOCAL), cache).encoders
    assert (report.encoded, report.bad) == (16, 0)

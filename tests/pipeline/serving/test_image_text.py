"""A run on the text inside images serves posts with an image, a text or both as `msa predict` does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from served_runs import COLOURS, CPU, HEAD, QUICK, WORDS, draw_posts, picture

from msa.features.encoders.sources import EncoderRequest
from msa.features.extraction.extract import extract
from msa.features.posts.image_texts import ImageTexts
from msa.pipeline.config.data_config import DataConfig
from msa.pipeline.predict import Predictions, predict_post
from msa.pipeline.serving.warm_model import WarmModel
from msa.pipeline.train_head import train_head


def read_colour(self: ImageTexts, pixels: np.ndarray) -> str:  # type: ignore[type-arg]
    """A stand-in for RapidOCR: the words of the colour that a picture is nearest to."""
    mean = pixels.reshape(-1, 3).mean(0)
    return WORDS[min(COLOURS, key=lambda name: float(np.abs(mean - COLOURS[name]).sum()))]


def test_served_posts_are_those_of_predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rapidocr", reason="the extra `ocr` is not installed")
    monkeypatch.setattr(ImageTexts, "_recognise", read_colour)
    corpus, cache = draw_posts(tmp_path), tmp_path / "cache"
    names = ("lexicon", "lexicon@ocr")
    extract(corpus, EncoderRequest((), names), cache, CPU)
    data = DataConfig(cache, ("none",), names, folds=2, device="cpu")
    head = replace(HEAD, fusion="concat", inputs="pooled")
    run = train_head(corpus, data, head, QUICK, runs=tmp_path / "runs").run
    model = WarmModel.load(run, cache=cache, settings=CPU, local_files_only=True)
    assert model.reads == ("image", "text")
    (tmp_path / "glad.png").write_bytes(picture(COLOURS["glad"]))
    give: Callable[[bool], bytes | None] = lambda there: picture(COLOURS["glad"]) if there else None  # noqa: E731
    for image, text in ((True, "an awful day"), (True, None), (False, "an awful day")):
        (served,) = model.predict([model.prepare(give(image), text)])
        assert isinstance(served, Predictions)
        same = predict_post(run, image=tmp_path / "glad.png" if image else None, text=text, cache=cache, settings=CPU)
        np.testing.assert_allclose(served.probabilities, same.probabilities, atol=1e-6)

"""What is stored under a name keeps that name: a renamed cache folder or split would be computed again."""

from __future__ import annotations

import numpy as np
import pytest

from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.zoo import open_encoder
from msa.features.spec import Modality
from msa.pipeline.data.split import Posts

SLUGS: dict[tuple[str, Modality], str] = {
    ("efficientnet_lite0", "image"): "efficientnet_lite0-f6e39b81f040",
    ("efficientnet_lite1", "image"): "efficientnet_lite1-c3d918c87249",
    ("efficientnet_lite2", "image"): "efficientnet_lite2-7e16086da276",
    ("pixels", "image"): "pixels-2b0ab3766f17",
    ("pixels64", "image"): "pixels64-0b648a36aba0",
    ("minilm", "text"): "minilm-1cdc8444129b",
    ("tokens", "text"): "tokens-e22bc83a05a5",
    ("lexicon", "text"): "lexicon-eed8d231c057",
}


@pytest.mark.parametrize(("encoder", "slug"), SLUGS.items(), ids=[name for name, _ in SLUGS])
def test_the_embedded_encoders_keep_their_cache_folders(encoder: tuple[str, Modality], slug: str) -> None:
    assert open_encoder(*encoder, EncoderOptions(local_files_only=True)).spec.slug == slug


def test_a_split_keeps_its_file() -> None:
    posts = Posts(
        ["a", "b", "c"],
        ["good", None, "bad"],
        np.array([0, 1, 1]),
        [None, "test", "train"],
        [("x", "1"), ("y", None), (None, "3")],
    )
    assert posts.digest(5, 0) == "c89f02f478a92175"
    assert posts.digest(None, 7) == "8c26487cad2d4d91"

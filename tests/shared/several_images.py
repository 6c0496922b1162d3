"""Posts with several images, whose embeddings are drawn: no encoder and no picture is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from msa.features.blob import content_key
from msa.features.posts.samples import Corpus, Sample
from msa.features.spec import EncoderSpec
from msa.features.store.errors import BadRecord, update_errors
from msa.features.store.store import Store
from msa.features.store.writer import Writer

EYE = EncoderSpec("eye", "image", "timm", "fake", "sha256:0", "last", "mean", "{}", 4, "float32")


def several_images(folder: Path, posts: Mapping[str, Sequence[str]], *, text: str | None = "words {}") -> Corpus:
    """Posts by id, each with images by the name of their content; empty for an image that is no file."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = []
    for number, (name, images) in enumerate(posts.items()):
        files = [folder / f"{name}-{place}.jpg" for place in range(len(images))]
        for file, image in zip(files, images, strict=True):
            if image:
                file.write_bytes(image.encode())
        first, *more = [*files] or [None]
        own = None if text is None else text.format(name)
        samples.append(Sample(name, first, own, "ab"[number % 2], more_images=tuple(filter(None, more))))
    return Corpus(folder, "table", samples)


def vectors_of(image: str, spec: EncoderSpec = EYE, *, tokens: int = 4) -> np.ndarray:
    """The tokens (T, D) drawn for an image."""
    return np.random.default_rng([*image.encode()]).normal(size=(tokens, spec.width)).astype(np.float32)


def embed_drawn(
    cache: Path, images: Mapping[str, int], spec: EncoderSpec = EYE, *, bad: Sequence[str] = (), tokens: bool = True
) -> None:
    """Store drawn embeddings of images by name, each with its number of tokens; `bad` ones are listed as such."""
    writer = Writer(Store.open(cache, spec), tokens=tokens)
    for image, count in images.items():
        rows = vectors_of(image, spec, tokens=count)
        writer.add(content_key(image.encode()), rows.mean(0), rows.astype(spec.dtype) if tokens else None)
    writer.flush()
    records = [BadRecord("", content_key(image.encode()), image, "cannot be embedded") for image in bad]
    update_errors(cache / spec.slug, [], records)

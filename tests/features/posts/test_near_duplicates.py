"""Near copies: encoding and size change no hash by much, other pictures do; groups are found without all pairs."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from msa.features.posts import near_duplicates
from msa.features.posts.check import check_corpus
from msa.features.posts.content import duplicate_groups, hash_corpus
from msa.features.posts.near_duplicates import DISTANCE, image_hash, near_duplicate_groups, similar_groups, text_hash
from msa.features.posts.samples import Corpus, Sample


def picture(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Ellipses on a graded ground, drawn by the seed."""
    random = np.random.default_rng(seed)
    width, height = size
    ground = np.linspace(random.integers(0, 256, 3), random.integers(0, 256, 3), width).astype(np.uint8)
    image = Image.fromarray(np.repeat(ground[None], height, 0))
    draw = ImageDraw.Draw(image)
    for _ in range(8):
        x, y = random.uniform(-0.2, 0.8, 2) * size
        w, h = random.uniform(0.1, 0.6, 2) * size
        draw.ellipse((x, y, x + w, y + h), fill=tuple(random.integers(0, 256, 3).tolist()))
    return image


def saved(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def bits(image: Image.Image) -> int:
    return int(image_hash(np.asarray(image)), 16)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.sampled_from([(320, 240), (240, 320), (501, 333), (128, 128)]))
def test_copies_of_lower_quality_or_half_size_are_near(seed: int, size: tuple[int, int]) -> None:
    image = picture(seed, size)
    half = image.resize((size[0] // 2, size[1] // 2), Image.Resampling.LANCZOS)
    assert (bits(image) ^ bits(saved(image, 50))).bit_count() <= DISTANCE
    assert (bits(image) ^ bits(half)).bit_count() <= DISTANCE
    assert (bits(image) ^ bits(picture(seed + 1, size))).bit_count() > DISTANCE


def test_flat_images_have_nothing_to_compare() -> None:
    for colour in ("white", "black", "red"):
        assert image_hash(np.asarray(Image.new("RGB", (50, 50), colour))) == ""
    assert len(image_hash(np.asarray(picture(0)))) == 16


def test_texts_are_near_but_for_case_spaces_links_and_mentions() -> None:
    near = ["So HAPPY today #sun", "so happy  today #Sun http://t.co/x", "RT @you: so happy today sun"]
    assert len({text_hash(text) for text in near}) == 1
    assert text_hash("so happy today, sun") != text_hash(near[0])
    assert text_hash("http://t.co/x @you") == ""


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.sets(st.integers(0, 63), max_size=8)), max_size=30), st.integers(0, 99))
def test_groups_are_those_of_all_pairs(flips: list[tuple[int, set[int]]], seed: int) -> None:
    centres = np.random.default_rng(seed).integers(0, 2**64, 5, np.uint64)
    drawn = {int(centres[which]) ^ sum(1 << bit for bit in flipped) for which, flipped in flips}
    hashes = np.array(sorted(drawn), np.uint64)
    groups = similar_groups(hashes)
    near: NDArray[np.bool_] = np.bitwise_count(hashes[:, None] ^ hashes[None]) <= DISTANCE
    for _ in range(len(hashes)):
        near = near | (near @ near)
    assert ((groups[:, None] == groups[None]) == near).all()


def test_few_of_all_pairs_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = np.unique(np.random.default_rng(0).integers(0, 2**64, 20_000, np.uint64))
    compared = [0]
    count = np.bitwise_count

    def counted(numbers: NDArray[np.uint64]) -> NDArray[np.uint8]:
        compared[0] += len(numbers)
        return count(numbers)

    monkeypatch.setattr(np, "bitwise_count", counted)
    similar_groups(hashes)
    assert 0 < compared[0] < len(hashes) ** 2 / 50


def corpus_with_copies(root: Path) -> Corpus:
    """Two pictures and copies of them, a third one, two flat ones; texts of which two are near copies."""
    first, second = picture(1), picture(2)
    images = [first, saved(first, 50), second, second.resize((160, 120)), picture(3), *map(flat, ("red", "blue"))]
    texts = ["good day", "Good  day", "bad day", "x", "y", "z", None]
    samples = []
    for number, (image, text) in enumerate(zip(images, texts, strict=True)):
        file = root / f"{number}.png"
        image.save(file)
        os.utime(file, (0, 0))
        samples.append(Sample(str(number), file, text, "positive" if number in (0, 3) else "negative"))
    return Corpus(root, "table", samples)


def flat(colour: str) -> Image.Image:
    return Image.new("RGB", (40, 40), colour)


def test_check_counts_near_copies_and_groups_tie_them(tmp_path: Path) -> None:
    corpus = corpus_with_copies(tmp_path)
    lines = check_corpus(corpus).to_text().splitlines()
    assert next(line for line in lines if line.startswith("near copies of images")).split("  ")[-1].strip() == (
        "4 posts in 2 groups, 2 across labels"
    )
    assert any("near copies of texts" in line and "2 posts in 1 groups, 1 across labels" in line for line in lines)
    contents = hash_corpus(corpus)
    near = near_duplicate_groups(corpus, contents, ("image", "text"))
    assert duplicate_groups(contents.image_keys, contents.text_keys) == [0, 1, 2, 3, 4, 5, 6]
    assert duplicate_groups(contents.image_keys, contents.text_keys, *near) == [0, 0, 1, 1, 2, 3, 4]


def test_equal_content_is_no_near_copy(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "a.png")
    samples = [Sample(name, tmp_path / "a.png", "same") for name in ("a", "b")]
    report = check_corpus(Corpus(tmp_path, "table", samples))
    assert report.duplicates["image"].rows == 2
    assert report.near_copies["image"].rows == report.near_copies["text"].rows == 0


def test_a_second_check_decodes_nothing_but_bad_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = corpus_with_copies(tmp_path)
    (tmp_path / "bad.png").write_bytes(b"no image")
    os.utime(tmp_path / "bad.png", (0, 0))
    corpus = replace(corpus, samples=[*corpus.samples, Sample("bad", tmp_path / "bad.png", None)])
    (tmp_path / "cache").mkdir()
    first = check_corpus(corpus, tmp_path / "cache")
    decoded = [0]
    decode = near_duplicates.decode_pixels

    def counted(raw: bytes) -> NDArray[np.uint8]:
        decoded[0] += 1
        return decode(raw)

    monkeypatch.setattr(near_duplicates, "decode_pixels", counted)
    assert check_corpus(corpus, tmp_path / "cache") == first
    assert decoded == [1]
    assert [problem.file for problem in first.problems] == ["bad.png"]
    assert check_corpus(replace(corpus, rehash=True), tmp_path / "cache") == first
    assert decoded == [9]


def test_a_file_that_changes_or_takes_too_much_memory_is_a_bad_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = corpus_with_copies(tmp_path)
    contents = hash_corpus(corpus)
    picture(9).save(tmp_path / "0.png")
    real = near_duplicates.image_hash

    def hungry(pixels: NDArray[np.uint8]) -> str:
        if pixels.shape == (120, 160, 3):
            raise MemoryError
        return real(pixels)

    monkeypatch.setattr(near_duplicates, "image_hash", hungry)
    found = near_duplicates.near_hashes(corpus, contents, "image")
    assert found.bad == {
        contents.image_keys[0]: "changed while it was read; run the command again",
        contents.image_keys[3]: "not enough memory; a smaller copy may do",
    }
    assert len(found.hashes) == 5

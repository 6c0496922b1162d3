"""Verification names every damaged file, finds rows that their encoder would not write, and what it cannot check."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msa.cli import run_command
from msa.features.cache import verify
from msa.features.cache.verify import cosines, verify_cache
from msa.features.encoders.encoder import Encoded, Encoder, Source
from msa.features.extraction import embed
from msa.features.extraction.embed import embed_corpus
from msa.features.posts.samples import Corpus, Sample
from msa.features.spec import BadItem, EncoderSpec
from msa.features.store.header import HEADER_BYTES
from msa.features.store.store import Store
from msa.features.store.writer import Writer

TEXTS = [f"{'word ' * (n % 7)}{n}" for n in range(40)]
SPEC = EncoderSpec("fake", "text", "timm", "fake", "sha256:0", "last", "mean", "{}", 4, "float16")
OTHER = replace(SPEC, layer="first")


class Fake(Encoder):
    """A vector per letter; the second spec sees them doubled and reversed."""

    specs = (SPEC, OTHER)

    def preprocess(self, item: str, key: str = "") -> list[int]:
        if item == "forbidden":
            raise BadItem("no known word")
        return [ord(letter) for letter in item]

    def length(self, prepared: list[int]) -> int:
        return len(prepared)

    def encode(self, batch: Sequence[list[int]]) -> tuple[Encoded, ...]:
        tokens = [np.stack([np.sin(np.arange(1, 5) * letter / 9) for letter in item]) for item in batch]
        pooled = np.stack([item.mean(0) for item in tokens]).astype(np.float32)
        return Encoded(pooled, list(tokens)), Encoded(pooled[:, ::-1] * 2, [item[:, ::-1] * 2 for item in tokens])


SOURCE = Source(Fake.specs, lambda runtime: Fake())


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "reopen", lambda spec, cache, local_files_only: SOURCE)


def corpus(texts: Sequence[str] = TEXTS) -> Corpus:
    return Corpus(Path("posts"), "table", [Sample(f"p{n}", None, text) for n, text in enumerate(texts)])


def change(cache: Path, spec: EncoderSpec, edit: Callable[[str, Any, Any], tuple[Any, Any]]) -> None:
    """Write a store's rows again, edited, with right checksums."""
    store = Store(cache / spec.slug, spec)
    old = list(store.read(store.keys, tokens=True))
    for part in store.parts:
        part.path.unlink()
    writer = Writer(store, tokens=True)
    for _, rows in old:
        assert rows.tokens is not None
        assert rows.offsets is not None
        for at, key in enumerate(rows.keys):
            item = rows.tokens[rows.offsets[at] : rows.offsets[at + 1]]
            writer.add(key.decode(), *edit(key.decode(), rows.pooled[at].copy(), item.copy()))
    writer.flush()


def test_what_was_extracted_is_what_the_encoder_gives(tmp_path: Path) -> None:
    embed_corpus(corpus(), [SOURCE], tmp_path)
    found = verify_cache(tmp_path, corpus(), sample=15)
    assert found.ok
    assert [check.compared for check in found.checks] == [15, 15]
    for check in found.checks:
        assert check.pooled_cosine == pytest.approx(1)
        assert check.token_cosine == pytest.approx(1, abs=1e-6)
        assert check.difference == 0
    assert verify_cache(tmp_path, corpus(), sample=1000).checks[0].compared == len(TEXTS)


def test_the_draw_is_seeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embed_corpus(corpus(), [SOURCE], tmp_path)
    drawn: list[str] = []
    original = embed.decode
    monkeypatch.setattr(
        embed, "decode", lambda post, *how, **more: (drawn.append(post.id), original(post, *how, **more))[1]
    )
    seen = []
    for seed in (1, 1, 2):
        verify_cache(tmp_path, corpus(), sample=5, seed=seed)
        seen.append(sorted(drawn))
        drawn.clear()
    assert seen[0] == seen[1] != seen[2]


@pytest.mark.parametrize("what", ["pooled", "one token", "fewer tokens", "order"])
def test_a_changed_row_is_found_though_its_checksum_is_right(tmp_path: Path, what: str) -> None:
    embed_corpus(corpus(), [SOURCE], tmp_path)
    victim = Store(tmp_path / OTHER.slug, OTHER).keys[3]

    def edit(key: str, pooled: np.ndarray, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if key == victim and what == "pooled":
            pooled[2] += 0.1
        if key == victim and what == "one token":
            tokens[-1] = -tokens[-1]
        if key == victim and what == "fewer tokens":
            tokens = tokens[:-1]
        return (pooled[::-1], tokens) if what == "order" else (pooled, tokens)

    change(tmp_path, OTHER, edit)
    assert verify_cache(tmp_path).ok
    found = verify_cache(tmp_path, corpus(), sample=len(TEXTS))
    checks = {check.slug: check for check in found.checks}
    assert not found.ok
    assert checks[SPEC.slug].ok
    assert len(checks[OTHER.slug].mismatches) == (len(TEXTS) if what == "order" else 1)
    assert "differs from its encoder's output" in found.to_text()


def test_a_row_that_could_not_be_written_today_is_found(tmp_path: Path) -> None:
    embed_corpus(corpus(["allowed"]), [SOURCE], tmp_path)
    writer = Writer(Store.open(tmp_path, SPEC), tokens=True)
    writer.add(verify.hash_corpus(corpus(["forbidden"])).text_keys[0] or "", np.ones(4, np.float32), np.ones((1, 4)))
    writer.flush()
    found = verify_cache(tmp_path, corpus(["allowed", "forbidden"]))
    (message,) = [note for check in found.checks for note in check.mismatches]
    assert "p1 is stored, but cannot be encoded: no known word" in message


def test_rows_without_tokens_are_compared_by_their_pooled_vectors(tmp_path: Path) -> None:
    embed_corpus(corpus(TEXTS[:3]), [SOURCE], tmp_path, replace(verify.ExtractSettings(), tokens=False))
    embed_corpus(corpus(TEXTS[3:5]), [SOURCE], tmp_path)
    found = verify_cache(tmp_path, corpus())
    assert found.ok
    assert [check.compared for check in found.checks] == [5, 5]


def test_every_damaged_file_is_named_not_the_first_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for texts in (TEXTS[:5], TEXTS[5:9]):
        embed_corpus(corpus(texts), [SOURCE], tmp_path, merge=False)
    parts = sorted(tmp_path.glob("*/part-*.h5"))
    assert len(parts) == 4
    rng = np.random.default_rng(0)
    for path in parts[:3]:
        raw = bytearray(path.read_bytes())
        raw[rng.integers(HEADER_BYTES, len(raw))] ^= 1 << rng.integers(8)
        path.write_bytes(raw)
    parts[1].write_bytes(parts[1].read_bytes()[:-7])
    (parts[3].parent / "errors.jsonl").write_text("{")
    assert run_command(["cache", "verify", "--cache", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert [path.name in out for path in parts] == [True, True, True, False]
    assert "errors.jsonl" in out
    assert "checksums only" in out
    (tmp_path / SPEC.slug / "spec.json").unlink()
    assert run_command(["cache", "verify", "--cache", str(tmp_path), "--json"]) == 1
    checks = {check["slug"]: check for check in json.loads(capsys.readouterr().out)["encoders"]}
    assert any("spec.json" in damage for damage in checks[SPEC.slug]["damage"])
    assert checks[SPEC.slug]["parts"] == 2


def test_an_encoder_that_is_not_here_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embed_corpus(corpus(), [SOURCE], tmp_path)

    def reopen(spec: EncoderSpec, cache: Path, local_files_only: bool) -> Source:
        if spec == SPEC:
            raise ValueError("its weights are on another machine")
        return SOURCE

    monkeypatch.setattr(verify, "reopen", reopen)
    found = verify_cache(tmp_path, corpus())
    checks = {check.slug: check for check in found.checks}
    assert found.ok
    assert (checks[SPEC.slug].compared, checks[OTHER.slug].compared) == (0, 32)
    assert f"{SPEC.slug} was not encoded again: its weights are on another machine" in found.to_text()
    assert checks[OTHER.slug].unopened is None
    for check in verify_cache(tmp_path, corpus(["a text of other posts"])).checks:
        assert check.unopened == "none of its rows belongs to these posts"


def test_cosines_of_nothing() -> None:
    one = np.array([[3.0, 4], [0, 0], [0, 0], [1, 0]])
    other = np.array([[6.0, 8], [0, 0], [0, 1], [-1, 0]])
    np.testing.assert_allclose(cosines(one, other), [1, 1, 0, -1])

"""Encoders from local files are opened again after the project was renamed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from msa.features.encoders.sources import EncoderRequest, open_sources, reopen
from msa.features.posts.samples import Corpus, Sample

VECTORS = "3 2\nsun 0.5 1.0\nrain -0.5 0.25\nsea 0.0 2.0\n"


@pytest.mark.parametrize("suffix", ["", "@max"])
def test_word_vectors_that_moved_with_the_cache_are_found(tmp_path: Path, suffix: str) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    (old / "words.txt").write_text(VECTORS)
    posts = Corpus(old, "table", [Sample("p", None, "sun and sea", "a")])
    (source,) = open_sources(EncoderRequest((), (f"gensim:{old / 'words.txt'}{suffix}",)), posts, old / "cache")
    (note,) = (old / "cache").glob("*/origin.json")
    assert json.loads(note.read_text())["name"] == f"gensim:../../words.txt{suffix}"
    old.rename(new)
    assert reopen(source.spec, new / "cache").spec == source.spec
    earlier = new / "cache" / source.spec.slug / "origin.json"
    earlier.write_text(json.dumps({"name": f"gensim:{new / 'words.txt'}{suffix}", "weights": None}))
    assert reopen(source.spec, new / "cache").spec == source.spec

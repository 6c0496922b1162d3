"""The name of a stored split depends on all of its rows, however many are digested at once."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from msa.pipeline.data import split
from msa.pipeline.data.split import Posts


def test_the_name_of_a_stored_split_is_a_digest_of_all_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "DIGESTED", 3)
    ids, labels, splits = [f"p{n} é" for n in range(7)], ["a", None] * 3 + ["b"], [None, "test"] * 3 + ["train"]
    posts = Posts(ids, labels, np.arange(7) // 2, splits)
    rows = [ids, ids, labels, (np.arange(7) // 2).tolist(), splits]
    wanted = hashlib.blake2b(json.dumps([split.DRAW, rows, None, 5]).encode(), digest_size=8).hexdigest()
    assert posts.digest(None, 5) == wanted
    contents = [(None, "t"), ("i", None)] * 3 + [("i", "t")]
    rows[1] = [":t", "i:"] * 3 + ["i:t"]
    wanted = hashlib.blake2b(json.dumps([split.DRAW, rows, 3, 5]).encode(), digest_size=8).hexdigest()
    assert replace(posts, contents=contents).digest(3, 5) == wanted

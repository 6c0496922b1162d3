"""Content keys, bad content, and groups of posts that share content."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msa.features.blob import content_key
from msa.features.posts import content
from msa.features.posts.content import Contents, duplicate_groups, hash_corpus, text_key
from msa.features.posts.samples import Corpus, Sample


def test_keys_are_of_the_content_whatever_its_encoding(tmp_path: Path) -> None:
    files = {
        "a.jpg": b"same",
        "b.png": b"same",
        "c.jpg": b"",
        "a.txt": "今天\r\n".encode("gb18030"),
        "b.txt": "今天".encode(),
    }
    for name, raw in files.items():
        (tmp_path / name).write_bytes(raw)
    corpus = Corpus(
        tmp_path,
        "test",
        [
            Sample("a", tmp_path / "a.jpg", tmp_path / "a.txt"),
            Sample("b", tmp_path / "b.png", tmp_path / "b.txt"),
            Sample("c", tmp_path / "c.jpg", " 今天 "),
            Sample("d", None, None),
        ],
    )
    contents = hash_corpus(corpus)
    assert contents.image_keys == [content_key(b"same")] * 2 + [content_key(b""), None]
    assert contents.text_keys == [text_key("今天")] * 3 + [None]
    assert contents.bad == []
    assert len(content_key(b"")) == 32


def test_missing_is_not_bad_and_bad_is_not_missing(tmp_path: Path) -> None:
    (tmp_path / "binary.txt").write_bytes(b"\0\1")
    (tmp_path / "blank.txt").write_bytes(b" \r\n")
    corpus = Corpus(
        tmp_path,
        "test",
        [
            Sample("1", tmp_path / "gone.jpg", tmp_path / "binary.txt"),
            Sample("2", None, tmp_path / "blank.txt"),
            Sample("3", None, "in\0line"),
            Sample("4", tmp_path, tmp_path / "gone.txt"),
        ],
    )
    contents = hash_corpus(corpus)
    assert contents.image_keys == contents.text_keys == [None] * 4
    assert contents.missing("image") == [False, True, True, False]
    assert contents.missing("text") == [False, True, False, False]
    assert [(b.index, b.modality, b.key) for b in contents.bad] == [
        (0, "image", None),
        (0, "text", content_key(b"\0\1")),
        (2, "text", text_key("in\0line")),
        (3, "image", None),
        (3, "text", None),
    ]
    assert [b.file for b in contents.bad] == [
        str(tmp_path / "gone.jpg"),
        str(tmp_path / "binary.txt"),
        "text of 3",
        str(tmp_path),
        str(tmp_path / "gone.txt"),
    ]
    assert contents.bad[0].reason.startswith("unreadable: No such file")


@pytest.mark.parametrize("workers", [1, 4])
def test_many_posts_keep_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    monkeypatch.setattr(content, "WORKERS", workers)
    texts = [f"post {i % 150}" for i in range(400)]
    corpus = Corpus(tmp_path, "test", [Sample(str(i), None, text) for i, text in enumerate(texts)])
    assert hash_corpus(corpus) == Contents([None] * 400, [text_key(t) for t in texts], [])


def test_groups_join_through_shared_text_image_and_user() -> None:
    images = ["i1", "i1", None, "i2", None, None]
    texts = ["t1", "t2", "t3", "t3", None, "t9"]
    users = [None, "u", "u", None, None, None]
    assert duplicate_groups(images, texts, users) == [0, 0, 0, 0, 1, 2]


KEYS = st.none() | st.sampled_from("abcd")
POSTS = st.lists(st.tuples(KEYS, KEYS, KEYS), max_size=12)


@given(POSTS)
@settings(max_examples=200, deadline=None)
def test_groups_are_the_connected_components(posts: list[tuple[str | None, str | None, str | None]]) -> None:
    images, texts, users = ([post[part] for post in posts] for part in range(3))
    groups = duplicate_groups(images, texts, users)
    component = list(range(len(posts)))  # by relaxation, the slow and plain way
    for _ in posts:
        for i, one in enumerate(posts):
            for j, other in enumerate(posts):
                if any(a is not None and a == b for a, b in zip(one, other, strict=True)):
                    component[i] = component[j] = min(component[i], component[j])
    order = list(dict.fromkeys(component))
    assert groups == [order.index(c) for c in component]

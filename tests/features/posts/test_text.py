"""Decoding and cleaning of texts."""

from __future__ import annotations

from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msa.features.posts import text as text_module
from msa.features.posts.text import (
    CLEANERS,
    MAX_CHARACTERS,
    STOP_WORDS,
    clean_text,
    decode_lines,
    decode_text,
    decode_with_encoding,
    is_chinese,
    read_text,
)
from msa.features.spec import BadItem

# Pieces that cleaning acts on, so that removals join up to new ones.
PIECES = st.sampled_from(
    [
        "RT ",
        "@bob",
        "@",
        "http://t.co/x",
        "http",
        "://x",
        "www.",
        "&amp;",
        "&lt;",
        "&",
        "lt;",
        "#",
        "＃",
        "#话题#",
        ":",
        "!",
        "don't ",
        "not ",
        "a",
        " b",
        "好",
        "é",
        "İ",
        "😀",
        "❤️",
        "1",
        "_",
        " ",
        "\t",
        "\n",
    ]
)
SOUP = st.lists(PIECES | st.text(max_size=3), max_size=10).map("".join)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_every_encoding_gives_the_same_text(encoding: str) -> None:
    assert decode_text("  今天很开心 😀\r\nline\rtwo \n".encode(encoding)) == "今天很开心 😀\nline\ntwo"


@pytest.mark.parametrize(
    ("raw", "reason"), [(b"ab\0c", "binary"), (b"\xff\xfeA", "neither"), (b"ok \xff\xff", "neither")]
)
def test_what_is_no_text_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(BadItem, match=reason):
        decode_text(raw)


def test_read_text_takes_a_file_or_a_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffhi\r\n".encode())
    assert read_text(tmp_path / "a.txt") == read_text(" hi\n") == "hi"
    assert read_text("half \ud83d pair") == "half \ufffd pair"
    with pytest.raises(BadItem, match="unreadable: No such file"):
        read_text(tmp_path / "absent.txt")
    with pytest.raises(BadItem, match="unreadable"):
        read_text(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "he isn’t here",
        "“Quite” asked Zoë, at the café…",
        "where’er you are",
        "für später",
        "L’été dernier: “Élan vital”",
        "¡Hola! «mañana»",
        "only €9",
        "Olé",
    ],
)
def test_windows_1252_is_told_from_gb18030(text: str) -> None:
    raw = text.encode("cp1252")
    assert decode_with_encoding(raw) == (text, "Windows-1252")


@pytest.mark.parametrize(
    "text",
    [
        "今天真的很开心",
        "tonight – we watch",  # its dash is A8 43
        "hyphens ‐‐‐ here",  # A9 5C
        "see you 😀 soon",  # four bytes, two of them digits
        "it’s “quoted” text…",
        "說時遲那時快",  # every second byte of the first two is a letter
        "說時",
        "in 囧 mood",  # 87 E5
        "朱镕基",
        "Zoë’s 5€",
    ],
)
def test_gb18030_stays_gb18030(text: str) -> None:
    raw = text.encode("gb18030")
    assert decode_with_encoding(raw) == (text, "GB18030")


def test_damaged_gb18030_is_not_taken_for_windows_1252() -> None:
    with pytest.raises(BadItem, match="neither UTF-8, UTF-16, GB18030 nor Windows-1252"):
        decode_text("今天很开心,明天也".encode("gb18030")[:-1])


def test_a_file_of_lines_has_one_encoding_beside_utf_8() -> None:
    western = ["can’t", "caf", "naïve résumé", "won’t", "plain"]
    assert decode_lines("\n".join(western).encode("cp1252")) == (western, Counter({"Windows-1252": 3}))
    assert decode_lines(b"caf\xe9\ncaf\xe9\n" + "café".encode())[0] == ["café"] * 3
    mixed = ["今天", "开心", "天"]
    raw = b"\n".join([*(line.encode() for line in mixed), "it’s".encode("cp1252")])
    assert decode_lines(raw) == ([*mixed, "it’s"], Counter({"Windows-1252": 1}))
    assert decode_lines("今天很好\n开心\nx".encode("gb18030"))[1] == Counter({"GB18030": 2})


@given(st.binary(max_size=60))
def test_any_bytes_give_a_stripped_text_or_bad_item(raw: bytes) -> None:
    try:
        text = decode_text(raw)
    except BadItem:
        return
    assert text == text.strip()
    assert "\r" not in text
    assert decode_text(text.encode()) == text or text.startswith("\ufeff")


def test_lines_are_decoded_one_by_one_and_numbered_as_they_stand() -> None:
    assert decode_lines(b"\xef\xbb\xbfa\r\n\r\nb")[0] == ["a", "", "b"]
    assert decode_lines(b"a\rb")[0] == ["a", "b"]
    assert decode_lines("甲\n乙".encode("utf-16"))[0] == ["甲", "乙"]
    assert decode_lines("今天\nx\n开心".encode("gb18030"))[0] == ["今天", "x", "开心"]
    assert decode_lines("今\n天\n".encode() + b"\xff\xff")[0] == ["今", "天", None]


@pytest.mark.parametrize(
    ("text", "social"),
    [
        ("RT @bob: So good!  #happy http://t.co/a1 &amp; more", "So good! happy & more"),
        ("看http://t.cn/abc很好 #话题#真的", "看 很好 话题 真的"),
        ("mail a@b.com, C# and 5 #1", "mail a@b.com, C# and 5 1"),
        ("WWW.x.org END", "END"),
        ("&amp;amp;lt;3", "<3"),
        ("@a @b", ""),
        (f"a &#{'9' * 5000}; b &#{'9' * 5000}", "a \ufffd b \ufffd"),
    ],
)
def test_social_cleaning(text: str, social: str) -> None:
    assert clean_text(text, "social") == social


@pytest.mark.parametrize(
    ("text", "strict"),
    [
        ("I do NOT like this movie, but it's OK!!", "not like movie but ok"),
        ("I don't, I won’t; never.", "dont wont never"),
        ("今天，很开心！ 😀 ❤️ Ünïcode_2", "今天 很开心 ünïcode 2"),
        ("हिन्दी", "हिन्दी"),
        ("the of and", ""),
    ],
)
def test_strict_cleaning(text: str, strict: str) -> None:
    assert clean_text(text, "strict") == strict


@pytest.mark.parametrize(
    ("text", "tweet"),
    [
        ("@bob so GOOD @ home http://t.co/x, #yes &amp;", "@user so GOOD @ home http #yes &amp;"),
        ("RT @bob: https://a.b  two spaces\n@ann", "RT @user http  two spaces\n@ann"),
        ("", ""),
    ],
)
def test_tweet_cleaning_is_that_of_tweeteval(text: str, tweet: str) -> None:
    """As the model cards of cardiffnlp have it: words between single spaces, links and mentions replaced."""
    words = ["@user" if t.startswith("@") and len(t) > 1 else t for t in text.split(" ")]
    assert clean_text(text, "tweet") == tweet == " ".join("http" if t.startswith("http") else t for t in words)


@pytest.mark.parametrize(
    ("text", "chinese"),
    [
        *(("今天很开心", True), ("今天和 @bob 去 Starbucks", True), ("這個電影 so so", True), ("@bob 好", False)),
        *(("I love 北京", False), ("", False), ("123 !? 😀", False), ("こんにちは", False)),
    ],
)
def test_chinese_is_told_from_other_languages(text: str, chinese: bool) -> None:
    assert is_chinese(text) is chinese


def test_negations_are_no_stop_words() -> None:
    assert STOP_WORDS.isdisjoint(["not", "no", "never", "nor", "none", "nothing", "without", "dont", "isnt", "but"])


@given(SOUP)
@settings(max_examples=200, deadline=None)
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    assert clean_text(text, "none") == text
    for level in CLEANERS if find_spec("jieba") else CLEANERS.keys() - {"strict_zh"}:
        once = clean_text(text, level)
        assert clean_text(once, level) == once


@given(SOUP)
@settings(max_examples=100, deadline=None)
def test_strict_keeps_only_words(text: str) -> None:
    words = clean_text(text, "strict").split(" ")
    assert STOP_WORDS.isdisjoint(words)
    assert not any(mark in word for word in words for mark in "#@_!:😀")


@pytest.mark.parametrize("nested", ["&" + "amp;" * 900, "#" * 900 + "a", "@a" * 900, "RT " * 900])
def test_cleaning_that_would_not_end_soon_is_refused(nested: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(clean_text(nested + " not", "social")) < 6
    monkeypatch.setattr(text_module, "MAX_CLEANING", 100_000)
    with pytest.raises(BadItem, match=r"^links, tags or entities so nested"):
        clean_text(nested, "social")
    assert clean_text("not so good " * 5_000, "social")


def test_a_text_has_a_limit() -> None:
    assert len(decode_text(b"a" * MAX_CHARACTERS)) == MAX_CHARACTERS
    with pytest.raises(BadItem, match=r"^500001 characters: over the limit of 500000$"):
        read_text("a" * (MAX_CHARACTERS + 1))


def test_an_unknown_level_lists_the_choices() -> None:
    with pytest.raises(ValueError, match="none, social, strict"):
        clean_text("a", "hard")  # type: ignore[arg-type]


def test_byte_order_marks_within_a_file_are_those_of_files_that_were_joined() -> None:
    assert decode_lines(b"\xef\xbb\xbfid\n1\n\xef\xbb\xbfid\n2") == (["id", "1", "id", "2"], Counter())


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark(encoding: str) -> None:
    text = "id,text\n1,déjà vu\n2,schön 好\n"
    assert decode_lines(text.encode(encoding))[0] == text.split("\n")
    assert decode_text(text.encode(encoding)) == text.strip()

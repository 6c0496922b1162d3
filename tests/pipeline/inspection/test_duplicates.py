"""Posts of equal content with different labels are found, once, and those that share most come first."""

from __future__ import annotations

from msa.pipeline.inspection.duplicates import conflicting_duplicates
from msa.pipeline.runs.stored_run import StoredSplit


def test_what_conflicting_posts_share_is_told() -> None:
    contents: dict[str, tuple[str | None, str | None]] = {
        **{"a": ("1", "x"), "b": ("1", "x"), "c": ("1", "y")},  # a and b are equal, c has their image
        **{"d": ("2", "z"), "e": ("3", "z")},  # one text
        **{"f": ("4", None), "g": ("5", "u")},  # near copies
        **{"h": (None, None), "i": (None, None)},  # nothing
        **{"j": ("6", "v"), "k": ("6", "v")},  # one label
        **{"l": ("7", "w"), "m": ("7", "w")},  # m is unlabelled
    }
    groups = {name: number for number, part in enumerate(("abc", "de", "fg", "h", "i", "jk", "lm")) for name in part}
    labels = dict(zip("abcdefghijkl", "+-+-+-+-++++", strict=True))
    found = conflicting_duplicates(StoredSplit([], contents, groups), labels)
    assert [(one.shared, "".join(one.labels)) for one in found] == [
        ("image and text", "ab"),
        ("image", "abc"),
        ("text", "de"),
        ("group", "fg"),
    ]
    assert found[0].labels == {"a": "+", "b": "-"}

"""Spellings of one label become one class, and the notes say which; labels that list others stay as they are."""

from __future__ import annotations

from msa.features.posts.classes import merge_spellings
from msa.features.posts.samples import Sample


def merged(*labels: str | None) -> tuple[list[str | None], list[str]]:
    samples, notes = merge_spellings([Sample(str(n), None, "text", label) for n, label in enumerate(labels)])
    return [sample.label for sample in samples], notes


def test_the_most_frequent_spelling_wins() -> None:
    labels, notes = merged("Joy", "joy", "joy", " JOY\u200b", None, "sad")
    assert labels == ["joy", "joy", "joy", "joy", None, "sad"]
    assert len(notes) == 1
    assert "read as one: 2" in notes[0]


def test_a_number_with_a_final_zero_is_the_number() -> None:
    assert merged("1", "1", "1.0", "1.5", "-1.00", "-1")[0] == ["1", "1", "1", "1.5", "-1", "-1"]


def test_labels_that_list_others_are_counted_and_kept() -> None:
    labels, notes = merged("joy", "sad", "joy, sad", "so, so")
    assert labels == ["joy", "sad", "joy, sad", "so, so"]
    assert len(notes) == 1
    assert "'joy, sad': 1" in notes[0]


def test_clean_labels_give_no_note() -> None:
    assert merged("a", "b", None) == (["a", "b", None], [])

"""A file of another shape than msa wrote is one line that names it and says what to do, whatever the shape."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from msa.features.cache.imported_arrays import read_arrays
from msa.features.encoders.families import read_config
from msa.features.encoders.sources import reopen
from msa.features.encoders.tuned import RECORD, read_record
from msa.features.model_files.weights import sha256_file, shards
from msa.features.posts.layouts import read_corpus
from msa.features.spec import EncoderSpec
from msa.features.store.errors import read_errors
from msa.features.store.store import read_spec
from msa.features.words.vector_files import sniff
from msa.pipeline.commands.config_file import read_default_map
from msa.pipeline.commands.recipes import read_recipe
from msa.pipeline.data.split import Posts, read_folds
from msa.pipeline.data.test_posts import mark_test_posts
from msa.pipeline.evaluation.test_set import RECORD as EVALUATIONS
from msa.pipeline.evaluation.test_set import record_evaluation
from msa.pipeline.runs.checkpoint import load_heads
from msa.pipeline.runs.seen_posts import seen_contents
from msa.pipeline.runs.stored_run import read_run
from msa.pipeline.sweeps.replay import read_replay
from msa.pipeline.sweeps.space import read_space

POSTS = Posts(["a", "b"], ["x", "y"], np.arange(2), [None, None])
SPEC = EncoderSpec("fake", "text", "timm", "fake", "sha256:0", "last", "mean", "{}", 4, "float32")
DEEP = "[" * 100_000
HUGE = "9" * 400
JSON = {
    "not JSON": "{",
    "nested too deep": DEEP,
    "nested too deep in a field": f'{{"keys": {DEEP}',
    "a list": "[]",
    "null": "null",
    "a number": "3",
    "not UTF-8": b"\xff\xfe{}",
    "without fields": '{"format": 1}',
    "a long number": f'{{"format": {"9" * 5000}}}',
    "another format": '{"format": "1"}',
}
READERS: dict[str, Callable[[Path], object]] = {
    "spec.json": lambda file: read_spec(file.parent),
    "errors.jsonl": lambda file: read_errors(file.parent),
    RECORD: lambda file: read_record(file.parent),
    "split.json": lambda file: read_folds(file, POSTS),
    "split.json of a run": lambda file: seen_contents(file.parent),
    "test-set-0.json": lambda file: mark_test_posts(POSTS, file.parent),
    "sweep.json": lambda file: read_replay(f"{file.parent}#best"),
    EVALUATIONS: lambda file: record_evaluation(file, file.parent, ["k"], {}),
    "config.json": lambda file: read_config(file.parent, "text"),
    "model.safetensors.index.json": shards,
}
SPLIT = '{"folds": %s, "contents": %s, "groups": %s, "tied": %s}'
SPLITS = (
    ("[]", "{}", '{"a": []}', "[]"),
    ("[]", "[1]", "{}", "[]"),
    ("[]", "null", "{}", "[]"),
    ('{"train": 1}', "{}", "{}", "[]"),
    ("[1]", "{}", "{}", "[]"),
    ('[{"train": ["x"], "valid": [], "test": [], "repeat": 0}]', '{"x": 3}', '{"x": 0}', '["text"]'),
    ("[]", "{}", "{}", "{}"),
)
FIELDS = {  # fields of the wrong kind, file by file
    "split.json": [SPLIT % case for case in SPLITS],
    "split.json of a run": [SPLIT % case for case in SPLITS[1:]],
    "test-set-0.json": [
        '{"share": "0.1", "posts": 1, "image": [], "text": []}',
        '{"share": 0.1, "posts": 1, "image": ["k"], "text": null}',
        '{"share": 0.1, "posts": 1, "image": [], "text": []}',
        f'{{"share": {HUGE}}}',
    ],
    "sweep.json": [
        '{"format": 1, "finished": true}',
        '{"format": 1, "finished": true, "data": [], "search": {"outer": 1}}',
        '{"format": true}',
    ],
    EVALUATIONS: ['{"posts": 3}', '{"posts": null}'],
    "model.safetensors.index.json": ['{"weight_map": []}'],
}


def refuse(file: Path, content: str | bytes, read: Callable[[Path], object]) -> None:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=re.escape(str(file))) as caught:
        read(file)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600


def of_other_shapes() -> list[tuple[str, str]]:
    """Readers and shapes; a sweep without fields is one that goes on."""
    fine = {("sweep.json", "without fields")}
    return [(name, shape) for name in READERS for shape in JSON if (name, shape) not in fine]


@pytest.mark.parametrize(("name", "shape"), of_other_shapes())
def test_json_of_another_shape_is_refused(tmp_path: Path, name: str, shape: str) -> None:
    refuse(tmp_path / name.partition(" ")[0], JSON[shape], READERS[name])


def test_a_file_that_is_missing_is_refused_with_the_remedy(tmp_path: Path) -> None:
    for name in ("split.json", "split.json of a run", "config.json", "model.safetensors.index.json"):
        file = tmp_path / name.partition(" ")[0]
        with pytest.raises(ValueError, match=rf"{file.name}: not .*No such file or directory\); "):
            READERS[name](file)


def test_an_array_whose_header_overflows_is_refused(tmp_path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999999, 8), }"
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00" + header.ljust(117) + b"\n")
    (tmp_path / "ids.txt").write_text("a\n")
    with pytest.raises(ValueError, match=r"x\.npy: is not an array of numbers"):
        read_arrays(tmp_path / "x.npy", tmp_path / "ids.txt", None, None)


@pytest.mark.parametrize(("name", "content"), [(name, one) for name, contents in FIELDS.items() for one in contents])
def test_a_field_of_another_kind_is_refused(tmp_path: Path, name: str, content: str) -> None:
    refuse(tmp_path / name.partition(" ")[0], content, READERS[name])


@pytest.mark.parametrize("content", [shape for name, shape in JSON.items() if name != "without fields"])
def test_an_origin_of_another_shape_is_refused(tmp_path: Path, content: str | bytes) -> None:
    (tmp_path / SPEC.slug).mkdir()
    refuse(tmp_path / SPEC.slug / "origin.json", content, lambda file: reopen(SPEC, tmp_path))


TOML: dict[str, Callable[[Path], object]] = {
    "msa.toml": lambda file: read_default_map(file, {"heads": ["json"]}),
    "recipe.toml": lambda file: read_recipe(str(file)),
    "space.toml": lambda file: read_space([], file=file),
}


@pytest.mark.parametrize("content", ["a = ", f"a = {DEEP}", b"\xff\xfe", f"a = {'9' * 5000}", "[about\n", None])
@pytest.mark.parametrize("name", TOML)
def test_toml_of_another_shape_is_refused(tmp_path: Path, name: str, content: str | bytes | None) -> None:
    if content is None:
        (tmp_path / name).mkdir()
        with pytest.raises(ValueError, match=name.partition(".")[0]):
            TOML[name](tmp_path / name)
    else:
        refuse(tmp_path / name, content, TOML[name])


OTHERS: dict[str, Callable[[Path], object]] = {  # files that are neither JSON nor TOML
    "metrics.json": lambda file: read_run(write_config(file.parent)),
    "head.safetensors": lambda file: load_heads(file, lambda number: pytest.fail("it was read")),
    "vectors.txt": sniff,
    "vectors.txt.gz": sniff,
    "tokenizer.json": sha256_file,
    "ids.txt": lambda file: read_arrays(file, file),
    "posts.csv": read_corpus,
    "posts.parquet": read_corpus,
    "posts.tar": read_corpus,
    "train.jsonl": lambda file: read_corpus(file.parent),
}


def write_config(folder: Path) -> Path:
    """A run folder, as far as it is read before its metrics."""
    (folder / "config.json").write_text('{"head": {}, "training": {}, "encoders": {}, "classes": []}')
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="it has no pipes in folders")
@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("name", [*READERS, *TOML, *OTHERS])
def test_a_pipe_or_device_is_refused_without_waiting(tmp_path: Path, name: str, kind: str) -> None:
    file = tmp_path / name.partition(" ")[0]
    if kind == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=r"a device, a pipe or a socket|no posts found|unknown recipe") as caught:
        (READERS | TOML | OTHERS)[name](file)
    assert "\n" not in str(caught.value)


def test_a_link_in_a_circle_is_refused(tmp_path: Path) -> None:
    for name in ("split.json", "config.json", "model.safetensors.index.json"):
        (tmp_path / name).symlink_to(name)
        with pytest.raises(ValueError, match=rf"{name}: not .*it is a link that leads to itself"):
            READERS[name](tmp_path / name)


def test_about_of_a_recipe_is_a_table(tmp_path: Path) -> None:
    refuse(tmp_path / "one.toml", "about = 3", lambda file: read_recipe(str(file)))


@pytest.mark.parametrize("line", ["hidden = [[4]]", "hidden = 1979-05-27", "fusion = 3", f"hidden = {2**70}"])
def test_values_of_a_search_space_are_texts_or_numbers(tmp_path: Path, line: str) -> None:
    (tmp_path / "space.toml").write_text(line)
    with pytest.raises(ValueError, match=r"must be texts or numbers|unknown fusion head '3'|must be below 2\*\*63"):
        read_space([], file=tmp_path / "space.toml")


def test_a_file_that_begins_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "space.toml").write_bytes(b"\xef\xbb\xbfhidden = [4, 8]\n")
    assert read_space([], file=tmp_path / "space.toml").names == {"hidden": (4, 8)}


def test_a_sweep_that_cannot_be_read_is_not_taken_for_another(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text(json.dumps({"format": 7, "finished": True}))
    with pytest.raises(
        ValueError, match=r"format 7, but this msa reads format 1: update msa to read it\); run the sweep again"
    ):
        read_replay(f"{tmp_path}#best")

"""Several images of one post, however a data set holds them: all are used, and what is not is reported."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from msa.features.blob import content_key
from msa.features.posts.check import check_corpus
from msa.features.posts.content import BadContent, Contents, duplicate_groups, hash_corpus, split_keys
from msa.features.posts.layouts import ReadOptions, read_corpus
from msa.features.posts.remote.link import Link
from msa.features.posts.samples import MOST_IMAGES, Corpus, Sample

NOTE = "posts with several images: 2, with 3 images beyond the first"
IMAGES = {"a": ["1", "2"], "b": ["3"], "c": [], "d": ["2", "4", "5"]}  # posts, and the names of their images


def picture(name: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (int(name) * 40, 0, 0)).save(file, "PNG")
    return file.getvalue()


def write_files(folder: Path) -> None:
    for name in "12345":
        (folder / f"{name}.png").write_bytes(picture(name))


def as_csv(folder: Path, between: str = ";") -> None:
    write_files(folder)
    rows = [f'{id},"{between.join(f"{name}.png" for name in names)}",words {id}' for id, names in IMAGES.items()]
    (folder / "posts.csv").write_text("\n".join(["id,image,text", *rows]))


def as_json_cells(folder: Path) -> None:
    write_files(folder)
    cells = [repr([f"{name}.png" for name in names]) for names in IMAGES.values()]
    rows = [f'{id},"{cell}",words {id}' for id, cell in zip(IMAGES, cells, strict=True)]
    (folder / "posts.csv").write_text("\n".join(["id,image,text", *rows]))


def records() -> list[dict[str, Any]]:
    return [
        {"id": id, "image": [f"{n}.png" for n in names] or None, "text": f"words {id}"} for id, names in IMAGES.items()
    ]


def as_jsonl(folder: Path) -> None:
    write_files(folder)
    (folder / "posts.jsonl").write_text("\n".join(map(json.dumps, records())))


def as_json(folder: Path) -> None:
    write_files(folder)
    (folder / "posts.json").write_text(json.dumps(records()))


def as_paths(folder: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    write_files(folder)
    pytest.importorskip("pyarrow.parquet").write_table(pa.Table.from_pylist(records()), folder / "posts.parquet")


def as_bytes(folder: Path, *, struct: bool = False, arrow: bool = False) -> None:
    pa = pytest.importorskip("pyarrow")
    wrap: Callable[[bytes], Any] = (lambda raw: {"bytes": raw, "path": None}) if struct else (lambda raw: raw)
    rows = [one | {"image": [wrap(picture(n)) for n in IMAGES[one["id"]]]} for one in records()]
    table = pa.Table.from_pylist(rows)
    if arrow:
        with pa.OSFile(str(folder / "posts.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    else:
        pytest.importorskip("pyarrow.parquet").write_table(table, folder / "posts.parquet", row_group_size=2)


def as_tar(folder: Path) -> None:
    with tarfile.open(folder / "posts-0.tar", "w") as archive:
        for id, names in IMAGES.items():
            members = {f"{place}.png": picture(name) for place, name in enumerate(names)}
            for suffix, raw in {**members, "txt": f"words {id}".encode()}.items():
                info = tarfile.TarInfo(f"{id}.{suffix}")
                info.size = len(raw)
                archive.addfile(info, io.BytesIO(raw))


def as_imagefolder(folder: Path) -> None:
    write_files(folder)
    rows = [{"file_names": one["image"], "caption": one["text"], "id": one["id"]} for one in records()]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))


HELD: dict[str, Callable[[Path], None]] = {
    "semicolons": as_csv,
    "commas": lambda folder: as_csv(folder, ", "),
    "spaces": lambda folder: as_csv(folder, " "),
    "lists in cells": as_json_cells,
    "json lines": as_jsonl,
    "json": as_json,
    "paths in Parquet": as_paths,
    "bytes in Parquet": as_bytes,
    "structs in Parquet": lambda folder: as_bytes(folder, struct=True),
    "bytes in Arrow": lambda folder: as_bytes(folder, arrow=True),
    "tar": as_tar,
    "imagefolder": as_imagefolder,
}


@pytest.mark.parametrize("held", HELD)
def test_every_image_is_read_wherever_it_lies(tmp_path: Path, held: str) -> None:
    HELD[held](tmp_path)
    corpus = read_corpus(tmp_path)
    contents = hash_corpus(corpus, tmp_path)
    found = dict(zip([one.id for one in corpus.samples], contents.joined("image"), strict=True))
    wanted = {id: [content_key(picture(name)) for name in names] for id, names in IMAGES.items()}
    assert {id: split_keys(keys) for id, keys in found.items()} == wanted
    assert (corpus.problems, contents.bad) == ([], [])
    assert NOTE in corpus.notes
    assert contents == hash_corpus(corpus, tmp_path), "the content index gives the same keys"
    report = check_corpus(corpus)
    assert (report.missing_image, report.problems) == (1, [])
    assert (report.duplicates["image"].rows, report.groups.rows, report.groups.largest) == (2, 2, 2)


def test_an_imagefolder_counts_no_listed_image_as_unlisted_and_names_posts_by_the_first(tmp_path: Path) -> None:
    write_files(tmp_path)
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_names": ["2.png", "1.png"], "text": "t"}))
    corpus = read_corpus(tmp_path)
    assert [one.id for one in corpus.samples] == ["2.png"]
    assert "3 images are in no metadata file and are left out" in corpus.notes


def test_an_image_that_is_not_found_leaves_the_others(tmp_path: Path) -> None:
    write_files(tmp_path)
    rows = [
        ["gone.png", "2.png", None, "", "nan"],
        ["../1.png", "2.png"],
        [7, {"a": 1}, "1.png"],
        [[["1.png"]], "2.png"],
    ]
    (tmp_path / "p.json").write_text(json.dumps([{"text": "t", "image": images} for images in rows]))
    corpus = read_corpus(tmp_path / "p.json")
    found = [[image.name for image in one.images] for one in corpus.samples]  # type: ignore[union-attr]
    assert found == [["2.png"], ["2.png"], ["1.png"], ["2.png"]]
    reasons = [problem.reason for problem in corpus.problems]
    kinds = [reason.partition(" ")[2].split()[0] for reason in reasons]
    assert kinds == ["'gone.png'", "refused:", "cell", "'7'", "cell"]
    assert not any(note.startswith("posts with several images") for note in corpus.notes)


def test_more_images_than_heads_can_read_are_reported(tmp_path: Path) -> None:
    write_files(tmp_path)
    (tmp_path / "p.json").write_text(json.dumps([{"text": "t", "image": ["1.png"] * (MOST_IMAGES + 3)}]))
    corpus = read_corpus(tmp_path / "p.json")
    assert len(corpus.samples[0].images) == MOST_IMAGES
    (problem,) = corpus.problems
    assert problem.reason == f"{MOST_IMAGES + 3} images: the first {MOST_IMAGES} are used; make it several posts"


def test_bad_images_are_listed_one_by_one_and_a_post_keeps_its_good_ones(tmp_path: Path) -> None:
    for name in ("good.png", "other.png"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "folder.png").mkdir()
    gone, folder, good = tmp_path / "gone.png", tmp_path / "folder.png", tmp_path / "good.png"
    samples = [
        Sample("a", gone, "t", more_images=(good,)),
        Sample("b", good, "t", more_images=(folder, tmp_path / "other.png")),
        Sample("c", gone, "t", more_images=(folder,)),
        Sample("d", None, None),
    ]
    contents = hash_corpus(Corpus(tmp_path, "table", samples))
    keys = [content_key(name.encode()) for name in ("good.png", "other.png")]
    assert contents.joined("image") == [keys[0], "+".join(keys), None, None]
    assert [(one.index, Path(one.file).name) for one in contents.bad] == [
        *((0, "gone.png"), (2, "gone.png"), (5, "folder.png"), (7, "folder.png"))
    ]
    assert contents.missing("image") == [False, False, False, True, False, False, False, False]
    assert contents.readable("image") == [4, 1, None, None]
    assert contents.rows("image") == [0, 1, 2, 3, 0, 1, 1, 2]
    assert isinstance(contents.bad[0], BadContent)
    report = check_corpus(Corpus(tmp_path, "table", samples))
    assert [problem.file for problem in report.problems].count("folder.png") == 2


def test_links_are_resolved_wherever_they_stand(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text('id,image,text\n1,"https://a.b/1.jpg https://a.b/2.jpg",t\n')
    corpus = read_corpus(tmp_path / "p.csv", options=ReadOptions())
    assert [type(image) for image in corpus.samples[0].images] == [Link, Link]
    assert any(note.startswith("2 images are links") for note in corpus.notes)


def test_a_post_in_two_files_keeps_all_images(tmp_path: Path) -> None:
    write_files(tmp_path)
    (tmp_path / "train.csv").write_text("id,label\n1,sad\n2,glad\n")
    (tmp_path / "val.csv").write_text("id,image,text,split\n1,1.png 2.png,one,train\n3,3.png,three,val\n")
    corpus = read_corpus(tmp_path)
    first = next(one for one in corpus.samples if one.id == "1")
    assert ([image.name for image in first.images], first.label) == (["1.png", "2.png"], "sad")  # type: ignore[union-attr]


def test_groups_follow_further_keys_and_keep_their_numbers() -> None:
    assert duplicate_groups([None] * 4, ["a", "b", "c", None, "c", "a"], owners=[1, 3]) == [0, 1, 1, 0]
    assert duplicate_groups([None] * 3, ["a", "b", "a"]) == [0, 1, 0]
    twice = Contents(["k", None, "k"], ["t", "u"], [], owners=[0])
    assert twice.joined("image") == ["k", None]

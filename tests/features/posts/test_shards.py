"""Tables that hold their images: the same posts from a folder, from Parquet, from `datasets` and from tar files."""

from __future__ import annotations

import csv
import io
import json
import random
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from msa.features.posts.check import check_corpus
from msa.features.posts.containers.columnar import Cell, Columnar
from msa.features.posts.content import hash_corpus
from msa.features.posts.layouts import ReadOptions, read_corpus
from msa.features.posts.samples import Corpus

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

Post = dict[str, Any]


def picture(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (number, 0, 0)).save(file, "PNG")
    return file.getvalue()


# The fourth has no image, the fifth no text, the last is a copy of the first.
POSTS: list[Post] = [
    {
        "id": f"p{at}",
        "image": None if at == 3 else picture(at % 5),
        "text": None if at == 4 else f"text {at % 5}",
        "label": "ab"[at % 2],
    }
    for at in range(6)
]


def as_table(folder: Path) -> Path:
    folder.mkdir()
    with (folder / "posts.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "image", "text", "label"])
        for post in POSTS:
            if post["image"]:
                (folder / f"{post['id']}.png").write_bytes(post["image"])
            writer.writerow([post["id"], post["image"] and f"{post['id']}.png", post["text"], post["label"]])
    return folder


def as_parquet(folder: Path, *, struct: bool, parts: int = 1) -> Path:
    folder.mkdir()
    for part in range(parts):
        rows = [
            {**post, "image": {"bytes": post["image"], "path": None} if struct else post["image"]}
            for post in POSTS[part::parts]
        ]
        parquet.write_table(
            pa.Table.from_pylist(rows), folder / f"data-{part:05}-of-{parts:05}.parquet", row_group_size=2
        )
    return folder


def as_tar(folder: Path) -> Path:
    folder.mkdir()
    with tarfile.open(folder / "shard-000.tar", "w") as archive:
        for post in POSTS:
            members = {
                "png": post["image"],
                "txt": (post["text"] or "").encode() or None,
                "json": json.dumps({"label": post["label"]}).encode(),
            }
            for suffix, raw in members.items():
                if raw is not None:
                    info = tarfile.TarInfo(f"{post['id']}.{suffix}")
                    info.size = len(raw)
                    archive.addfile(info, io.BytesIO(raw))
    return folder


def known(corpus: Corpus) -> list[Any]:
    contents = hash_corpus(corpus)
    keys = zip(contents.image_keys, contents.text_keys, strict=True)
    return sorted((one.id, *pair, one.label) for one, pair in zip(corpus.samples, keys, strict=True))


def test_the_same_posts_whatever_holds_them(tmp_path: Path) -> None:
    wanted = known(read_corpus(as_table(tmp_path / "table")))
    held = {
        "binary": as_parquet(tmp_path / "binary", struct=False),
        "struct": as_parquet(tmp_path / "struct", struct=True),
        "parts": as_parquet(tmp_path / "parts", struct=True, parts=3),
        "tar": as_tar(tmp_path / "tar"),
    }
    for name, folder in held.items():
        corpus = read_corpus(folder)
        assert known(corpus) == wanted, name
        assert not corpus.problems, name
        report = check_corpus(corpus)
        assert (report.rows, report.missing_image, report.missing_text, len(report.problems)) == (6, 1, 1, 0), name
        files = list(folder.iterdir())
        if len(files) == 1:
            assert known(read_corpus(files[0])) == wanted, name


def test_unchanged_images_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("msa.features.posts.content_index.RACY_NS", -(10**12))
    (tmp_path / "cache").mkdir()
    for folder in (as_parquet(tmp_path / "parquet", struct=True), as_tar(tmp_path / "tar")):
        corpus = read_corpus(folder)
        first = hash_corpus(corpus, tmp_path / "cache")
        with monkeypatch.context() as patch:
            patch.setattr(Columnar, "read", None)
            patch.setattr("msa.features.posts.containers.tar.Member.read", None)
            assert hash_corpus(corpus, tmp_path / "cache") == first


def test_only_the_columns_in_use_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = 150
    columns = {
        "ID": [f"p{at}" for at in range(rows)],
        "tweet": ["hi"] * rows,
        "label": ["a"] * rows,
        "huge": [b"x"] * rows,
        "other": ["o"] * rows,
    }
    parquet.write_table(pa.table(columns), tmp_path / "posts.parquet")
    asked: list[Sequence[str]] = []
    batches = Columnar.batches

    def seen(self: Columnar, names: Sequence[str]) -> Any:
        asked.append(list(names))
        return batches(self, names)

    monkeypatch.setattr(Columnar, "batches", seen)
    for text in ("tweet", "#2"):
        corpus = read_corpus(tmp_path / "posts.parquet", options=ReadOptions(columns={"text": text}))
        assert {one.text for one in corpus.samples} == {"hi"}
        assert asked.pop() == ["ID", "tweet", "label"]
    assert any(
        "no column is read as the image, though some name images: --column image=#4" in one for one in corpus.notes
    )


def test_several_images_in_a_cell_are_counted(tmp_path: Path) -> None:
    rows = {"id": ["a", "b", "c"], "image": [[picture(1), picture(2)], [picture(2)], []]}
    parquet.write_table(pa.table(rows), tmp_path / "posts.parquet")
    corpus = read_corpus(tmp_path / "posts.parquet")
    assert [isinstance(one.image, Cell) for one in corpus.samples] == [True, True, False]
    assert "posts with several images: 1, with 1 images beyond the first" in corpus.notes


def test_a_path_stands_in_for_bytes_and_leads_out_of_no_folder(tmp_path: Path) -> None:
    (tmp_path / "here.png").write_bytes(picture(1))
    paths = ["here.png", "/etc/passwd", None]
    rows = {"id": ["a", "b", "c"], "image": [{"bytes": None, "path": path} for path in paths]}
    parquet.write_table(pa.table(rows), tmp_path / "posts.parquet")
    corpus = read_corpus(tmp_path / "posts.parquet")
    assert [one.image for one in corpus.samples] == [tmp_path / "here.png", None, None]
    assert "image refused: '/etc/passwd' leads out of" in str(corpus.problems[0])


def test_parts_of_one_table_and_no_others_are_read_together(tmp_path: Path) -> None:
    for name in (
        "part-00000-0a1b2c3d-0000-1111-2222-0123456789ab.parquet",
        "part-00001-9a8b2c3d-3333-1111-2222-ffff456789ab.parquet",
    ):
        parquet.write_table(pa.table({"text": ["x", "y"]}), tmp_path / name)
    ids = [one.id for one in read_corpus(tmp_path).samples]
    assert (len(ids), len(set(ids))) == (4, 4)
    parquet.write_table(pa.table({"text": ["z"]}), tmp_path / "notes.parquet")
    with pytest.raises(ValueError, match="holds several tables"):
        read_corpus(tmp_path)


def test_what_datasets_saves_is_read_with_the_names_of_its_classes(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["neg", "pos"]),
        }
    )
    columns = {
        "image": [{"bytes": picture(at), "path": None} for at in range(4)],
        "text": list("abcd"),
        "label": [0, 1, 1, -1],
    }
    whole = datasets.Dataset.from_dict(columns, features=features)
    whole.to_parquet(tmp_path / "posts.parquet")
    whole.save_to_disk(tmp_path / "one", num_shards=2)
    datasets.DatasetDict(
        {"test": whole.select([3]), "validation": whole.select([2]), "train": whole.select([0, 1])}
    ).save_to_disk(tmp_path / "split")
    for path in (tmp_path / "posts.parquet", tmp_path / "one", tmp_path / "split"):
        corpus = read_corpus(path)
        assert [(one.text, one.label) for one in corpus.samples] == [
            ("a", "neg"),
            ("b", "pos"),
            ("c", "pos"),
            ("d", None),
        ]
        assert len({*hash_corpus(corpus).image_keys} - {None}) == 4
    assert (corpus.layout, [one.split for one in corpus.samples]) == ("huggingface", ["train", "train", "val", "test"])
    (tmp_path / "split" / "train" / "state.json").write_text("{")
    with pytest.raises(ValueError, match=r"cannot read .*state\.json: .*; save the data set again by save_to_disk"):
        read_corpus(tmp_path / "split")


def test_a_data_set_by_its_name_is_read_where_datasets_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "kept")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    for split in ("train", "test"):
        rows = [
            {**post, "image": {"bytes": post["image"], "path": None}, "id": f"{split}-{post['id']}"} for post in POSTS
        ]
        (tmp_path / "owner" / "name").mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.Table.from_pylist(rows), f"owner/name/{split}.parquet")
    corpus = read_corpus(Path("hf:owner/name"))
    assert [one.split for one in corpus.samples] == ["train"] * 6 + ["test"] * 6
    assert len({*hash_corpus(corpus).image_keys} - {None}) == 4
    assert corpus.root.is_relative_to(tmp_path / "kept")
    with pytest.raises(ValueError, match=r"cannot load the data set 'no/such': .*; give hf:OWNER/NAME"):
        read_corpus(Path("hf:no/such"))


def test_members_of_a_shard_that_are_odd_are_reported(tmp_path: Path) -> None:
    members = {
        **{"1.jpg": b"x", "1.json": b'{"caption": "one", "label": 3}', "2.json": b"[1]", "2.txt": b"\0\1"},
        **{"3.npy": b"", "3.cls": b"7\n", "3.seg.png": b"y", "4.a.png": b"a", "4.b.png": b"b"},
        **{"README": b"", ".hidden": b""},
    }
    with tarfile.open(tmp_path / "train-0.tar", "w") as archive:
        for name, raw in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    corpus = read_corpus(tmp_path)
    found = {one.id: (one.text, one.label, one.image is not None, one.split) for one in corpus.samples}
    assert found == {
        "1": ("one", "3", True, "train"),
        "2": (None, None, False, "train"),
        "3": (None, "7", True, "train"),
        "4": (None, None, True, "train"),
    }
    assert [str(one).partition(": ")[2][:20] for one in corpus.problems[:2]] == [
        "'2.json': not one JS",
        "'2.txt': binary, not",
    ]
    assert "train-0.tar: members that are not read: .npy: 1, 'README': 1" in corpus.notes
    assert "posts with several images: 1, with 1 images beyond the first" in corpus.notes


def test_damaged_files_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(POSTS)
    with pa.OSFile(str(tmp_path / "posts.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    folders = as_parquet(tmp_path / "parquet", struct=True), as_tar(tmp_path / "tar")
    files = [tmp_path / "posts.arrow", *(file for folder in folders for file in folder.iterdir())]
    draw, refused = random.Random(0), []
    for number in range(90):
        file = files[number % 3]
        raw = bytearray(file.read_bytes())
        for _ in range(draw.choice([1, 8, 64])):
            raw[draw.randrange(len(raw))] = draw.randrange(256)
        damaged = tmp_path / f"{number}{file.suffix}"
        damaged.write_bytes(raw[: draw.randrange(len(raw))] if number % 5 == 0 else raw)
        try:
            corpus = read_corpus(damaged)
            assert len(hash_corpus(corpus).image_keys) == len(corpus.samples)
        except ValueError as error:
            refused.append(str(error))
    assert refused
    assert not any("\n" in reason for reason in refused)

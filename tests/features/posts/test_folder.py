"""Images and texts under the names that tables and label files give them, in the folders that the user named."""

from __future__ import annotations

import errno
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msa.features.posts.folder import Folder
from msa.features.posts.layouts import ReadOptions, read_corpus
from msa.features.posts.samples import Corpus

LOOP = os.strerror(errno.ELOOP)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, encoding="utf-8")
    return root


def table(*images: str) -> str:
    return "image,text,label\n" + "".join(f'"{image}",hello {image},x\n' for image in images)


def images_of(corpus: Corpus) -> list[str | None]:
    return [s.image and s.image.relative_to(corpus.root).as_posix() for s in corpus.samples]


NFD = unicodedata.normalize("NFD", "é")


@pytest.mark.parametrize(
    ("asked", "own"),
    [
        ("pics/0", "pics/0.webp"),
        ("pics/0.png", "pics/0.webp"),
        ("pics/übung.jpg", unicodedata.normalize("NFD", "pics/übung.jpg")),
        (unicodedata.normalize("NFD", "pics/été.jpg"), "pics/été.jpg"),
        ("pics/IMG_7.JPG", "pics/img_7.jpg"),
        ("Pics/img_7.jpg", "pics/img_7.jpg"),
        ("pics/7.0", "pics/7.jpeg"),
        ("pics/7.0.jpg", "pics/7.jpeg"),
        ("pics\\v1.2", "pics/v1.2.gif"),
    ],
)
def test_the_only_file_of_another_spelling_is_found_and_noted(tmp_path: Path, asked: str, own: str) -> None:
    root = write(tmp_path, {own: "", "pics/other.jpg": "", "posts.csv": table(asked, "pics/other.jpg")})
    corpus = read_corpus(root)
    assert images_of(corpus) == [own, "pics/other.jpg"]
    assert corpus.problems == []
    assert [note.partition(",")[0] for note in corpus.notes] == ["1 files found under another spelling"]


def test_several_files_that_fit_are_suggested_and_none_is_taken(tmp_path: Path) -> None:
    root = write(tmp_path, {"a/0.jpg": "", "a/0.png": "", "posts.csv": table("a/0.gif")})
    corpus = read_corpus(root)
    assert images_of(corpus) == [None]
    (problem,) = corpus.problems
    assert problem.reason == "image 'a/0.gif' does not exist; did you mean 'a/0.jpg' or 'a/0.png'?"


def test_a_missing_image_loses_nothing_but_the_image_and_a_near_name_is_suggested(tmp_path: Path) -> None:
    root = write(
        tmp_path, {"holiday_1.jpg": "", "0012.jpg": "", "posts.csv": table("holidy_1.jpg", "zzz.jpg", "12.jpg")}
    )
    corpus = read_corpus(root)
    assert [(s.image, s.text, s.label) for s in corpus.samples] == [
        (None, "hello holidy_1.jpg", "x"),
        (None, "hello zzz.jpg", "x"),
        (None, "hello 12.jpg", "x"),
    ]
    reasons = [p.reason for p in corpus.problems]
    assert reasons == [
        "image 'holidy_1.jpg' does not exist; did you mean 'holiday_1.jpg'?",
        "image 'zzz.jpg' does not exist",
        "image '12.jpg' does not exist; did you mean '0012.jpg'?",
    ]
    assert corpus.notes == [
        f"3 images not found, with paths counted from {root}; --images DIR names another folder",
    ]


@pytest.mark.parametrize("above", ["/home/other/", "C:\\Users\\other\\", "\\", "//server/"])
def test_absolute_paths_of_another_computer_are_found_by_their_end_on_request(tmp_path: Path, above: str) -> None:
    names = [above + "set/a/0.jpg", above + "set/b/0.jpg", above + "set/c/0.jpg", "a/0.jpg", above + "../a/0.jpg"]
    root = write(tmp_path / "own", {"a/0.jpg": "", "b/0.jpg": "", "posts.csv": table(*names)})
    lost = read_corpus(root)
    assert [s.image for s in lost.samples] == [None] * 3 + [root / "a/0.jpg", None]
    assert lost.notes[0].startswith("4 images not found")
    assert lost.notes[0].endswith(f"; add --images {root}")
    corpus = read_corpus(root, options=ReadOptions(images=root))
    assert [s.image for s in corpus.samples] == [root / "a/0.jpg", root / "b/0.jpg", None, root / "a/0.jpg", None]
    assert corpus.notes[0] == f"2 images found in {root} by the end of an absolute path"
    assert len(corpus.problems) == 2


def test_an_absolute_path_is_read_inside_the_data_folder_alone(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"a/0.jpg": ""})
    write(tmp_path, {"secret.jpg": "", "set2/0.jpg": ""})
    link = tmp_path / "link"
    link.symlink_to(root)
    names = [f"{root}/a/0.jpg", f"{tmp_path}/secret.jpg", f"{tmp_path}/set2/0.jpg", f"{root}/../secret.jpg", "/0.jpg"]
    write(root, {"posts.csv": table(*names)})
    corpus = read_corpus(root)
    assert [s.image for s in corpus.samples] == [root / "a/0.jpg", None, None, None, None]
    assert [p.line for p in corpus.problems] == [3, 4, 5, 6]
    assert [s.image for s in read_corpus(link).samples][:2] == [root / "a/0.jpg", None]


@pytest.mark.parametrize("name", ["../images/0.jpg", "images/0.jpg", "0.jpg", "0"])
def test_images_beside_the_table_are_named_in_the_note_and_its_option_finds_them(tmp_path: Path, name: str) -> None:
    write(tmp_path, {"images/0.jpg": "", "tables/train.csv": table(name)})
    corpus = read_corpus(tmp_path / "tables")
    assert [(s.image, s.text, s.label) for s in corpus.samples] == [(None, f"hello {name}", "x")]
    (note,) = corpus.notes
    assert note.startswith(f"1 images not found, with paths counted from {tmp_path / 'tables'}; add --images ")
    images = Path(note.rpartition(" ")[2])
    found = read_corpus(tmp_path / "tables", options=ReadOptions(images=images))
    assert [s.image for s in found.samples] == [tmp_path / "images/0.jpg"]
    assert (found.problems, len(found.notes)) == ([], name == "0")  # a note on the spelling


def test_paths_count_from_the_working_folder_where_the_table_has_no_such_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"images/0.jpg": "", "images/1.jpg": "", "tables/own/1.jpg": "", "own/2.jpg": "", "3.jpg": ""}
    names = "images/0.jpg", "../images/1.jpg", "own/1.jpg", "own/2.jpg", "3.jpg", "../../out.jpg"
    write(tmp_path, {"out.jpg": ""})
    work = write(tmp_path / "work", {**files, "tables/train.csv": table(*names)})
    monkeypatch.chdir(work)
    corpus = read_corpus(Path("tables/train.csv"))
    found = [s.image and s.image.as_posix() for s in corpus.samples]
    assert found == ["images/0.jpg", "images/1.jpg", "tables/own/1.jpg", None, None, None]
    assert corpus.notes[0] == f"1 images counted from {work}, as tables has no such folder"


@pytest.mark.parametrize("layout", ["course", "mvsa"])
def test_images_of_a_data_folder_may_lie_elsewhere(tmp_path: Path, layout: str) -> None:
    lists = {"course": ("train.txt", "1,x\n"), "mvsa": ("labelResultAll.txt", "1\tneutral,neutral\n")}
    write(tmp_path, {"set/data/1.txt": "one", "pictures/1.jpg": "", f"set/{lists[layout][0]}": lists[layout][1]})
    corpus = read_corpus(tmp_path / "set", layout=layout, options=ReadOptions(images=tmp_path / "pictures"))
    (post,) = corpus.samples
    assert (post.image, post.text) == (tmp_path / "pictures/1.jpg", tmp_path / "set/data/1.txt")


def test_a_folder_of_images_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder: 'nowhere'; --images names"):
        ReadOptions(images=Path("nowhere"))


@given(st.lists(st.sampled_from(["..", ".", "a", "A", "é", "x.jpg", "", "a:", "\\", "\0", "~"]), max_size=6))
@settings(max_examples=60, deadline=None)
def test_no_path_leads_out_of_the_folders(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    base = tmp_path_factory.getbasetemp() / "bounds"
    write(base, {"x.jpg": "", "a/x.jpg": "", "in/x.jpg": "", "in/a/x.jpg": "", "other/x.jpg": "", "other/a/x.jpg": ""})
    folder = Folder(base / "in", base / "other")
    for name in ("/".join(parts), f"{base}/{'/'.join(parts)}"):
        try:
            found = folder.find(name)
        except ValueError:
            continue
        assert found is None or {base / "in", base / "other"} & {*found.resolve().parents}
        assert found is None or ".." not in found.parts


def test_ids_of_other_spellings_are_found_and_are_not_left_over(tmp_path: Path) -> None:
    files = {
        "data/12.jpg": "",
        "data/12.txt": "twelve",
        "data/Zoë.JPG": "",
        "data/Zoë.txt": "z",
        "data/remainder.txt": "",
    }
    root = write(tmp_path, {**files, "train.txt": f"12.0,a\nzoe{chr(0x308)}.jpg,b\n1e3,c\nremaindr,d\n"})
    corpus = read_corpus(root)
    assert images_of(corpus) == ["data/12.jpg", "data/Zoë.JPG", None, None]
    assert [s.text and Path(s.text).name for s in corpus.samples] == ["12.txt", "Zoë.txt", None, None]
    assert [p.reason for p in corpus.problems] == [
        "post '1e3' has neither image nor text",
        "post 'remaindr' has neither image nor text; did you mean 'remainder.txt'?",
    ]
    assert [note.partition(",")[0] for note in corpus.notes] == [
        "2 files found under another spelling",
        "1 posts in data/ are in no label file and are left out",
    ]


def test_what_macos_leaves_is_no_data(tmp_path: Path) -> None:
    leftovers = {"._posts.csv": "\0", ".DS_Store": "", "pics/._0.jpg": "\0", "__MACOSX/pics/._0.jpg": "\0"}
    root = write(tmp_path, {**leftovers, "memes.csv": table("pics/0.jpg", "pics/0"), "pics/0.jpg": ""})
    corpus = read_corpus(root)
    assert (images_of(corpus), corpus.problems) == (["pics/0.jpg", "pics/0.jpg"], [])
    write(root, {"__MACOSX/metadata.csv": "file_name\n._0.jpg\n"})
    assert read_corpus(root).layout == "table"
    course = write(tmp_path / "c", {"data/._1.txt": "", "data/1.txt": "", "data/.DS_Store": "", "train.txt": "1,a\n"})
    assert read_corpus(course).notes == []


def test_memes_of_macos_are_no_data(tmp_path: Path) -> None:
    row = '{"id": 1, "img": "img/1.png", "text": "a", "label": 0}\n'
    root = write(tmp_path, {"train.jsonl": row, "._train.jsonl": row, "img/1.png": ""})
    corpus = read_corpus(root)
    assert (corpus.layout, len(corpus.samples), corpus.problems) == ("hateful-memes", 1, [])


def test_a_loop_of_links_hides_no_other_file_and_is_reported_where_it_is_named(tmp_path: Path) -> None:
    root = write(tmp_path, {"data/1.jpg": "", "data/1.txt": "one", "train.txt": "1,a\n2,b\n"})
    (root / "data/loop").symlink_to("loop")
    (root / "data/2.jpg").symlink_to("2.jpg")
    (root / "data/2.txt").symlink_to("nowhere")
    corpus = read_corpus(root)
    assert images_of(corpus) == ["data/1.jpg", "data/2.jpg"]
    assert [s.text for s in corpus.samples] == [root / "data/1.txt", None]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_a_folder_that_cannot_be_listed_is_an_error_and_not_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    root = write(tmp_path, {"posts.csv": table("pics/0.jpg"), "pics/0.jpg": ""})

    scandir = os.scandir

    def fail(path: Path) -> object:
        if path == root / "pics":
            raise OSError(code, os.strerror(code), str(path))
        return scandir(path)

    monkeypatch.setattr("msa.features.posts.directory.os.scandir", fail)
    with pytest.raises(OSError, match=f"cannot list {root / 'pics'}: {os.strerror(code)}"):
        read_corpus(root)


def test_a_folder_that_is_a_loop_of_links_is_an_error(tmp_path: Path) -> None:
    root = write(tmp_path, {"posts.csv": table("pics/0.jpg")})
    (root / "pics").symlink_to("pics")
    with pytest.raises(OSError, match=f"cannot list {root / 'pics'}: {LOOP}"):
        read_corpus(root)


@pytest.mark.parametrize("name", ["data", "test_without_label.txt"])
def test_a_loop_of_links_in_place_of_a_known_file_is_an_error(tmp_path: Path, name: str) -> None:
    root = write(tmp_path, {"train.txt": "1,a\n"} if name == "data" else {"data/1.txt": "one", "train.txt": "1,a\n"})
    (root / name).symlink_to(name)
    with pytest.raises(OSError, match=LOOP) as error:
        read_corpus(root)
    assert error.value.filename == str(root / name)


def test_a_name_that_no_file_can_have_is_reported_by_line(tmp_path: Path) -> None:
    root = write(
        tmp_path, {"posts.csv": table("a" * 300 + "/0.jpg", "x\0y/0.jpg", "ftp://host/0.jpg", "a/" * 1500 + "0.jpg")}
    )
    corpus = read_corpus(root)
    assert [s.image for s in corpus.samples] == [None] * 4
    reasons = [p.reason for p in corpus.problems]
    assert reasons[0] == f"image refused: '{root / ('a' * 300)}': {os.strerror(errno.ENAMETOOLONG)}"
    assert reasons[1].startswith("image refused: ")
    kind = "is a link of a kind that is not fetched; http, https, s3, gs, hf are"
    assert reasons[2] == f"image refused: 'ftp://host/0.jpg' {kind}"


def test_id_label_files_of_splits_are_read_with_their_split(tmp_path: Path) -> None:
    files = {f"data/{id}.txt": id for id in "1234"}
    lists = {"ID-label-train.txt": "ID,label\n1,a\n2,b\n", "ID-label-dev.txt": "3,a\n", "ID-label-test.txt": "4,b\n"}
    root = write(tmp_path, {**files, **lists})
    corpus = read_corpus(root)
    assert [(s.id, s.label, s.split) for s in corpus.samples] == [
        ("1", "a", "train"),
        ("2", "b", "train"),
        ("3", "a", "val"),
        ("4", "b", "test"),
    ]
    assert (corpus.layout, corpus.problems, corpus.notes) == ("id-label", [], [])
    write(root, {"ID-label.txt": "1,b\n"})
    assert read_corpus(root).notes == ["not read: ID-label.txt; --layout names the layout to read"]


@pytest.mark.parametrize(
    ("asked", "own"),
    [
        ("a%20b/c%20d.png", "a b/c d.png"),
        ("x y.jpg", "x%20y.jpg"),
        ("90%25.jpg", "90%.jpg"),
        ("%E5%A5%BD.jpg", "好.jpg"),
    ],
)
def test_a_name_in_the_form_of_a_url_is_found(tmp_path: Path, asked: str, own: str) -> None:
    (tmp_path / own).parent.mkdir(exist_ok=True)
    (tmp_path / own).write_bytes(b"")
    folder = Folder(tmp_path)
    assert folder.find(asked) == tmp_path / own
    assert list(folder.respelled) == [asked]

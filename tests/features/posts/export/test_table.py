"""Posts written as one table are read as the same posts, with the same content keys and labels."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from msa.cli import run_command
from msa.features.posts.content import hash_corpus
from msa.features.posts.export.table import FORMATS, PostTable
from msa.features.posts.layouts import ReadOptions, read_corpus
from msa.features.posts.samples import Corpus, Sample
from tests.shared import published


def write(corpus: Corpus, file: Path) -> Corpus:
    """The corpus that the written table is read as."""
    table = PostTable.of(corpus, file)
    with file.open("wb") as opened:
        table.write(opened)
    table.check()
    return read_corpus(file, options=ReadOptions(images=table.images))


def assert_same(corpus: Corpus, found: Corpus) -> None:
    def known(one: Corpus) -> list[tuple[str, str | None, str | None, str | None]]:
        return [(post.id, post.label, post.split, post.group) for post in one.samples]

    assert known(found) == known(corpus)
    one, two = hash_corpus(corpus), hash_corpus(found)
    assert (two.image_keys, two.text_keys) == (one.image_keys, one.text_keys)
    assert two.owners == one.owners


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", ["mvsa", "memes", "fakeddit", "twitter"])
def test_published_data_sets(name: str, suffix: str, tmp_path: Path) -> None:
    getattr(published, f"write_{name}")(tmp_path)
    folder = {"mvsa": "MVSA", "memes": "hateful_memes", "fakeddit": "multimodal_only_samples"}.get(name, "twitter2015")
    columns, images = {}, None
    if name == "fakeddit":
        columns = {"image": "id", "text": "clean_title", "label": "2_way_label"}
        images = tmp_path / "public_image_set"
    if name == "twitter":
        columns, images = {"label": "#2", "image": "#3", "text": "#4+#5"}, tmp_path / "twitter2015_images"
    corpus = read_corpus(tmp_path / folder, options=ReadOptions(columns=columns, images=images))
    (tmp_path / "elsewhere").mkdir()
    for place in (tmp_path, tmp_path / "elsewhere"):  # above the images, and not
        assert_same(corpus, write(corpus, place / f"joined{suffix}"))


TEXTS = st.one_of(
    st.text(max_size=30),
    st.lists(
        st.sampled_from(["", '"', "a", "a,b", '1,a.jpg,"x",p', "id,image,text,label", "\t", "；", "=1+1"]), max_size=6
    ).map("\n".join),
    st.sampled_from(
        ["nan", "null", "[1]", "['a']", "x.txt", "'=1", "\ufeffa", "a\r\nb\rc", "\u2028", "\ud83d", "\x00"]
    ),
)
LABELS = st.sampled_from([None, "positive", "好", "1", "a, b", "1.5", "True"])


@given(posts=st.lists(st.tuples(TEXTS, LABELS, st.sampled_from([None, "train", "test"])), min_size=1, max_size=6))
@settings(deadline=None, max_examples=150)
@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_any_text_is_read_again_or_refused(suffix: str, posts: list[tuple[str, str | None, str | None]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        published.draw(root, "a b.jpg", "x;y.png")
        images = [None, root / "a b.jpg", root / "x;y.png"]
        samples = [
            Sample(f"{number:03}", images[number % 3], text, label, split, None, ((root / "a b.jpg",) * (number == 2)))
            for number, (text, label, split) in enumerate(posts)
        ]
        corpus = Corpus(root, "table", samples)
        try:
            found = write(corpus, root / f"joined{suffix}")
        except ValueError:
            if suffix != ".csv":
                raise
            return
        expected = hash_corpus(corpus)
        assert [post.label for post in found.samples] == [label for _, label, _ in posts]
        assert hash_corpus(found).text_keys == expected.text_keys
        assert hash_corpus(found).image_keys == expected.image_keys


def test_a_table_that_is_read_otherwise_is_refused_with_the_format_that_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("another text")
    corpus = Corpus(tmp_path, "table", [Sample("1", None, "note.txt", "x"), Sample("2", None, "b", "y")])
    with pytest.raises(ValueError, match=r"for post '1'; name .*joined.jsonl, which keeps every character"):
        write(corpus, tmp_path / "joined.csv")
    with pytest.raises(ValueError, match=r"for post '1'; name a file in another folder"):
        write(corpus, tmp_path / "joined.jsonl")


def test_images_inside_other_files_go_into_parquet_alone(tmp_path: Path) -> None:
    published.draw(tmp_path, "1.jpg", "2.jpg")
    held = [{"bytes": (tmp_path / f"{number}.jpg").read_bytes(), "path": None} for number in (1, 2)]
    columns = {
        "id": ["1", "2", "3"],
        "image": [held[:1], held, None],
        "text": ["a", None, "c"],
        "label": ["x", "y", None],
    }
    parquet.write_table(pa.table(columns), tmp_path / "held.parquet")
    corpus = read_corpus(tmp_path / "held.parquet")
    assert_same(corpus, write(corpus, tmp_path / "joined.parquet"))
    with pytest.raises(ValueError, match=r"a .csv table cannot hold them; name .*joined.parquet"):
        PostTable.of(corpus, tmp_path / "joined.csv")


def test_links_stay_links(tmp_path: Path) -> None:
    (tmp_path / "posts.csv").write_text("id,image,text\n1,https://example.org/1.jpg,a\n2,,b\n")
    corpus = read_corpus(tmp_path / "posts.csv")
    for suffix in FORMATS:
        found = write(corpus, tmp_path / f"joined{suffix}")
        assert [str(post.image) for post in found.samples] == ["https://example.org/1.jpg", "None"]


def test_the_command_writes_it_and_says_how_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    published.write_mvsa(tmp_path)
    (tmp_path / "MVSA/data/4.txt").write_bytes(b"\x00\x01\x02")
    (tmp_path / "MVSA/data/5.txt").write_bytes(b"\x00\x01\x02")
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    assert run_command(["check", "../MVSA", "--as-table", "mvsa.csv", "--label-rule", "text", "--json"]) == 0
    done = capsys.readouterr()
    rows = json.loads(done.out)["rows"]
    place = tmp_path / "MVSA" / "data"
    assert f"{rows} posts are written to mvsa.csv; 1 of them without a part that cannot be read" in done.err
    assert f"msa check mvsa.csv --images {place} reads them" in done.err
    assert run_command(["check", "mvsa.csv", "--images", str(place), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == rows
    assert run_command(["check", "../MVSA", "--as-table", "mvsa.csv"]) == 2
    assert "mvsa.csv is there already; delete it" in capsys.readouterr().err
    assert run_command(["check", "../MVSA", "--as-table", "mvsa.xlsx"]) == 2
    assert "a table is called NAME.csv, NAME.jsonl, NAME.parquet; got 'mvsa.xlsx'" in capsys.readouterr().err

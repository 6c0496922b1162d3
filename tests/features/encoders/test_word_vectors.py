from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.word_vectors import FIT, Inference, load_fitted, save_fitted, split_words
from msa.features.encoders.zoo import open_encoder
from msa.features.spec import BadItem
from msa.features.words.vector_files import WordVectors

CORPUS = (
    "the cat sat on the mat",
    "a dog sat on the log and the cat ran",
    "what a lovely day for the dog",
    "今天天气很好 lovely",
    "北京天气很好",
) * 4
FITTED = ["gensim:doc2vec", "gensim:word2vec"]
VECTORS = {"good": [1.0, 2.0, 3.0], "bad": [-1.0, 0.5, 0.25], "天气": [0.0, 4.0, 8.0]}
FIT_AND_PRINT = """
import sys
sys.path.insert(0, sys.argv[1])
import test_word_vectors
print(*test_word_vectors.digests())
"""


def options(**changes: Any) -> EncoderOptions:
    return replace(EncoderOptions(corpus=CORPUS), **changes)


@pytest.mark.parametrize("name", FITTED)
def test_fit_gives_tokens_of_known_words_and_one_vector(name: str) -> None:
    encoder = open_encoder(name, "text", options()).load(Runtime())
    prepared = [encoder.preprocess(text) for text in ("The CAT, unheard of", "lovely 天气")]
    assert prepared[0] == ["the", "cat"]
    assert [encoder.length(words) for words in prepared] == [2, 2]
    encoded = encoder.encode(prepared)[0]
    assert encoded.pooled.shape == (2, FIT["vector_size"])
    assert encoded.pooled.dtype == encoded.tokens[0].dtype == np.float32
    assert [tokens.shape for tokens in encoded.tokens] == [(2, encoder.spec.width)] * 2
    means = np.stack([tokens.mean(0) for tokens in encoded.tokens])
    assert np.allclose(encoded.pooled, means, atol=1e-6) == (name == "gensim:word2vec")


@pytest.mark.parametrize("name", FITTED)
def test_order_and_company_do_not_matter(name: str) -> None:
    first = open_encoder(name, "text", options())
    second = open_encoder(name, "text", options(corpus=CORPUS[::-1]))
    assert first.spec == second.spec
    one, other = first.load(Runtime()), second.load(Runtime())
    prepared = [one.preprocess(text) for text in CORPUS[:5]]
    (together,), (reverse,) = one.encode(prepared), other.encode(prepared[::-1])
    np.testing.assert_array_equal(together.pooled, reverse.pooled[::-1])
    for row, words in enumerate(prepared):
        np.testing.assert_array_equal(one.encode([words])[0].pooled[0], together.pooled[row])
        np.testing.assert_array_equal(together.tokens[row], reverse.tokens[-1 - row])


def digests() -> list[str]:
    """Hash of what each fit gives for the corpus."""
    found = []
    for name in FITTED:
        encoder = open_encoder(name, "text", options()).load(Runtime())
        (encoded,) = encoder.encode([encoder.preprocess(text) for text in CORPUS[:5]])
        content = encoded.pooled.tobytes() + b"".join(tokens.tobytes() for tokens in encoded.tokens)
        found.append(hashlib.sha256(content).hexdigest())
    return found


def test_hash_seed_of_the_process_does_not_matter() -> None:
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    command = [sys.executable, "-c", FIT_AND_PRINT, str(Path(__file__).parent)]
    environment = os.environ | {"PYTHONHASHSEED": seed}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == digests()
    assert done.stderr == ""


def test_document_vectors_tell_documents_apart() -> None:
    encoder = open_encoder("gensim:doc2vec", "text", options()).load(Runtime())
    english, chinese = (encoder.preprocess(text) for text in (CORPUS[0], CORPUS[4]))
    a, b = encoder.encode([english, chinese])[0].pooled
    assert np.linalg.norm(a - b) > 0.1 * np.linalg.norm(a)


def test_inference_follows_gensim_from_the_same_start() -> None:
    """gensim's own inference, given the start vector and the seed that are used here, ends at the same vector."""
    from gensim.models import doc2vec

    encoder: Any = open_encoder("gensim:doc2vec", "text", options()).load(Runtime())
    inference: Inference = encoder.inference
    words = encoder.preprocess(CORPUS[1])
    state: list[Any] = []

    def start(size: int, seed_string: str) -> Any:
        inference.model.random.set_state(state[0])
        return (inference.model.random.random_sample(size).astype(np.float64) - 0.5).astype(np.float32) / size

    expected = inference.vector(words)
    seed = np.random.RandomState(inference.seed(words))
    state.append(seed.get_state())
    original = doc2vec.pseudorandom_weak_vector
    doc2vec.pseudorandom_weak_vector = start
    try:
        np.testing.assert_allclose(inference.model.infer_vector(words), expected, atol=1e-6)
    finally:
        doc2vec.pseudorandom_weak_vector = original


@pytest.mark.parametrize("name", FITTED)
def test_fit_is_stored_without_pickle_and_restored(tmp_path: Path, name: str) -> None:
    source = open_encoder(name, "text", options())
    encoder = source.load(Runtime())
    save_fitted(encoder, tmp_path)
    assert [file.name for file in (tmp_path / source.spec.slug).iterdir()] == ["fitted.safetensors"]
    restored = load_fitted(source.specs, tmp_path).load(Runtime())
    texts = ["the dog ran on the log", "a lovely cat 天气", "unseen words and a day"]
    prepared = [encoder.preprocess(text) for text in texts]
    assert [restored.preprocess(text) for text in texts] == prepared
    (before,), (after,) = encoder.encode(prepared), restored.encode(prepared)
    np.testing.assert_array_equal(before.pooled, after.pooled)
    for a, b in zip(before.tokens, after.tokens, strict=True):
        np.testing.assert_array_equal(a, b)


def test_restoring_refuses_another_fit_a_missing_and_a_damaged_file(tmp_path: Path) -> None:
    source = open_encoder("gensim:word2vec", "text", options())
    with pytest.raises(ValueError, match="missing or damaged"):
        load_fitted(source.specs, tmp_path)
    save_fitted(source.load(Runtime()), tmp_path)
    folder = tmp_path / source.spec.slug
    other = open_encoder("gensim:word2vec", "text", options(corpus=CORPUS[:-1]))
    assert other.spec.fingerprint != source.spec.fingerprint
    shutil.copytree(folder, tmp_path / other.spec.slug)
    with pytest.raises(ValueError, match="holds another fit"):
        load_fitted(other.specs, tmp_path)
    file = folder / "fitted.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b'"format":"1"', b'"format":"9"'))
    with pytest.raises(ValueError, match=r"format '9', but this msa reads format '1'.*run `msa extract`"):
        load_fitted(source.specs, tmp_path)
    file.write_bytes(whole[:-9])
    with pytest.raises(ValueError, match="missing or damaged"):
        load_fitted(source.specs, tmp_path)


def test_nothing_is_saved_for_vectors_that_have_a_file(tmp_path: Path) -> None:
    file = write_vectors(tmp_path / "v.txt")
    save_fitted(open_encoder(f"gensim:{file}", "text").load(Runtime()), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("name", FITTED)
def test_unusable_corpus_is_one_line(name: str) -> None:
    with pytest.raises(ValueError, match="got no text"):
        open_encoder(name, "text")
    with pytest.raises(ValueError, match="no word that occurs 2 times in 1 texts"):
        open_encoder(name, "text", options(corpus=("each word once",))).load(Runtime())


def test_options_are_honoured_or_refused(tmp_path: Path) -> None:
    file = write_vectors(tmp_path / "v.txt")
    encoder = open_encoder(f"gensim:{file}", "text", EncoderOptions(max_length=2, pools=("max",))).load(Runtime())
    words = encoder.preprocess("good unknown bad good good")
    assert words == ["good", "bad"]
    np.testing.assert_array_equal(encoder.encode([words])[0].pooled, [[1.0, 2.0, 3.0]])
    last = open_encoder(f"gensim:{file}", "text", EncoderOptions(pools=("last",))).load(Runtime())
    np.testing.assert_array_equal(last.encode([words])[0].pooled, [VECTORS["bad"]])
    for wrong, message in (
        (EncoderOptions(pools=("cls",)), "one of mean, max, last; got 'cls'"),
        (EncoderOptions(max_length=0), "at least 1 word; got 0"),
        (EncoderOptions(weights=file), "takes no weights file"),
    ):
        with pytest.raises(ValueError, match=message):
            open_encoder(f"gensim:{file}", "text", wrong)
    with pytest.raises(ValueError, match="must be one of inferred; got 'mean'"):
        open_encoder("gensim:doc2vec", "text", options(pools=("mean",)))


def test_no_known_word_is_a_bad_item(tmp_path: Path) -> None:
    encoder = open_encoder(f"gensim:{write_vectors(tmp_path / 'v.txt')}", "text").load(Runtime())
    for text in ("", "!!! 😀", "nothing here"):
        with pytest.raises(BadItem, match="no known word"):
            encoder.preprocess(text)


def test_words() -> None:
    assert split_words("Don't STOP, it's 5° — naïve_test!") == ["don't", "stop", "it's", "5", "naïve", "test"]
    assert split_words("我爱北京天安门, OK!") == ["我", "爱", "北京", "天安门", "ok"]


def write_vectors(file: Path, layout: str = "text") -> Path:
    """The three vectors in word2vec text or binary format, or as GloVe writes them, without a header."""
    opener = gzip.open if file.suffix == ".gz" else open
    with opener(file, "wb") as out:
        if layout != "bare":
            out.write(f"{len(VECTORS)} 3\n".encode())
        for word, vector in VECTORS.items():
            numbers = (
                np.array(vector, np.float32).tobytes() if layout == "binary" else " ".join(map(str, vector)).encode()
            )
            out.write(word.encode() + b" " + numbers + b"\n")
    return file


@pytest.mark.parametrize("layout", ["text", "binary", "bare"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_vector_files_of_each_layout(tmp_path: Path, layout: str, suffix: str) -> None:
    file = write_vectors(tmp_path / f"vectors.bin{suffix}", layout)
    source = open_encoder(f"gensim:{file}", "text")
    assert (source.spec.width, source.spec.name) == (3, f"gensim:{file.name}")
    encoder = source.load(Runtime())
    (encoded,) = encoder.encode([encoder.preprocess("Good 天气 and so on")])
    np.testing.assert_array_equal(encoded.tokens[0], [VECTORS["good"], VECTORS["天气"]])
    np.testing.assert_array_equal(encoded.pooled, [[0.5, 3.0, 5.5]])


def test_vectors_written_by_gensim_are_read(tmp_path: Path) -> None:
    from gensim.models import KeyedVectors

    vectors = KeyedVectors(3)
    vectors.add_vectors(list(VECTORS), np.array(list(VECTORS.values()), np.float32))
    for binary in (True, False):
        file = tmp_path / f"v{binary}.bin"
        vectors.save_word2vec_format(str(file), binary=binary)
        encoder: Any = open_encoder(f"gensim:{file}", "text").load(Runtime())
        fitted: WordVectors = encoder.fitted
        assert list(fitted.words) == list(VECTORS)
        np.testing.assert_array_equal(fitted.vectors, vectors.vectors)


def test_glove_words_may_hold_spaces_and_rows_may_not_be_short(tmp_path: Path) -> None:
    file = tmp_path / "glove.txt"
    file.write_text("good 1 2 3\n. . . 4 5 6\n", "utf-8")
    encoder: Any = open_encoder(f"gensim:{file}", "text").load(Runtime())
    assert list(encoder.fitted.words) == ["good", ". . ."]
    file.write_text("good 1 2 3\nbad 4 5\n", "utf-8")
    with pytest.raises(ValueError, match="row 2 has 3 fields, not 4"):
        open_encoder(f"gensim:{file}", "text").load(Runtime())


def test_place_of_the_vectors_is_nothing_and_content_all(tmp_path: Path) -> None:
    files = [tmp_path / folder / "v.txt" for folder in ("a", "b", "c")]
    for file in files:
        file.parent.mkdir()
        write_vectors(file)
    files[2].write_text(files[2].read_text("utf-8").replace("0.25", "0.26"), "utf-8")
    a, b, c = (open_encoder(f"gensim:{file}", "text").spec for file in files)
    assert a == b
    assert a.fingerprint != c.fingerprint


def test_pickled_vectors_are_refused_with_the_way_out(tmp_path: Path) -> None:
    file = tmp_path / "model.kv"
    file.write_bytes(pickle.dumps({"any": "thing"}))
    with pytest.raises(ValueError, match=r"is a pickle.*save_word2vec_format"):
        open_encoder(f"gensim:{file}", "text")


@pytest.mark.parametrize("content", [b"", b"hello\n", b"no vectors at all\n", b"\xff\xfe\x00"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "v.txt"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="must be word2vec text or binary"):
        open_encoder(f"gensim:{file}", "text")


def test_cut_and_absent_files_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        open_encoder(f"gensim:{tmp_path / 'absent.txt'}", "text")
    for layout in ("text", "binary"):
        file = write_vectors(tmp_path / f"{layout}.bin", layout)
        file.write_bytes(file.read_bytes()[:-16])
        with pytest.raises(ValueError, match="is damaged"):
            open_encoder(f"gensim:{file}", "text").load(Runtime())
    broken = tmp_path / "v.txt.gz"
    broken.write_bytes(b"not gzip")
    with pytest.raises(ValueError, match="cannot be read"):
        open_encoder(f"gensim:{broken}", "text")


def test_missing_package_names_the_line_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs gensim, which is missing: `pip install"):
        open_encoder("gensim:doc2vec", "text", options())

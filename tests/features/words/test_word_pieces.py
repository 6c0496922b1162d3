"""Word pieces joined to words, for each kind of text encoder."""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers as hf

from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.zoo import open_encoder
from msa.features.words.word_pieces import join_marked, join_spans, tokenizer_splitter

TEXT = "So #happy about this loooovely day!! don't @user 今天 café https://t.co/N8#a。"
WORDS = [
    "So",
    "#happy",
    "about",
    "this",
    "loooovely",
    "day",
    "!",
    "!",
    "don't",
    "@user",
    "今",
    "天",
    "café",
    "https://t.co/N8#a",
    "。",
]


@pytest.mark.parametrize("name", ["minilm", "tokens"])
def test_words_of_the_bundled_tokenizer_cover_all_tokens_but_the_special_ones(name: str) -> None:
    source = open_encoder(name, "text")
    assert source.words is not None
    found = source.words()(TEXT)
    assert [word.text for word in found.words] == WORDS
    places = [place for word in found.words for place in word.positions]
    encoder = source.load(Runtime())
    assert places == list(range(1, found.tokens - 1))
    assert found.tokens == encoder.length(encoder.preprocess(TEXT))


def test_words_are_cut_where_the_encoder_cuts_the_text() -> None:
    source = open_encoder("minilm", "text", EncoderOptions(max_length=5))
    assert source.words is not None
    found = source.words()(TEXT)
    assert found.tokens == 5
    assert [word.text for word in found.words] == ["So", "#happy"]


def test_words_of_a_model_folder_are_those_of_its_tokenizer(tmp_path: Path) -> None:
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "what", "is", "lovely", "day", "##s", "!"]
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    hf.BertModel(hf.BertConfig(vocab_size=len(vocabulary), **sizes)).save_pretrained(tmp_path / "model")
    (tmp_path / "words.txt").write_text("\n".join(vocabulary))
    hf.BertTokenizer(vocab=str(tmp_path / "words.txt")).save_pretrained(tmp_path / "model")
    source = open_encoder(str(tmp_path / "model"), "text")
    assert source.words is not None
    found = source.words()("lovely days !")
    assert found.words == [("lovely", (1,)), ("days", (2, 3)), ("!", (4,))]
    encoder = source.load(Runtime())
    assert found.tokens == encoder.length(encoder.preprocess("lovely days !"))
    assert [word.text for word in source.words()("what is unheard-of").words] == ["what", "is", "unheard", "-", "of"]


def test_a_tokenizer_in_python_has_marks_instead_of_spans() -> None:
    class Marked:
        is_fast, all_special_ids, unk_token_id = False, [0, 1, 9], 9
        pieces = ("<s>", "</s>", "he@@", "llo", "you", "", "", "", "", "<unk>")

        def __call__(self, text: str, **options: object) -> dict[str, list[int]]:
            assert not options.get("return_offsets_mapping")
            return {"input_ids": [0, *(self.pieces.index(one) for one in text.split()), 1]}

        def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
            return [self.pieces[one] for one in ids]

    split = tokenizer_splitter(Marked(), 8)
    assert split("he@@ llo you <unk>") == ([("hello", (1, 2)), ("you", (3,)), ("<unk>", (4,))], 6, False)


@pytest.mark.parametrize(
    "pieces",
    [["▁hel", "lo", "▁you"], ["Ġhel", "lo", "Ġyou"], ["hel", "##lo", "you"], ["hel@@", "lo", "you"]],
)
def test_marks_of_each_kind_join_pieces(pieces: list[str]) -> None:
    assert join_marked(pieces, ()) == [("hello", (0, 1)), ("you", (2,))]
    assert join_marked(["[CLS]", *pieces], {0}) == [("hello", (1, 2)), ("you", (3,))]


def test_marks_at_the_end_of_words_join_pieces() -> None:
    assert join_marked(["hel", "lo</w>", "you</w>"], ()) == [("hello", (0, 1)), ("you", (2,))]


def test_spans_that_overlap_or_hold_spaces_are_words_without_them() -> None:
    assert join_spans("ab  c", [(0, 1), (1, 4), (4, 5)], ()) == [("ab", (0, 1)), ("c", (2,))]
    assert join_spans("👍👍", [(0, 1), (0, 1), (1, 2), (1, 2)], ()) == [("👍", (0, 1)), ("👍", (2, 3))]
    assert join_spans("a b", [(0, 0), (0, 1), (1, 2), (2, 3)], {0}) == [("a", (1,)), ("b", (3,))]


def test_byte_pairs_of_one_character_are_one_word(tmp_path: Path) -> None:
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer(add_prefix_space=True)
    tokenizer.train_from_iterator(["good day"] * 4, vocab_size=270, min_frequency=1)
    fast = hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer._tokenizer)
    found = tokenizer_splitter(fast, 64)("good 👍 day")
    assert [word.text for word in found.words] == ["good", "👍", "day"]


def test_word_vectors_have_one_token_a_word() -> None:
    pytest.importorskip("gensim")
    pytest.importorskip("jieba")
    source = open_encoder("gensim:word2vec", "text", EncoderOptions(corpus=["good day", "good day"]))
    assert source.words is not None
    assert source.words()("A GOOD day") == ([("good", (0,)), ("day", (1,))], 2, False)


def test_numbers_of_a_dictionary_are_no_words() -> None:
    assert open_encoder("lexicon", "text").words is None

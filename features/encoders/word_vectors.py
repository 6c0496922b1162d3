"""Word and document vectors of gensim: fitted on the corpus, or read from a vectors file, never from a pickle."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..model_files.weights import weights_id
from ..regular_files import regular
from ..spec import BadItem, EncoderSpec, canonical
from ..store.durable import write_atomic
from ..store.json_files import FORMAT, check_format
from ..words.chinese import CJK, load_jieba, split_chinese
from ..words.vector_files import WordVectors, read_vectors, sniff
from ..words.word_pieces import Splitter, listed_splitter
from .encoder import Encoded, Encoder, EncoderOptions, Source, refuse_prompt, refuse_weights, require
from .variants import Stage, make_specs, safe_base_name

FIT: dict[str, Any] = {  # hyper-parameters of both fits, by gensim's names
    "vector_size": 128,
    "window": 5,
    "min_count": 2,
    "negative": 5,
    "hs": 0,
    "sample": 0.0,
    "alpha": 0.025,
    "min_alpha": 0.0001,
    "epochs": 20,
    "seed": 1,
    "workers": 1,  # with two, the same corpus would give other vectors each time
}
ARCHITECTURES = {"doc2vec": "PV-DBOW with words", "word2vec": "skip-gram"}
FITTED_FILE = "fitted.safetensors"
DEFAULT_LIMIT = 256  # words
WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


class WordEncoder(Encoder):
    """A loaded vocabulary: cleaned text -> the vectors of its known words, and their mean or an inferred vector."""

    def __init__(self, specs: Sequence[EncoderSpec], fitted: WordVectors) -> None:
        self.specs = tuple(specs)
        self.spec = self.specs[0]
        self.fitted = fitted
        self.index = {word: row for row, word in enumerate(fitted.words)}
        load_jieba()
        self.inference = None if fitted.hidden is None else Inference(fitted)
        self.inferring = Lock()  # gensim's inference modifies its model

    def preprocess(self, item: str, key: str = "") -> list[str]:
        """The known words, in order, cut to the max length. Raises BadItem where there is none."""
        words = self._known(item)
        if not words:
            raise BadItem(f"no known word: none is among the {len(self.index)} words of {self.spec.name}")
        return words[: self.spec.max_length]

    def length(self, prepared: Sequence[str]) -> int:
        """Number of known words."""
        return len(prepared)

    def is_cut(self, item: str, prepared: Sequence[str]) -> bool:
        return len(prepared) == self.spec.max_length and len(self._known(item)) > len(prepared)

    def encode(self, batch: Sequence[Sequence[str]]) -> tuple[Encoded, ...]:
        tokens = [self.fitted.vectors[[self.index[word] for word in words]] for words in batch]
        return tuple(
            Encoded(np.stack([self._pool(spec.pool, *item) for item in zip(batch, tokens, strict=True)]), list(tokens))
            for spec in self.specs
        )

    def _known(self, item: str) -> list[str]:
        return [word for word in split_words(item) if word in self.index]

    def _pool(self, pool: str, words: Sequence[str], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.inference is not None:
            with self.inferring:
                return self.inference.vector(words)
        pooled: NDArray[np.float32] = {"last": vectors[-1], "mean": vectors.mean(0), "max": vectors.max(0)}[pool]
        return pooled


class Inference:
    """PV-DBOW inference on fitted arrays. Each text starts from its own seed, so that their order does not matter."""

    def __init__(self, fitted: WordVectors) -> None:
        from gensim.models import Doc2Vec, KeyedVectors

        self.model = Doc2Vec(dm=0, dbow_words=1, **FIT)
        words = KeyedVectors(fitted.vectors.shape[1])
        words.add_vectors(list(fitted.words), fitted.vectors)
        words.vectors_lockf = np.ones(1, np.float32)
        self.model.wv = words
        self.model.syn1neg = fitted.hidden
        self.model.cum_table = fitted.sampling

    def vector(self, words: Sequence[str]) -> NDArray[np.float32]:
        """The document vector (D,). gensim's infer_vector is not repeatable: it is seeded by Python's salted hash."""
        from gensim.models.doc2vec import train_document_dbow

        model = self.model
        model.random = np.random.RandomState(self.seed(words))
        width = model.vector_size
        start = (model.random.random_sample((1, width)) - 0.5) / width
        vector: NDArray[np.float32] = start.astype(np.float32)  # (1, D), trained in place
        scratch = np.zeros(width, np.float32)  # gensim's own is freed while still in use
        for alpha in np.linspace(model.alpha, model.min_alpha, model.epochs):
            train_document_dbow(
                model,
                list(words),
                [0],
                alpha,
                work=scratch,
                learn_words=False,
                learn_hidden=False,
                doctag_vectors=vector,
                doctags_lockf=np.ones(1, np.float32),
            )
        return vector.reshape(-1)

    @staticmethod
    def seed(words: Sequence[str]) -> int:
        """A 32-bit seed that depends on the words alone."""
        return int.from_bytes(hashlib.blake2b("\n".join(words).encode(), digest_size=4).digest(), "big")


def open_gensim(name: str, options: EncoderOptions) -> Source:
    """`gensim:doc2vec`, `gensim:word2vec` (fitted on `options.corpus`) or `gensim:PATH`. Raises ValueError."""
    for package in ("gensim", "jieba"):
        require(package, name, extra="gensim")
    refuse_weights(name, options)
    refuse_prompt(name, options)
    kind = name.removeprefix("gensim:")
    read: Callable[[], WordVectors]
    if kind in ARCHITECTURES:
        if not options.corpus:
            raise ValueError(f"{name!r} is fitted on a corpus, but got no text; give a data set with texts")
        corpus = sorted(options.corpus)
        given = canonical({"corpus": corpus, "fit": FIT, "gensim": metadata.version("gensim")})
        weights, width = f"fit:{hashlib.sha256(given.encode()).hexdigest()}", FIT["vector_size"]

        def read() -> WordVectors:
            return fit_word_vectors(kind, [split_words(text) for text in corpus])
    else:
        path = Path(kind).expanduser()
        name, weights = f"gensim:{safe_base_name(path.name)}", weights_id([path])
        format, width = sniff(path)

        def read() -> WordVectors:
            return read_vectors(path, format, width)

    length = DEFAULT_LIMIT if options.max_length is None else options.max_length
    if length < 1:
        raise ValueError(f"max length of {name!r} must be at least 1 word; got {length}")
    specs = make_specs(
        options,
        name=name,
        modality="text",
        source="gensim",
        architecture=ARCHITECTURES.get(kind, "KeyedVectors"),
        weights=weights,
        preprocess={"words": WORD.pattern, "jieba": metadata.version("jieba"), "lower": True},
        stages=[Stage("vectors", width)],
        pools=("inferred",) if kind == "doc2vec" else ("mean", "max", "last"),
        max_length=length,
    )
    return _source(specs, read)


def split_words(text: str) -> list[str]:
    """Lower-case words; Chinese is split by jieba, other scripts at all but letters and digits."""
    text = text.lower()
    if not CJK.search(text):
        return WORD.findall(text)
    return [word for word in split_chinese(text) if WORD.search(word)]


def fit_word_vectors(kind: str, texts: Sequence[Sequence[str]]) -> WordVectors:
    """Fit on texts split into words; the same texts in the same order give the same bytes. Raises ValueError."""
    from gensim.models import Doc2Vec, Word2Vec
    from gensim.models.doc2vec import TaggedDocument

    logging.getLogger("gensim").setLevel(logging.ERROR)  # it warns of few jobs per worker
    try:
        if kind == "doc2vec":
            documents = [TaggedDocument(list(words), [row]) for row, words in enumerate(texts)]
            model = Doc2Vec(documents, dm=0, dbow_words=1, **FIT)
            return WordVectors(model.wv.index_to_key, model.wv.vectors, model.syn1neg, model.cum_table)
        model = Word2Vec([list(words) for words in texts], sg=1, **FIT)
        return WordVectors(model.wv.index_to_key, model.wv.vectors)
    except RuntimeError as error:
        raise ValueError(
            f"gensim:{kind} found no word that occurs {FIT['min_count']} times in {len(texts)} texts; give more texts"
        ) from error


def save_fitted(encoder: Encoder, cache: Path) -> None:
    """Write the fitted arrays of an encoder into the cache folder of each of its specs; nothing for any other one."""
    from safetensors.numpy import save

    if not isinstance(encoder, WordEncoder) or not encoder.spec.weights.startswith("fit:"):
        return
    fitted = encoder.fitted
    arrays = {"vectors": fitted.vectors, "hidden": fitted.hidden, "sampling": fitted.sampling}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    words = json.dumps(list(fitted.words), ensure_ascii=False)
    for spec in encoder.specs:
        facts = {"format": str(FORMAT), "spec": spec.to_json(), "words": words}
        write_atomic(cache / spec.slug / FITTED_FILE, save(arrays, metadata=facts))


def load_fitted(specs: tuple[EncoderSpec, ...], cache: Path) -> Source:
    """The encoder that `save_fitted` wrote into the folders of these specs. Raises ValueError where one lacks it."""
    for package in ("gensim", "jieba"):
        require(package, specs[0].name, extra="gensim")
    fitted = [_read_fitted(cache / spec.slug, spec) for spec in specs]
    return _source(specs, lambda: fitted[0])


def _source(specs: tuple[EncoderSpec, ...], read: Callable[[], WordVectors]) -> Source:
    def words() -> Splitter:
        return listed_splitter(WordEncoder(specs, read()).preprocess)

    return Source(specs, lambda runtime: WordEncoder(specs, read()), words)


def _read_fitted(folder: Path, spec: EncoderSpec) -> WordVectors:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(regular(folder / FITTED_FILE), framework="numpy") as file:
            facts = file.metadata() or {}
            check_format(facts.get("format", "1"), str(FORMAT))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        written = EncoderSpec.from_json(facts["spec"])
        fitted = WordVectors(json.loads(facts["words"]), **arrays)
        if fitted.vectors.shape[1] != written.width or (fitted.hidden is None) == (written.pool == "inferred"):
            raise ValueError(f"its arrays do not fit an encoder of width {written.width} with pool {written.pool}")
    except (OSError, KeyError, TypeError, ValueError, RecursionError, SafetensorError) as error:
        raise ValueError(
            f"the fitted {spec.name} is missing or damaged in {str(folder)!r} ({error}); run `msa extract` on its "
            "corpus again"
        ) from error
    if written != spec:
        raise ValueError(f"{str(folder)!r} holds another fit of {spec.name}; run `msa extract` on its corpus again")
    return fitted

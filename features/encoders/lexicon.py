"""Twenty sentiment features of a text from a dictionary of words; nothing is fitted."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..installation import reinstall_line
from ..spec import EncoderSpec
from .encoder import Encoded, Encoder, EncoderOptions, Source, choose_length, package_folder, refuse_weights, require
from .runtime import Runtime
from .variants import Stage, make_specs
from .weights import verify_sha256

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
MOST_WORDS = 256  # the time of the rules grows with the square of the text,
MOST_EXPANDED = 4 * MOST_WORDS  # in which each emoji stands for several words
STRONGEST = 4.0  # valences lie in -4..4

_SKIPPED = re.compile(r"https?://\S+|(?<!\w)@\w+:?|^RT\b")
_TAG = re.compile(r"#(\w+)")
_SEAM = re.compile(r"_+|(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[^\W\d])(?=\d)")  # inside #SoHappy, #DAY1
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")


def open_lexicon(options: EncoderOptions) -> Source:
    """`lexicon`: NUMBERS of a text as one vector, which is also its only token. Raises ValueError.

    VADER's dictionary of English words, emoticons and emoji (Hutto & Gilbert, 2014). Hashtags are split at capital
    letters; links and @mentions are skipped, so that a text needs no cleaning, which would lose the tags.
    """
    refuse_weights("lexicon", options)
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
        text = _SKIPPED.sub(" ", html.unescape(item))
        text = " ".join(text.split()[: self.length_limit])
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

"""What a dictionary of sentiment words says of a text: twenty numbers, fitted on nothing."""

from __future__ import annotations

import html
import importlib.util
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..spec import EncoderSpec, canonical
from .encoder import Encoded, Encoder, EncoderOptions, Source, refuse_weights, require
from .variants import Stage, expand
from .weights import verify_sha256

if TYPE_CHECKING:
    from .runtime import Runtime

FILES = {  # of the package vaderSentiment: the dictionary, the names of emoji, the rules
    "vader_lexicon.txt": "1ec9c6e9ee19aade328f8beb393a6afa71a5bb3acf7d3cc22d4ef568df374bf5",
    "emoji_utf8_lexicon.txt": "b8d54223ae1ce22a3e12c1f745316b71678c328eb5f5d3063a842f37cfbe2823",
    "vaderSentiment.py": "25cd814d23000b41c0e242d99960832c6620b3f1b844469173404500ce63206b",
}
NUMBERS = (
    *("compound", "pos", "neg", "neu"),  # what VADER's rules say of the whole text: negation, stress, "but"
    *("good", "bad"),  # sums of the valences of either sign, each word by itself; log(1 + x), as all counts below
    *("best", "worst", "mean"),  # the strongest valences of either sign and the mean of all, in quarters
    *("good words", "bad words", "good signs", "bad signs"),  # how many; signs are emoticons and emoji
    *("good tags", "bad tags", "tags"),  # how many hashtags hold such a word, and how many there are
    *("exclamations", "questions", "capitals", "words"),  # capitals: the share of words that are all capitals
)
MOST_WORDS = 256  # the rules take time that grows with the square of a text
STRONGEST = 4.0  # valences lie in -4..4

_SKIPPED = re.compile(r"https?://\S+|(?<!\w)@\w+:?|^RT\b")
_TAG = re.compile(r"#(\w+)")
_SEAM = re.compile(r"_+|(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[^\W\d])(?=\d)")  # inside #SoHappy, #DAY1
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")


def open_lexicon(options: EncoderOptions) -> Source:
    """`lexicon`: NUMBERS of a text as one vector, which is also its only token. Raises ValueError.

    VADER's dictionary of English words, emoticons and emoji (Hutto & Gilbert, 2014). Hashtags are taken apart where
    a capital begins; links and @mentions are passed over, so that a text needs no cleaning, which would lose the tags.
    """
    refuse_weights("lexicon", options)
    require("vaderSentiment", "lexicon", extra="offline")
    folder = _folder()
    if folder is None:
        raise ValueError("the dictionary of 'lexicon' is gone: pip install --force-reinstall 'msa-pipeline[offline]'")
    length = MOST_WORDS if options.max_length is None else options.max_length
    if not 1 <= length <= MOST_WORDS:
        raise ValueError(f"max length of 'lexicon' must be 1 to {MOST_WORDS} words; got {length}")
    spec = EncoderSpec(
        name="lexicon",
        modality="text",
        source="lexicon",
        architecture="vader",
        weights=f"sha256:{FILES['vader_lexicon.txt']}",
        layer="numbers",
        pool="mean",
        preprocess=canonical({"files": FILES, "numbers": NUMBERS, "max_words": length, "version": 1}),
        width=len(NUMBERS),
        dtype=options.dtype,
        clean=options.clean,
        max_length=length,
    )
    specs = expand(spec, options, stages=[Stage(spec.layer, spec.width)], pools=(spec.pool,))

    def load(runtime: Runtime) -> Encoder:
        for name, sha256 in FILES.items():
            verify_sha256(folder / name, sha256)
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

        return Lexicon(specs, SentimentIntensityAnalyzer(), length)

    return Source(specs, load)


def is_installed() -> bool:
    """Whether the dictionary is on this machine."""
    return _folder() is not None


def _folder() -> Path | None:
    found = importlib.util.find_spec("vaderSentiment")
    if found is None or not found.submodule_search_locations:
        return None
    folder = Path(found.submodule_search_locations[0])
    return folder if all((folder / name).exists() for name in FILES) else None


class Lexicon:
    """Text -> NUMBERS, by VADER's dictionary and rules."""

    def __init__(self, specs: Sequence[EncoderSpec], analyser: Any, length: int) -> None:
        self.specs = tuple(specs)
        self.analyser, self.length_limit = analyser, length
        self.valences: dict[str, float] = analyser.lexicon
        self.emoji = {sign: analyser.polarity_scores(name)["compound"] for sign, name in analyser.emojis.items()}

    def preprocess(self, item: str, key: str = "") -> NDArray[np.float32]:
        """Count and look up; the rules of VADER keep no state, so that several threads may call this."""
        text = _SKIPPED.sub(" ", html.unescape(item))
        text = " ".join(text.split()[: self.length_limit])
        tags = [_SEAM.sub(" ", tag) for tag in _TAG.findall(text)]
        plain = _TAG.sub(lambda found: f" {_SEAM.sub(' ', found[1])} ", text)
        said = self.analyser.polarity_scores(plain)
        words = _WORD.findall(plain)
        valued = [self.valences.get(word.lower().replace("’", "'"), 0.0) for word in words]
        good, bad = [v for v in valued if v > 0], [-v for v in valued if v < 0]
        signs = [self.emoji.get(sign, 0.0) for sign in plain]
        signs += [self.valences.get(sign, 0.0) for sign in plain.split() if not sign.isalnum()]
        tagged = [[self.valences.get(word.lower(), 0.0) for word in tag.split()] for tag in tags]
        known = len(good) + len(bad)
        return np.array(
            [
                *(said["compound"], said["pos"], said["neg"], said["neu"]),
                *(math.log1p(sum(good)), math.log1p(sum(bad))),
                *(max(good, default=0.0) / STRONGEST, max(bad, default=0.0) / STRONGEST),
                (sum(good) - sum(bad)) / max(known, 1) / STRONGEST,
                *map(math.log1p, (len(good), len(bad), _count(s > 0 for s in signs), _count(s < 0 for s in signs))),
                *map(math.log1p, (_count(max(t, default=0) > 0 for t in tagged),)),
                *map(math.log1p, (_count(min(t, default=0) < 0 for t in tagged), len(tags))),
                *map(math.log1p, (plain.count("!"), plain.count("?"))),
                _count(len(word) > 1 and word.isupper() for word in words) / max(len(words), 1),
                math.log1p(len(words)),
            ],
            np.float32,
        )

    def length(self, prepared: NDArray[np.float32]) -> int:
        """Every text costs the same."""
        return 1

    def encode(self, batch: Sequence[NDArray[np.float32]]) -> tuple[Encoded, ...]:
        return tuple(Encoded(np.stack(batch), [row[None] for row in batch]) for _ in self.specs)


def _count(truths: Iterable[bool]) -> int:
    return sum(truths)

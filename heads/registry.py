"""The heads by name, and the function that builds one."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .attention import AttentionHead
from .base import Dims, Head
from .bilinear import BilinearHead
from .cma import CmaHead
from .coattention import CoattentionHead
from .concat import ConcatHead
from .estimator import EstimatorBuilder
from .estimators.entries import ESTIMATORS as CLASSIFIERS
from .estimators.seeding import seeded
from .fourway import FourwayHead
from .gated import GatedHead
from .kernel import KernelHead
from .late import HybridHead, LateHead
from .mult import MultHead
from .ote import OteHead
from .rnn import RnnHead
from .single import ImageHead, TextHead
from .threeway import ThreewayHead
from .towers import Towers
from .transformer import TransformerHead
from .weighted import WeightedHead


@dataclass(frozen=True)
class HeadInfo:
    """One entry of the registry: the class, the inputs it is designed for, a summary and the paper.

    `serial` heads are fitted one at a time, since their package draws from the random state of the process.
    """

    build: Callable[..., Head]
    inputs: Literal["pooled", "tokens"]
    summary: str
    paper: str = ""
    serial: bool = False

    @property
    def options(self) -> dict[str, object]:
        """The head's own options and their defaults: all but `hidden` and `dropout`."""
        parameters = inspect.signature(self.build).parameters.values()
        common = ("hidden", "dropout")
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in common}


# Heads that are trained by gradients.
HEADS: dict[str, HeadInfo] = {
    "concat": HeadInfo(ConcatHead, "pooled", "a perceptron on the concatenated vectors", "Ngiam 2011"),
    "weighted": HeadInfo(WeightedHead, "pooled", "a weighted sum, weights learned per post or fixed", "Gu 2018"),
    "gated": HeadInfo(GatedHead, "pooled", "a learned gate weights image against text per feature", "Arevalo 2017"),
    "cma": HeadInfo(CmaHead, "pooled", "one softmax over features weights both vectors"),
    "bilinear": HeadInfo(BilinearHead, "pooled", "low-rank bilinear products of image and text features", "Liu 2018"),
    "ote": HeadInfo(OteHead, "pooled", "a Transformer encoder over the two vectors", "Vaswani 2017"),
    "late": HeadInfo(LateHead, "pooled", "combined decisions of one classifier per modality", "Atrey 2010"),
    "hybrid": HeadInfo(HybridHead, "pooled", "combined decisions of image, text and joint classifiers", "Atrey 2010"),
    "kernel": HeadInfo(KernelHead, "pooled", "a Nyström kernel machine on both modalities", "Williams 2001"),
    "attention": HeadInfo(AttentionHead, "tokens", "image queries attend to text keys and values", "Tsai 2019"),
    "coattention": HeadInfo(CoattentionHead, "tokens", "image and text attend to each other in every layer", "Lu 2019"),
    "threeway": HeadInfo(
        ThreewayHead, "tokens", "the mean of two cross-attentions and one self-attention", "Vaswani 2017"
    ),
    "fourway": HeadInfo(FourwayHead, "tokens", "the sum of self-attended and cross-attended streams", "Vaswani 2017"),
    "transformer": HeadInfo(TransformerHead, "tokens", "a Transformer encoder over the tokens of both", "Vaswani 2017"),
    "mult": HeadInfo(MultHead, "tokens", "directional cross-attention, then self-attention", "Tsai 2019"),
    "rnn": HeadInfo(RnnHead, "tokens", "an LSTM or GRU over the text, joined with the image", "Graves 2005"),
    "text": HeadInfo(TextHead, "pooled", "the text alone"),
    "image": HeadInfo(ImageHead, "pooled", "the image alone"),
}

# Classifiers, fitted at once.
ESTIMATORS: dict[str, HeadInfo] = {
    f"estimator:{path}": HeadInfo(
        EstimatorBuilder(entry), "pooled", entry.summary, entry.paper, serial=bool(entry.adapter)
    )
    for path, entry in CLASSIFIERS.items()
}
ENTRIES = HEADS | ESTIMATORS


def head_info(name: str) -> HeadInfo:
    """Return the entry of a head; raise ValueError with the nearest names when there is none."""
    if name not in ENTRIES:
        known = ESTIMATORS if name.startswith("estimator") else HEADS
        near = difflib.get_close_matches(name, known, n=3) or sorted(known)
        raise ValueError(f"unknown fusion head {name!r}; did you mean {', '.join(near)}?")
    return ENTRIES[name]


KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}  # of options
GROUPS = {"all": ("pooled", "tokens"), "all-pooled": ("pooled",), "all-tokens": ("tokens",)}


def fusion_names(text: str) -> list[str]:
    """The heads that `text` names, without repeats: `gated`, `gated,concat`, or a key of GROUPS.

    A group stands for the heads on both modalities with these inputs. Raises ValueError on an unknown head.
    """
    found: list[str] = []
    for name in map(str.strip, text.split(",")):
        if name in GROUPS:
            found += [n for n, info in HEADS.items() if info.inputs in GROUPS[name] and n not in ("image", "text")]
        else:
            head_info(name)
            found.append(name)
    return list(dict.fromkeys(found))


def check_option(name: str, option: str, value: object) -> None:
    """Raise ValueError where a head has no such option, or its default is of another type; numbers may be whole."""
    own = head_info(name).options
    if option not in own:
        known = ", ".join(own) or "none beside --hidden and --dropout"
        raise ValueError(f"head {name!r} has no option {option!r}; its options: {known}")
    kind = type(own[option])
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise ValueError(f"option {option} of head {name!r} must be {KINDS[kind]}, as {own[option]!r}; got {value!r}")


def build_head(
    name: str,
    dims: Dims,
    *,
    hidden: int = 128,
    dropout: float = 0.5,
    seed: int = 0,
    towers: Towers = Towers(),
    **options: int | float | str,
) -> Head:
    """Build the named head on the CPU. The same seed gives the same weights; the global random state is unchanged.

    `options` are the head's own (`head_info(name).options`). `towers` encode pixels or token ids for the head and are
    trained with it.

    Raises ValueError on an unknown name, an unknown option or an invalid value.
    """
    info = head_info(name)
    for option, value in options.items():
        check_option(name, option, value)
    with seeded(seed):

        def build(dims: Dims) -> Head:
            return info.build(dims, hidden=hidden, dropout=dropout, **options)

        return towers.wrap(build, dims, dropout=dropout)

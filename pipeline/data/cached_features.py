"""From posts and cache to arrays: join ids to content keys to stored rows, once."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from shlex import quote

import numpy as np
from numpy.typing import NDArray

from ...features.encoders.sources import pick_form
from ...features.encoders.tuned import tuned_name
from ...features.encoders.variants import EncoderName, parse_encoder_name, safe_base_name
from ...features.messages import notify
from ...features.posts.content import Contents
from ...features.posts.samples import Corpus
from ...features.progress import stage
from ...features.spec import EncoderSpec, Modality
from ...features.store.header import StoreError
from ...features.store.store import Store, stored_specs
from ..config.values import Grid, GroupBy
from .image_sets import find_items
from .join import join_posts, tied_by
from .joining import choose_storage, read_rows
from .lacking import refuse_lacking
from .ragged import Ragged, choose
from .seen import Seen, find_seen
from .split import Posts
from .storage import Storage


@dataclass(frozen=True)
class ModalityTable:
    """One modality of N posts. `present` (N,) is False where a post lacks it, or where it could not be embedded.

    pooled (N, D) float32; tokens ragged in the encoder's own format, or None when pooled only. Pooled vectors of
    several encoders are concatenated, and `parts` are the encoders one by one where there are tokens. `views` are the
    same posts in augmented views of their images: present alike, with as many tokens. `seen` says which posts an
    encoder was tuned on. `seconds` is what extracting all this took, NaN if unknown.

    Of a post with several images, pooled is the mean over those that are embedded, and their tokens follow one another;
    `images` (N,) is the number of these, None where no post has several.
    """

    specs: tuple[EncoderSpec, ...]
    present: NDArray[np.bool_]
    pooled: NDArray[np.float32]
    tokens: Ragged | None = None
    views: tuple[ModalityTable, ...] = ()
    parts: tuple[ModalityTable, ...] = ()
    seen: tuple[Seen, ...] = ()
    seconds: float = math.nan
    images: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class CachedFeatures:
    """All posts of a data set with their cached features; either modality may be absent as a whole.

    `ordered` says that the classes are levels, from the lowest to the highest.
    """

    posts: Posts
    classes: tuple[str, ...]
    image: ModalityTable | None
    text: ModalityTable | None
    storage: Storage = Storage()
    ordered: bool = False

    @property
    def sides(self) -> dict[Modality, ModalityTable]:
        """The modalities that are there."""
        sides: dict[Modality, ModalityTable | None] = {"image": self.image, "text": self.text}
        return {modality: side for modality, side in sides.items() if side is not None}

    @property
    def specs(self) -> dict[Modality, tuple[EncoderSpec, ...]]:
        """The encoders of each modality."""
        return {"image": self.image.specs if self.image else (), "text": self.text.specs if self.text else ()}

    @property
    def seconds(self) -> dict[Modality, float | None]:
        """What extracting each modality took one process, views included; None where the cache does not know."""
        return {name: None if math.isnan(side.seconds) else side.seconds for name, side in self.sides.items()}

    @property
    def extract_seconds(self) -> float | None:
        """What extracting these features took one process; None where the cache does not know."""
        known = [one for one in self.seconds.values() if one is not None]
        return sum(known) if len(known) == len(self.seconds) else None

    def targets(self) -> NDArray[np.int64]:
        """Class number per row (N,); -1 where unlabelled or outside `classes`."""
        number = {label: index for index, label in enumerate(self.classes)}
        return np.array([number.get(label, -1) if label is not None else -1 for label in self.posts.labels])


def find_spec(cache: Path, name: str, modality: Modality) -> EncoderSpec:
    """The cached encoder of that name, slug or fingerprint, in the form that the name denotes by default.

    Raises ValueError where none matches, or several and none is the default.
    """
    name = tuned_name(name, modality)
    faults: list[str] = []
    specs = [spec for spec in stored_specs(cache, faults) if spec.modality == modality]
    found = [spec for spec in specs if name in (spec.name, spec.slug, spec.fingerprint)]
    found = found or [spec for spec in specs if _matches(spec, parse_encoder_name(name))]
    if found:
        return found[0] if len(found) == 1 else pick_form(name, found)
    if faults:  # it may be the one that is asked for
        raise StoreError(faults[0])
    near = get_close_matches(name, [spec.name for spec in specs], 3, 0.4) or sorted({spec.name for spec in specs})
    hint = f" has {', '.join(near)};" if near else " holds none;"
    raise ValueError(f"no {modality} features of {name!r}: {cache}{hint} run `msa extract --{modality} {name}`")


def _matches(spec: EncoderSpec, asked: EncoderName) -> bool:
    """Whether a name means this spec although it names one of the encoder's defaults, or leaves its owner out."""
    own = parse_encoder_name(spec.name, local=False)
    return (
        _short(safe_base_name(asked.base)) == _short(own.base)
        and (asked.layer or -1) == (own.layer or -1)
        and asked.pool in (own.pool, spec.pool)
        and (asked.whole, asked.ocr, asked.joint, asked.view) == (own.whole, own.ocr, own.joint, own.view)
    )


def _short(name: str) -> str:
    """The last part of an id or a path: a name without its owner or folder, as users write it."""
    whole = "st:" if name.startswith("st:") else ""  # another model than its first module alone
    return whole + re.sub("^(gensim|tuned|st):", "", name).rstrip("/").rpartition("/")[2]


def load_features(
    corpus: Corpus,
    cache: Path,
    *,
    image: Sequence[EncoderSpec],
    text: Sequence[EncoderSpec],
    tokens: bool,
    patches: Grid | None = None,
    classes: Sequence[str] | None = None,
    group_by: GroupBy = "both",
    views: Sequence[Sequence[EncoderSpec]] = (),
    near_duplicates: bool = False,
    memory: int | None = None,
    whole: Sequence[str] = (),
) -> CachedFeatures:
    """Join a corpus with its cached features. The checksums of all parts are verified first.

    `patches` pools image tokens to a coarser grid (rows, columns). The inputs of a tower have tokens even where
    `tokens` is False. `views` has, for each augmented view, the specs of `image` in that view. `near_duplicates` puts
    near copies into one group. Features that take more than `memory` bytes are mapped from files in the cache, which
    the heads named in `whole` cannot read. Raises ValueError for these, and for posts that were never extracted,
    StoreError for a damaged cache.
    """
    if not image and not text:
        raise ValueError("at least one encoder is needed; give --image or --text")
    for specs in (image, text):
        if len(specs) > 1 and any(spec.raw for spec in specs):
            raise ValueError(f"{' and '.join(spec.name for spec in specs)} cannot be joined; leave one of them out")
    if views and not image:
        raise ValueError("views are of images; give --image, or leave --views out")
    if tokens and (joint := [spec.name for spec in text if spec.reads == "post"]):
        raise ValueError(f"{joint[0]} is one vector of a post, without tokens; add --inputs pooled, or leave it out")
    sides: tuple[tuple[Modality, Sequence[EncoderSpec]], ...] = (("image", image), ("text", text))
    tied = tied_by(group_by, {spec.reads for _, specs in sides for spec in specs})
    stage("loading embeddings")
    contents, posts = join_posts(corpus, cache, tied, near_duplicates=near_duplicates)
    if contents.owners and any(spec.raw for spec in image):
        notify(f"{len({*contents.owners})} posts have several images; of each the first that can be read is used")
    asked = {modality: " ".join(f"--{modality} {quote(spec.name)}" for spec in specs) for modality, specs in sides}
    if text and text[0].clean != "none":
        asked["text"] += f" --clean {text[0].clean}"
    if text and text[0].prompt:
        asked["text"] += f" --prompt {quote(text[0].prompt)}"
    if text and text[0].long_text != "truncate":
        asked["text"] += f" --long-text {text[0].long_text}"
    if cache != Path("cache"):
        asked = {modality: f"{flags} --cache {quote(str(cache))}" for modality, flags in asked.items()}
    every = [spec for specs in (image, text, *views) for spec in specs]
    storage = choose_storage(contents, cache, every, tokens=tokens, patches=patches, memory=memory, whole=whole)
    load = partial(_load_modality, contents, cache, tokens=tokens, patches=patches, storage=storage)
    tables = {
        modality: replace(
            load(specs, remedy=f"msa extract {asked[modality]}"), seen=find_seen(specs, cache, contents, posts.groups)
        )
        for modality, specs in sides
        if specs
    }
    if views:
        plain, remedy = tables["image"], f"msa extract {asked['image']} --views {len(views)}"
        filled = tuple(fill_view(load(specs, remedy=remedy), plain, storage) for specs in views)
        seconds = plain.seconds + sum(view.seconds for view in filled)
        tables["image"] = replace(plain, views=filled, seconds=seconds)
    named = tuple(classes or corpus.labels)
    return CachedFeatures(posts, named, tables.get("image"), tables.get("text"), storage)


def _load_modality(
    contents: Contents,
    cache: Path,
    specs: Sequence[EncoderSpec],
    *,
    tokens: bool,
    patches: Grid | None,
    remedy: str,
    storage: Storage,
) -> ModalityTable:
    """The features of one modality, encoders concatenated; `remedy` is the command that extracts missing ones.

    A post has them where all encoders of its text do, or all of the text in its image, or all of both together; those
    of the others are zeros.
    """
    for spec in specs:
        if not (cache / spec.slug).is_dir():
            imported = f"they were imported: give the cache that has {spec.slug}, as --cache FOLDER"
            how = imported if spec.source == "import" else f"run `{remedy}` first"
            raise ValueError(f"no {spec.modality} features of {spec.name!r} in {cache}; {how}")
    stores = [Store.open(cache, spec) for spec in specs]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda store: store.verify(), stores))
    load = partial(_load_encoder, tokens=tokens, patches=patches, remedy=remedy, storage=storage)
    return join_encoders([load(store, contents) for store in stores], tokens=tokens, storage=storage)


def join_encoders(tables: Sequence[ModalityTable], *, tokens: bool, storage: Storage = Storage()) -> ModalityTable:
    """The tables of one modality's encoders as one, pooled vectors concatenated.

    A post is present where it is in all that read its text, or in all that read the text in its image, or in all that
    read image and text together: it may lack the others. What is absent there is zeros.
    """
    if len(tables) == 1:
        return tables[0]
    specs = tuple(spec for table in tables for spec in table.specs)
    present = np.zeros_like(tables[0].present)
    for read in {spec.reads for spec in specs}:
        present |= np.logical_and.reduce([table.present for table in tables if table.specs[0].reads == read])
    width = sum(spec.width for spec in specs)
    pooled = storage.rows(len(present), width, lambda rows: np.concatenate([table.pooled[rows] for table in tables], 1))
    seconds = sum(table.seconds for table in tables)
    return ModalityTable(specs, present, pooled, parts=tuple(tables) if tokens else (), seconds=seconds)


def fill_view(view: ModalityTable, plain: ModalityTable, storage: Storage = Storage()) -> ModalityTable:
    """A view with exactly the posts of the plain table: one that it lacks has its plain image instead."""
    held = view.present & plain.present
    if view.tokens is not None and plain.tokens is not None:
        held &= view.tokens.lengths == plain.tokens.lengths  # a view may lack one of several images
    count, width = view.pooled.shape
    pooled = storage.rows(count, width, lambda rows: np.where(held[rows, None], view.pooled[rows], plain.pooled[rows]))
    if view.tokens is None or plain.tokens is None:
        pairs = zip(view.parts, plain.parts, strict=True)
        parts = tuple(fill_view(replace(one, present=view.present), other, storage) for one, other in pairs)
        return replace(view, present=plain.present, pooled=pooled, parts=parts)
    return replace(view, present=plain.present, pooled=pooled, tokens=choose(held, view.tokens, plain.tokens, storage))


def _load_encoder(
    store: Store, contents: Contents, *, tokens: bool, patches: Grid | None, remedy: str, storage: Storage
) -> ModalityTable:
    """Read one store; distinct keys are read once."""
    tokens = tokens or store.spec.raw
    distinct = list(dict.fromkeys(key for key in contents.keys(store.spec.reads) if key is not None))
    known = store.find(distinct, tokens=tokens)
    wanted = [key for key, there in zip(distinct, known, strict=True) if there]
    refuse_lacking(store, contents, set(distinct).difference(wanted), tokens=tokens, remedy=remedy)
    items = find_items(store.spec, contents, wanted)
    pooled, ragged = read_rows(store, wanted, items, tokens=tokens, patches=patches, storage=storage)
    seconds = store.seconds(wanted)
    return ModalityTable((store.spec,), items.row >= 0, pooled, ragged, seconds=seconds, images=items.images)

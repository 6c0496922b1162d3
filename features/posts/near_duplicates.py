"""Near copies: images that differ by encoding or size, and texts that differ by case, spaces, links or mentions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..blob import content_key
from ..messages import notify
from ..progress import step
from ..spec import BadItem, Modality
from .content import WORKERS, Contents, text_key
from .content_index import ContentIndex
from .images import Pixels, decode_pixels
from .remote.copies import NotKept
from .samples import Corpus, Sample, read_file
from .text import clean_text, read_text

# Bits of 64 by which the hashes of near copies differ at most. Of images of MVSA saved again at quality 50 or at half
# size, 99.5 % and more stay within 6. Of its 10 million pairs 134 are within 6 and show one picture, some in two
# colours; most pairs at 10 do not.
DISTANCE = 6
SIDE = 32  # pixels
FLATTEST = 3.0  # standard deviation of the grey levels, of 255, below which an image shows nothing to compare


@dataclass(frozen=True)
class NearHashes:
    """Content key -> hash, equal or similar for near copies, empty where there is nothing to compare; or the reason."""

    hashes: dict[str, str]
    bad: dict[str, str]


def image_hash(pixels: Pixels) -> str:
    """The perceptual hash (pHash) of an image (H, W, 3), 16 hex digits; empty for one without structure.

    The signs of the 8x8 lowest frequencies of its cosine transform about their median.
    """
    image = Image.fromarray(pixels).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    grey = np.asarray(image, np.float64)
    if grey.std() < FLATTEST:
        return ""
    steps = np.arange(SIDE)
    cosines = np.cos(np.pi / SIDE * np.outer(steps[:8], steps + 0.5))
    low = (cosines @ grey @ cosines.T).ravel()[1:]  # without the mean
    return np.packbits([False, *(low > np.median(low))]).tobytes().hex()


def text_hash(text: str) -> str:
    """The key of a text without case, links, mentions and marks of tags; empty if nothing is left. Raises BadItem."""
    words = clean_text(text, "social").casefold()
    return text_key(words) if words else ""


def near_hashes(corpus: Corpus, contents: Contents, modality: Modality, cache: Path | None = None) -> NearHashes:
    """The hash of each distinct image or text; those that the content index of the cache lacks are computed."""
    first, items = contents.first(modality), corpus.items(modality)
    compute: Callable[[Sample, str], str] = _hash_image if modality == "image" else _hash_text
    bad: dict[str, str] = {}
    not_here: list[str] = []

    def hash_one(key: str) -> str | None:
        try:
            found = compute(items[first[key]], key)
        except NotKept:
            not_here.append(key)
            return None
        except BadItem as error:
            bad[key] = str(error)
            return None
        except MemoryError:
            bad[key] = "not enough memory; a smaller copy may do"
            return None
        index.add_hash(modality, key, found)
        return found

    with ContentIndex(cache, corpus.root, rehash=corpus.rehash) as index, ThreadPoolExecutor(WORKERS) as pool:
        hashes = index.find_hashes(modality, list(first))
        lacking = [key for key in first if key not in hashes]
        for number, (key, found) in enumerate(zip(lacking, pool.map(hash_one, lacking), strict=True), 1):
            if found is not None:
                hashes[key] = found
            step(f"near {modality}s", number, len(lacking), f"{modality}s")
    if not_here:
        notify(
            f"{len(not_here)} images are links without a copy here, and near copies of them are not looked for; "
            "--remote fetches them, --keep-images DIR keeps them"
        )
    return NearHashes(hashes, bad)


def near_groups(contents: Contents, modality: Modality, hashes: NearHashes) -> list[str | None]:
    """A name for each item, the same for all images or texts that are near copies, directly or through others."""
    names = {found: found for found in hashes.hashes.values() if found}
    if modality == "image":
        distinct = sorted(names)
        groups = similar_groups(np.array([int(found, 16) for found in distinct], np.uint64))
        names = {found: str(group) for found, group in zip(distinct, groups, strict=True)}
    return [names.get(hashes.hashes.get(key or "", "")) for key in contents.keys(modality)]


def near_duplicate_groups(
    corpus: Corpus, contents: Contents, modalities: Sequence[Modality], cache: Path | None = None
) -> list[list[str | None]]:
    """For each of the modalities, the names of `near_groups`."""
    return [near_groups(contents, one, near_hashes(corpus, contents, one, cache)) for one in modalities]


def similar_groups(hashes: NDArray[np.uint64]) -> NDArray[np.int32]:
    """Group number of each of N distinct hashes: those within DISTANCE bits of one another, directly or through others.

    Two such hashes agree in at least one of DISTANCE + 1 bands of bits, so that only those are compared.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = [0, *(64 * (band + 1) // (DISTANCE + 1) for band in range(DISTANCE + 1))]
    pairs: list[NDArray[np.int64]] = [np.zeros((2, 0), np.int64)]
    for low, high in pairwise(edges):
        bands = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        order = np.argsort(bands, kind="stable")
        bands, ordered = bands[order], hashes[order]
        at, step = np.arange(len(hashes)), 0
        while len(at):  # compare each with the next of its band, then with the one after it, and so on
            step += 1
            at = at[at + step < len(hashes)]
            at = at[bands[at] == bands[at + step]]
            close = at[np.bitwise_count(ordered[at] ^ ordered[at + step]) <= DISTANCE]
            pairs.append(np.stack([order[close], order[close + step]]))
    rows, columns = np.concatenate(pairs, 1)
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(hashes), len(hashes)))
    groups: NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return groups


def _hash_image(sample: Sample, key: str) -> str:
    assert sample.image is not None
    raw = read_file(sample.image, "image")
    if content_key(raw) != key:
        raise BadItem("changed while it was read; run the command again")
    return image_hash(decode_pixels(raw))


def _hash_text(sample: Sample, key: str) -> str:
    assert sample.text is not None
    text = read_text(sample.text)
    if text_key(text) != key:
        raise BadItem("changed while it was read; run the command again")
    return text_hash(text)

"""The text and the picture behind an id, where the posts of a run are there."""

from __future__ import annotations

from collections.abc import Mapping

from ...features.posts.content import hash_content, split_keys
from ...features.posts.export.thumbnail import thumbnail
from ...features.posts.samples import Corpus, Sample
from ...features.posts.text import read_text
from ...features.spec import MODALITIES, BadItem, Modality
from ..data.split import Content

CHANGED = "changed since the run"
SIDE = 160  # pixels of the longer side of a thumbnail
MOST = 10_000  # bytes of a thumbnail


class PostSource:
    """Posts by id. `contents` are the keys of the run's own: what has another content now is not shown in its place."""

    def __init__(self, corpus: Corpus, contents: Mapping[str, Content]) -> None:
        self.samples = {sample.id: sample for sample in corpus.samples}
        self.contents = contents

    def text(self, name: str) -> str:
        """The text of a post, empty where it has none. Raises BadItem where it cannot be read, or has changed."""
        sample = self._checked(name, "text")
        return "" if sample.text is None else read_text(sample.text)

    def thumbnail(self, name: str) -> bytes:
        """A small JPEG of the first image of a post, empty where it has none. Raises BadItem as `text` does."""
        sample = self._checked(name, "image")
        return b"" if sample.image is None else thumbnail(sample.image, SIDE, most=MOST)

    def _checked(self, name: str, modality: Modality) -> Sample:
        sample = self.samples.get(name)
        if sample is None:
            raise BadItem("not in these posts")
        known = self.contents.get(name)
        if known is not None:
            key, keys = hash_content(sample, modality)[0], split_keys(known[MODALITIES.index(modality)])
            if key not in (keys or [""]):
                raise BadItem(CHANGED)
        return sample

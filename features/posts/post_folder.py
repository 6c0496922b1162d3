"""Adds the posts of a `data/` folder to a collector: the image and the text of each id, by the names of their files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from .collector import PostCollector
from .directory import IMAGE_SUFFIXES, TEXT_SUFFIXES
from .folder import Folder
from .samples import Sample


class PostFolder:
    """A folder of `<id>.jpg` and `<id>.txt`; its images may lie in another folder, which the user named."""

    def __init__(self, root: Path, posts: PostCollector) -> None:
        self.posts, self.texts = posts, Folder(root)
        self.images = self.texts if posts.images is None else Folder(posts.images)

    def add(self, id: str, label: str | None, split: str | None, file: str, line: int) -> None:
        """Add one post; report the line where its id is no name of files."""
        try:
            images, texts = self.images.candidates(id, IMAGE_SUFFIXES), self.texts.candidates(id, TEXT_SUFFIXES)
        except ValueError as error:
            self.posts.report(file, line, f"id refused: {error}")
            return
        image, text = (self.posts.pick(found, id, file, line) for found in (images, texts))
        near = "" if image or text else self.texts.near(id)
        self.posts.add(Sample(id, image, text, label, split), file, line, hint=near)

    def note_rest(self, listed: Sequence[str]) -> None:
        """Note files under other names than their ids, and those of no id that is listed."""
        for folder in {self.images, self.texts}:
            self.posts.note_files(folder)
        unlisted = self.texts.stems().difference(
            listed, (PurePosixPath(own).stem for own in self.texts.respelled.values())
        )
        if unlisted:
            self.posts.notes.append(f"{len(unlisted)} posts in data/ are in no label file and are left out")

"""How stored results were made: the command, the versions, the date, and the data that they were made from."""

from __future__ import annotations

import hashlib
import json
from contextvars import ContextVar
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any

from ...features.installation import DISTRIBUTION

if TYPE_CHECKING:  # the command line sets COMMAND before it knows whether anything heavy is needed
    from ...features.posts.samples import Corpus
    from ..data.split import Posts

COMMAND: ContextVar[str] = ContextVar("command", default="")  # as typed, quoted for a shell; empty in Python


def describe_made(corpus: Corpus, posts: Posts) -> dict[str, Any]:
    """The entry `made` of stored results, for JSON; two calls on the same posts differ in their date alone."""
    return describe_command() | {
        "data": {"name": corpus.name, "digest": digest_posts(posts), "posts": len(posts.ids)},
    }


def describe_command() -> dict[str, Any]:
    """The command that makes something now, the versions and the date, for JSON."""
    return {
        "command": COMMAND.get(),
        "version": metadata.version(DISTRIBUTION),
        "torch": metadata.version("torch"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def digest_posts(posts: Posts) -> str:
    """16 hexadecimal digits that identify posts by their contents and labels, whatever their order and their ids."""
    lines = sorted([key, label or ""] for key, label in zip(posts.keys, posts.labels, strict=True))
    return hashlib.blake2b(json.dumps(lines).encode(), digest_size=8).hexdigest()

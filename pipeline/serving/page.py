"""The page and its files, which are read once; nothing on it comes from another host."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request

from ...features.messages import printable
from .known_posts import labels_of
from .request_posts import MAX_IMAGE, MAX_TEXT
from .service import Service
from .words import Language, PageWords, pick_language

FOLDER = Path(__file__).with_name("static")
KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
STATIC = {
    file.name: (KINDS[file.suffix], file.read_bytes()) for file in sorted(FOLDER.iterdir()) if file.suffix in KINDS
}


def choose_language(request: Request) -> Language:
    """The language of a request: its query, its cookie, its browser's."""
    asked, stored = request.query_params.get("language"), request.cookies.get("msa_language")
    return pick_language(asked, stored, request.headers.get("accept-language", ""))


def main_page(service: Service, language: Language, accuracy: float | None) -> str:
    """The page for a model and the posts that it knows."""
    words, known, model = PageWords(language), service.known, service.model
    config = {"words": words, "posts": known is not None}
    reads = "both" if len(model.reads) > 1 else model.reads[0]
    hint = {
        "both": "Give a picture, a text, or both. The prediction and what it rests on appear here.",
        "text": "Give a text. The prediction and what it rests on appear here.",
        "image": "Give a picture. The prediction and what it rests on appear here.",
    }[reads]
    return _render(
        "page.html",
        words,
        config=json.dumps(config),
        headline="" if accuracy is None else words("accuracy {value} on the test rows", value=f"{accuracy:.3f}"),
        reads=model.reads,
        hint=words(hint),
        megabytes=MAX_IMAGE // 1_000_000,
        longest=MAX_TEXT,
        known=known,
        labels=labels_of(known) if known else [],
        classes=model.run.classes,
        name=printable(service.name),
    )


def login_page(language: Language, *, wrong: bool = False) -> str:
    """The page that asks for the token."""
    return _render("login.html", PageWords(language), wrong=wrong)


def _render(template: str, words: PageWords, **values: Any) -> str:
    return _templates().get_template(template).render(t=words, language=words.language, **values)


@cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

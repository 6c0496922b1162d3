"""Posts in the body of a request: a form with one, JSON with one or many, or one JSON object a line."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from ...features.posts.formats import FORMATS, detect_format
from ...features.spec import BadItem

MAX_POSTS = 64  # of one request
MAX_IMAGE = 16_000_000  # bytes of one picture
MAX_TEXT = 20_000  # characters of one text
FORM, JSON, LINES = "multipart/form-data", "application/json", ("application/x-ndjson", "application/jsonl")
FIELDS = ("id", "image", "text")
EXAMPLE = 'a post is {"id": "…", "image": "base64 of the file", "text": "…"}'


@dataclass(frozen=True)
class GivenPost:
    """One post of a request; `fault` (status, reason) says why it cannot be predicted."""

    id: str | None = None
    image: bytes | None = None
    text: str | None = None
    fault: tuple[int, str] | None = None


@dataclass(frozen=True)
class GivenPosts:
    """The posts of a request, and whether the answer is a list."""

    posts: list[GivenPost]
    many: bool


async def read_form(request: Request) -> GivenPost:
    """The post of a form: a file `image`, a field `text`, or both. Raises HTTPException."""
    async with request.form(max_files=1, max_fields=len(FIELDS), max_part_size=4 * MAX_TEXT + 4) as form:
        fields = {name: value for name, value in form.multi_items() if not isinstance(value, str)}
        texts = {name: value for name, value in form.multi_items() if isinstance(value, str)}
        _refuse_unknown([name for name, _ in form.multi_items()])
        if "image" in texts or not {*fields} <= {"image"}:
            raise HTTPException(400, "the field 'image' must be a file, 'text' and 'id' must be none")
        image = await fields["image"].read() if "image" in fields else None
    return checked(GivenPost(texts.get("id"), image or None, texts.get("text")))


def read_json(body: bytes, *, lines: bool) -> GivenPosts:
    """The posts of a body of JSON. Raises HTTPException; the faults of single posts are kept with them."""
    try:
        given = [json.loads(line) for line in body.splitlines() if line.strip()] if lines else json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"not JSON ({' '.join(str(error).split())[:120]}); {EXAMPLE}") from error
    many = isinstance(given, list)
    found = given if many else [given]
    if not found:
        raise HTTPException(400, f"the request has no post; {EXAMPLE}")
    if len(found) > MAX_POSTS:
        raise HTTPException(413, f"a request may have {MAX_POSTS} posts; got {len(found)}: send several requests")
    return GivenPosts([_read_post(one) for one in found], many)


def checked(post: GivenPost) -> GivenPost:
    """The post, with its fault if it is too large or its image is of no known type."""
    if post.text is not None and len(post.text) > MAX_TEXT:
        return GivenPost(post.id, fault=(413, f"a text may have {MAX_TEXT} characters; got {len(post.text)}"))
    if post.image is not None:
        if len(post.image) > MAX_IMAGE:
            size = f"{len(post.image) / 1e6:.1f} MB"
            return GivenPost(post.id, fault=(413, f"an image may have {MAX_IMAGE // 1_000_000} MB; got {size}"))
        try:
            detect_format(post.image)
        except BadItem as error:
            return GivenPost(post.id, fault=(415, f"the image must be {', '.join(FORMATS)}; got {error}"))
    return post


def _read_post(given: Any) -> GivenPost:
    if not isinstance(given, dict):
        return GivenPost(fault=(400, f"a post must be an object; {EXAMPLE}"))
    try:
        _refuse_unknown([*given])
    except HTTPException as error:
        return GivenPost(fault=(400, str(error.detail)))
    wrong = [name for name, value in given.items() if value is not None and not isinstance(value, str)]
    name = given.get("id") if "id" not in wrong else None
    if wrong:
        return GivenPost(name, fault=(400, f"the field {wrong[0]!r} must be a string"))
    image = None
    if given.get("image"):
        try:
            image = base64.b64decode(given["image"], validate=True)
        except (binascii.Error, ValueError):
            return GivenPost(name, fault=(400, "the field 'image' must be the base64 of an image file"))
    return checked(GivenPost(name, image, given.get("text")))


def _refuse_unknown(names: list[str]) -> None:
    unknown = [name for name in names if name not in FIELDS]
    if unknown:
        raise HTTPException(400, f"unknown field {unknown[0][:40]!r}; known are {', '.join(FIELDS)}")
    if len({*names}) < len(names):
        raise HTTPException(400, "a field is given twice; give one post, or several as JSON")

"""Answers as JSON, and their shapes for /openapi.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from .known_posts import PostFilter
from .request_posts import FORM, JSON, LINES, MAX_IMAGE, MAX_POSTS, MAX_TEXT


def json_answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in ASCII, as a text of a client may hold half a surrogate pair."""
    return Response(json.dumps(content), status, headers, "application/json")


class Error(BaseModel):
    """Why there is no answer: one line."""

    error: str


class Health(BaseModel):
    """The server answers."""

    status: Literal["ok"]


class OnePrediction(BaseModel):
    """The prediction of one post: the mean over the run's folds, calibrated by their temperatures where it has any."""

    id: str | None = None
    label: str
    probabilities: dict[str, float]
    calibrated: bool
    unused: list[str] = Field([], description="What was given and the run does not read.")


class ManyPredictions(BaseModel):
    """The answers to several posts, in their order; a post that cannot be predicted has an error and its status."""

    predictions: list[OnePrediction | Error]


Prediction = OnePrediction | ManyPredictions


class Opinion(BaseModel):
    """What the run's heads predict from one modality alone."""

    modality: str
    label: str
    probabilities: dict[str, float]


class Post(BaseModel):
    """A post of the data set; `predicted` and `probabilities` are of heads that never saw it."""

    row: int
    id: str
    text: str | None
    image: bool
    label: str | None
    predicted: str | None
    right: bool | None
    probabilities: dict[str, float] | None


class NearPost(Post):
    """A training post with its cosine similarity."""

    similarity: float


class Attention(BaseModel):
    """What `msa explain --json` says of attention: patches and words by layer and head, weights of the modalities."""

    images: list[dict[str, Any]]
    texts: list[dict[str, Any]]
    layers: list[dict[str, Any]]
    modality_weights: dict[str, float]
    notes: list[str]


class Explanation(OnePrediction):
    """A prediction with what it rests on; parts that the run cannot give are empty or null."""

    held_out: bool = Field(description="Whether these are heads that never saw the post, of all that the run has.")
    trained: bool = Field(description="Whether all heads were trained on the post.")
    opinions: list[Opinion]
    attention: Attention | None
    nearest: list[NearPost]


class PostPage(BaseModel):
    """Some of the posts that fit a filter."""

    total: int
    page: int
    pages: int
    posts: list[Post]


class PostQuery(BaseModel):
    """What the query of /posts may hold."""

    model_config = ConfigDict(extra="forbid")

    label: Annotated[str, Field(max_length=200)] = ""
    predicted: Annotated[str, Field(max_length=200)] = ""
    outcome: Literal["", "right", "wrong", "unscored"] = ""
    search: Annotated[str, Field(max_length=200)] = ""
    order: Literal["data", "certain", "uncertain"] = "data"
    page: Annotated[int, Field(ge=1, le=1_000_000_000)] = 1

    def filter(self) -> PostFilter:
        """Which posts are asked for, and their order."""
        return PostFilter(self.label, self.predicted, self.outcome, self.search, self.order)


STATUSES = {
    400: "The request is malformed.",
    401: "A token is needed.",
    404: "There is no such post.",
    408: "The request took too long to arrive.",
    413: "The request, an image or a text is too large, or there are too many posts.",
    415: "The body, or the image, is of no known type.",
    422: "The post cannot be predicted.",
    503: "The server is busy; the header Retry-After says in how many seconds to try again.",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error, "description": text} for status, text in STATUSES.items()
}
_POST = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string", "description": "Comes back with the answer."},
        "image": {"type": "string", "format": "byte", "description": f"An image file, at most {MAX_IMAGE} bytes."},
        "text": {"type": "string", "maxLength": MAX_TEXT},
    },
}
_FORM_POST = {**_POST, "properties": {**_POST["properties"], "image": {"type": "string", "format": "binary"}}}  # type: ignore[dict-item]
PREDICT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {"schema": _FORM_POST},
            JSON: {"schema": {"oneOf": [_POST, {"type": "array", "maxItems": MAX_POSTS, "items": _POST}]}},
            LINES[0]: {"schema": {"type": "string", "description": "One such object a line."}},
        },
    }
}

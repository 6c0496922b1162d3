"""The routes of the server: predictions, health, metrics, the page and what it asks for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from ...features.messages import printable, unexpected
from ...features.spec import BadItem
from .answers import ERRORS, PREDICT_BODY, Explanation, Health, Post, PostPage, PostQuery, Prediction, json_answer
from .batching import Busy
from .guard import COOKIE, Guard, digest, same_token
from .known_posts import KnownPosts
from .metrics import CONTENT_TYPE
from .page import STATIC, choose_language, login_page, main_page
from .request_posts import FORM, JSON, LINES, GivenPost, GivenPosts, read_form, read_json
from .service import SECONDS, Service
from .words import LANGUAGES

ABOUT = (
    'Predictions of one run of msa. Errors are {"error": "one line"} with a status of 4xx, or 503 where the server '
    "is busy. There is no page of documentation here, as it would load scripts of other hosts: this file is for tools."
)


def create_app(service: Service, *, version: str, token: str = "", accuracy: float | None = None) -> FastAPI:
    """The application; the page shows the run's `accuracy` on its test rows."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.batcher.start()
        yield
        await service.stop()

    app = FastAPI(
        title="msa serve",
        version=version,
        description=ABOUT,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_tags=[{"name": "model"}, {"name": "page"}],
    )
    app.add_middleware(Guard, token=token, answered=service.metrics.count)
    _add_error_handlers(app)
    _add_model_routes(app, service)
    _add_page_routes(app, service, token, accuracy)
    if service.known is not None:
        _add_post_routes(app, service, service.known)
    return app


def _add_model_routes(app: FastAPI, service: Service) -> None:
    @app.post("/predict", tags=["model"], responses={200: {"model": Prediction}, **ERRORS}, openapi_extra=PREDICT_BODY)
    async def predict(request: Request) -> Response:
        """Predict one post, or up to 64."""
        given = await _read_posts(request, service)
        answers = await service.predict(given.posts)
        if given.many:
            return json_answer({"predictions": answers})
        return json_answer(answers[0], answers[0].pop("status", 200))

    @app.post("/explain", tags=["model"], responses={200: {"model": Explanation}, **ERRORS}, openapi_extra=PREDICT_BODY)
    async def explain(request: Request) -> Response:
        """Predict one post and show what the prediction rests on."""
        given = await _read_posts(request, service)
        if given.many:
            raise HTTPException(400, "one post is explained at a time; send an object or a form")
        answer = await service.explain(given.posts[0])
        return json_answer(answer, answer.pop("status", 200))

    @app.get("/health", tags=["model"], response_model=Health)
    async def health() -> Response:
        """Whether the server answers; needs no token."""
        return json_answer({"status": "ok"})

    @app.get("/metrics", tags=["model"], response_class=Response)
    async def metrics() -> Response:
        """Counters in the format of Prometheus."""
        return Response(service.metrics.text(), headers={"content-type": CONTENT_TYPE})


def _add_page_routes(app: FastAPI, service: Service, token: str, accuracy: float | None) -> None:
    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page(request: Request) -> Response:
        language = choose_language(request)
        if request.scope["authorized"]:
            answer = HTMLResponse(main_page(service, language, accuracy))
        else:
            answer = HTMLResponse(login_page(language), 401)
        if request.query_params.get("language") in LANGUAGES:
            answer.set_cookie("msa_language", language, max_age=365 * 86400, samesite="strict", httponly=True)
        return answer

    @app.post("/login", include_in_schema=False)
    async def login(request: Request) -> Response:
        async with request.form(max_files=0, max_fields=1, max_part_size=4096) as form:
            given = form.get("token")
        if not token or not isinstance(given, str) or not same_token(given, token):
            return HTMLResponse(login_page(choose_language(request), wrong=True), 401)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, digest(token), samesite="strict", httponly=True)
        return answer

    @app.get("/static/{name}", include_in_schema=False)
    async def static(name: str) -> Response:
        if name not in STATIC:
            raise HTTPException(404, "there is no such file")
        kind, content = STATIC[name]
        return Response(content, media_type=kind, headers={"cache-control": "no-cache"})


def _add_post_routes(app: FastAPI, service: Service, known: KnownPosts) -> None:
    @app.get("/posts", tags=["page"], response_model=PostPage, responses=ERRORS)
    async def posts(wanted: Annotated[PostQuery, Query()]) -> Response:
        """The posts of the data set, filtered, a page of 24 at a time."""
        return json_answer(await service.in_thread(known.find, wanted.filter(), wanted.page))

    @app.get("/posts/{row}", tags=["page"], response_model=Post, responses=ERRORS)
    async def post(row: int) -> Response:
        """One post of the data set, by its row."""
        return json_answer(await service.in_thread(known.describe, _known(known, row)))

    @app.get("/posts/{row}/image", tags=["page"], response_class=Response, responses=ERRORS)
    async def image(row: int, large: bool = False) -> Response:
        """The picture of a post as JPEG, small or large."""
        read = known.large if large else known.thumbnail
        try:
            picture = await service.in_thread(read, _known(known, row))
        except BadItem as error:
            raise HTTPException(404, str(error)) from error
        return Response(picture, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

    @app.get("/posts/{row}/explanation", tags=["page"], response_model=Explanation, responses=ERRORS)
    async def explanation(row: int) -> Response:
        """Predict a post of the data set by the heads that never saw it, and show what the prediction rests on."""
        try:
            image, text = await service.in_thread(known.content, _known(known, row))
        except BadItem as error:
            raise HTTPException(422, str(error)) from error
        answer = await service.explain(GivenPost(None, image, text), row)
        return json_answer(answer, answer.pop("status", 200))


def _known(known: KnownPosts, row: int) -> int:
    if row not in known:
        raise HTTPException(404, f"there is no post {row}; GET /posts lists them")
    return row


async def _read_posts(request: Request, service: Service) -> GivenPosts:
    """The posts of a request by its content type. Raises HTTPException."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == FORM:
        return GivenPosts([await read_form(request)], many=False)
    if kind == JSON or kind in LINES:
        return await service.in_thread(lambda body: read_json(body, lines=kind in LINES), await request.body())
    raise HTTPException(415, f"the content type must be {FORM}, {JSON} or {LINES[0]}; got {kind[:80]!r}")


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        return json_answer({"error": printable(str(error.detail))}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return json_answer({"error": printable(f"{first['loc'][-1]}: {first['msg']}")}, 400)

    @app.exception_handler(Busy)
    async def busy(request: Request, error: Busy) -> Response:
        return json_answer({"error": "the server is busy; try again"}, 503, {"retry-after": "1"})

    @app.exception_handler(TimeoutError)
    async def late(request: Request, error: TimeoutError) -> Response:
        reason = f"no answer within {SECONDS:.0f} s; send fewer posts, or try again"
        return json_answer({"error": reason}, 503, {"retry-after": "5"})

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return json_answer({"error": "the client has gone before its request was complete"}, 400)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return json_answer({"error": unexpected(error)}, 500)

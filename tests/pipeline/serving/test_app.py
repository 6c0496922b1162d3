"""The REST interface: one post or many, errors that say what to do, never a 500 by input, no path that is opened."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

from served_runs import COLOURS, N, Served, picture, served_run
from starlette.testclient import TestClient

from msa.pipeline.serving import request_posts
from msa.pipeline.serving import service as service_module
from msa.pipeline.serving.app import create_app
from msa.pipeline.serving.guard import COOKIE
from msa.pipeline.serving.server import accuracy_of
from msa.pipeline.serving.service import Service

GOOD = picture(COLOURS["glad"], 5)
ENCODED = base64.b64encode(GOOD).decode()
JSON, LINES = {"content-type": "application/json"}, {"content-type": "application/x-ndjson"}
TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return served_run(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def service(served: Served) -> Service:
    return served.service()


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[TestClient]:
    with TestClient(create_app(service, version="1"), "http://127.0.0.1", raise_server_exceptions=False) as opened:
        yield opened


def probabilities(answer: Any) -> np.ndarray[Any, Any]:
    return np.array([*answer["probabilities"].values()])


def test_one_post_by_form_and_json_and_many_are_the_same_predictions(client: TestClient, service: Service) -> None:
    form = client.post("/predict", data={"text": "a lovely day"}, files={"image": ("x.exe", GOOD, "text/html")})
    assert form.status_code == 200, form.text
    one = form.json()
    assert one.keys() == {"label", "probabilities", "calibrated"}
    assert one["calibrated"] is True
    assert [*one["probabilities"]] == list(service.model.run.classes)
    assert one["label"] == max(one["probabilities"], key=one["probabilities"].get)
    (expected,) = service.model.predict([service.model.prepare(GOOD, "a lovely day")])
    np.testing.assert_allclose(probabilities(one), expected.probabilities[0], atol=1e-5)  # type: ignore[union-attr]

    post = {"id": "7", "image": ENCODED, "text": "a lovely day"}
    assert client.post("/predict", json=post).json() == one | {"id": "7"}
    many = client.post("/predict", json=[post, {"text": "an awful day"}, {"image": ENCODED, "text": None}]).json()
    lines = "\n".join(map(json.dumps, [post, {"text": "an awful day"}, {"image": ENCODED}]))
    assert client.post("/predict", content=lines, headers=LINES).json() == many
    assert [sorted(one.keys() - {"id"}) for one in many["predictions"]] == [
        ["calibrated", "label", "probabilities"]
    ] * 3
    assert client.post("/predict", json=[post]).json()["predictions"][0]["id"] == "7"


def test_of_many_posts_the_bad_ones_say_why(client: TestClient) -> None:
    posts: list[Any] = [
        {"text": "a day"},
        {"id": "x", "text": " "},
        {"image": "!"},
        {"image": ENCODED[:40]},
        7,
        {"txt": "a"},
    ]
    posts += [{"text": 5}, {"text": "unknowable", "id": "\ud800"}]
    answer = client.post("/predict", content=json.dumps(posts), headers=JSON)
    assert answer.status_code == 200
    first, *bad = answer.json()["predictions"]
    assert "label" in first
    assert [one["status"] for one in bad] == [422, 400, 422, 400, 400, 400, 422]
    assert bad[0] == {"id": "x", "status": 422, "error": bad[0]["error"]}
    reasons = ("neither image nor text", "base64", "damaged PNG", "must be an object", "unknown field 'txt'")
    for reason, one in zip((*reasons, "'text' must be a string", "no word of it is known"), bad, strict=True):
        assert reason in one["error"]
        assert "\n" not in one["error"]


@pytest.mark.parametrize(
    ("status", "reason", "given"),
    [
        (400, "not JSON", {"content": "{", "headers": JSON}),
        (400, "not JSON", {"content": "[" * 100_000, "headers": JSON}),
        (400, "not JSON", {"content": b"\xff\xfe\x00", "headers": JSON}),
        (400, "not JSON", {"content": f'{{"text": {"9" * 5000}}}', "headers": JSON}),
        (400, "has no post", {"content": "[]", "headers": JSON}),
        (400, "has no post", {"content": "\n \n", "headers": LINES}),
        (400, "must be an object", {"content": '"text"', "headers": JSON}),
        (400, "boundary", {"content": "x", "headers": {"content-type": "multipart/form-data"}}),
        (400, "unknown field 'file'", {"files": {"file": GOOD}}),
        (400, "must be a file", {"data": {"image": "/etc/passwd"}, "files": {"text": b"a"}}),
        (400, "is given twice", {"files": [("text", (None, "a")), ("text", (None, "b"))]}),
        (400, "Too many files", {"files": [("image", GOOD), ("image", GOOD)]}),
        (413, "64 posts; got 65", {"json": [{"text": "a"}] * 65}),
        (413, "20000 characters; got 20001", {"json": {"text": "a" * 20_001}}),
        (413, "16 MB; got 17.0 MB", {"files": {"image": GOOD + b"\0" * 17_000_000}}),
        (415, "the content type must be", {"content": "a"}),
        (415, "must be JPEG, PNG", {"files": {"image": b"<svg xmlns='http://www.w3.org/2000/svg'/>"}}),
        (415, "got a PDF file", {"files": {"image": b"%PDF-1.4"}}),
        (422, "megapixels", {"files": {"image": picture((0, 0, 0), size=(8000, 7000), kind="GIF")[:2000]}}),
        (422, "truncated PNG", {"files": {"image": GOOD[:80]}}),
        (422, "neither image nor text", {"json": {}}),
    ],
)
def test_a_mistake_is_one_line_and_a_status(client: TestClient, status: int, reason: str, given: Any) -> None:
    for path in ("/predict", "/explain"):
        answer = client.post(path, **given)
        assert (answer.status_code, [*answer.json()]) == (status, ["error"]), answer.text
        assert reason in answer.json()["error"]
        assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/predict", 405),
        ("GET", "/docs", 404),
        ("GET", "/static/../app.py", 404),
        ("GET", "/static/%2e%2e%2fapp.py", 404),
        ("GET", "/static/page.html", 404),
        ("GET", "/posts/999999", 404),
        ("GET", "/posts/-1", 404),
        ("GET", "/posts/1e400", 400),
        ("GET", "/posts/%2Fetc%2Fpasswd", 404),
        ("GET", "/posts/etc", 400),
        ("GET", "/posts/47/image", 404),
        ("GET", "/posts/47/explanation", 422),
        ("GET", "/posts?page=0", 400),
        ("GET", f"/posts?page={'9' * 5000}", 400),
        ("GET", "/posts?order=random", 400),
        ("GET", "/posts?lable=a", 400),
        ("GET", f"/posts?search={'a' * 300}", 400),
        ("BREW", "/predict", 405),
    ],
)
def test_addresses_that_lead_nowhere(client: TestClient, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, [*answer.json()]) == (status, ["error"]), answer.text


def test_a_full_queue_says_when_to_try_again(client: TestClient, service: Service) -> None:
    with service.batcher.admit(service.batcher.capacity):
        for path in ("/predict", "/explain"):
            answer = client.post(path, json={"text": "a day"})
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert client.post("/predict", json={"text": "a day"}).status_code == 200


def test_the_explanation_has_opinions_attention_and_nearest_posts(client: TestClient) -> None:
    text = "what a lovely day"
    found = client.post("/explain", files={"image": GOOD}, data={"text": text}).json()
    assert [one["modality"] for one in found["opinions"]] == ["image", "text"]
    assert found["opinions"][0]["probabilities"] != found["opinions"][1]["probabilities"]
    (patches,), (words,) = found["attention"]["images"], found["attention"]["texts"]
    assert np.shape(patches["weights"]) == (2, 2)
    assert patches["size"] == [30, 40]
    assert words["words"] == text.split()
    assert sum(words["weights"]) == pytest.approx(1, abs=1e-5)
    assert len(found["nearest"]) == 6
    assert found["nearest"][0]["label"] == "glad"
    similarities = [one["similarity"] for one in found["nearest"]]
    assert similarities == sorted(similarities, reverse=True)

    alone = client.post("/explain", json={"text": text}).json()
    assert (alone["opinions"], alone["attention"]["images"]) == ([], [])
    assert client.post("/explain", json=[{"text": text}]).status_code == 400
    assert probabilities(client.post("/predict", json={"text": text}).json()) == pytest.approx(probabilities(alone))


def test_a_post_of_the_data_set_is_explained_by_the_heads_that_never_saw_it(
    client: TestClient, service: Service, served: Served
) -> None:
    assert service.known is not None
    found = client.get("/posts/4/explanation").json()
    assert (found["held_out"], found["trained"]) == (True, False)
    np.testing.assert_allclose(probabilities(found), service.known.scored[4], atol=1e-5)
    assert "p4" not in {one["id"] for one in found["nearest"]}
    post = served.corpus.samples[4]
    assert post.image is not None
    new = client.post("/explain", files={"image": post.image.read_bytes()}, data={"text": str(post.text)}).json()
    assert (new["held_out"], new["trained"]) == (False, False)
    assert new["nearest"][0] | {"id": "p4", "similarity": 1.0} == new["nearest"][0]
    assert np.abs(probabilities(new) - probabilities(found)).max() > 1e-4  # by all heads
    assert client.get("/posts/1/explanation").json()["held_out"] is False  # unlabelled: in no fold


def test_an_answer_that_takes_too_long_says_so(client: TestClient, service: Service, monkeypatch: Any) -> None:
    release = threading.Event()

    def waiting(items: Any) -> Any:
        release.wait(30)
        return service.model.predict(items)

    monkeypatch.setattr(service.batcher, "compute", waiting)
    monkeypatch.setattr(service_module, "SECONDS", 0.05)
    answer = client.post("/predict", json={"text": "a day"})
    release.set()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert service.batcher.admitted == 0
    monkeypatch.undo()
    assert client.post("/predict", json={"text": "a day"}).status_code == 200


def test_what_monitors_and_tools_read(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    client.post("/predict", json={"text": "a day"})
    client.get("/nowhere/at/all")
    client.request("BREW", "/predict")
    text = client.get("/metrics").text
    assert 'msa_requests_total{method="POST",route="/predict",status="200"}' in text
    assert 'msa_requests_total{method="GET",route="other",status="404"}' in text
    assert "BREW" not in text
    assert "nowhere" not in text
    assert "msa_batch_posts_count" in text
    assert "msa_posts_in_work 0.0" in text
    schema = client.get("/openapi.json").json()
    assert {"/predict", "/explain", "/health", "/metrics", "/posts"} <= {*schema["paths"]}
    assert {"multipart/form-data", "application/json", "application/x-ndjson"} == {
        *schema["paths"]["/predict"]["post"]["requestBody"]["content"]
    }
    assert "503" in schema["paths"]["/predict"]["post"]["responses"]


def test_the_page_asks_for_the_token_and_keeps_it_in_a_cookie_that_scripts_cannot_read(service: Service) -> None:
    guarded = TestClient(create_app(service, version="1", token=TOKEN), "http://127.0.0.1", follow_redirects=False)
    answer = guarded.get("/", headers={"accept-language": "zh-CN"})
    assert answer.status_code == 401
    assert 'type="password"' in answer.text
    assert "令牌" in answer.text
    assert guarded.get("/static/page.css").status_code == 200
    assert guarded.get("/posts").status_code == 401
    for wrong in ({}, {"token": "wrong"}, {"tokens": TOKEN}):
        answer = guarded.post("/login", data=wrong)
        assert (answer.status_code, answer.headers.get("set-cookie")) == (401, None)
    answer = guarded.post("/login", data={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert {"HttpOnly", "SameSite=strict"} <= {part.strip() for part in answer.headers["set-cookie"].split(";")}
    assert TOKEN not in answer.headers["set-cookie"]
    assert guarded.cookies.get(COOKIE)
    assert guarded.get("/").status_code == 200
    assert guarded.get("/posts").json()["total"] == N


def test_the_page_is_in_the_language_that_is_asked_for(client: TestClient) -> None:
    assert '<html lang="en">' in client.get("/").text
    assert '<html lang="zh">' in client.get("/", headers={"accept-language": "de, zh-TW;q=0.9, en;q=0.8"}).text
    assert '<html lang="zh">' in client.get("/?language=zh").text
    assert '<html lang="zh">' in client.get("/").text  # by the cookie
    assert '<html lang="en">' in client.get("/?language=en").text


def test_the_page_names_the_run_and_its_accuracy_on_test_rows(service: Service, served: Served) -> None:
    stored = json.loads((served.folder / "metrics.json").read_text())["metrics"]["accuracy"]["mean"]
    assert accuracy_of(served.folder) == stored
    opened = TestClient(create_app(service, version="1", accuracy=stored), "http://127.0.0.1")
    page = opened.get("/").text
    assert f"accuracy {stored:.3f} on the test rows" in page
    assert "<h1>attention</h1>" in page


def test_without_posts_the_page_says_how_to_give_them(served: Served) -> None:
    alone = TestClient(create_app(Service("alone", served.model()), version="1"), "http://127.0.0.1")
    assert "start with msa serve RUN --posts POSTS" in alone.get("/").text
    assert alone.get("/posts").status_code == 404


def test_a_failure_of_the_server_itself_is_json_too(client: TestClient, service: Service, monkeypatch: Any) -> None:
    def broken(*given: Any) -> None:
        raise RuntimeError("a planted failure")

    monkeypatch.setattr(service.batcher, "compute", broken)
    answer = client.post("/predict", json={"text": "a day"})
    assert answer.status_code == 500
    assert "a planted failure" in answer.json()["error"]


def test_the_limits_of_the_documentation_are_those_of_the_code() -> None:
    assert (request_posts.MAX_POSTS, request_posts.MAX_IMAGE, request_posts.MAX_TEXT) == (64, 16_000_000, 20_000)

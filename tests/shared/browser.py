"""Pages in headless Chromium: console errors, requests beyond loopback, screenshots, faults that axe-core finds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

LOCAL_SCHEMES = ("about", "blob", "data", "file")
LOOPBACK = ("127.0.0.1", "::1", "localhost")
SERIOUS = ("serious", "critical")
ANSWERED = "Failed to load resource: the server responded with a status of 4"  # an answer that the page shows itself


@dataclass
class Window:
    """A page with what went wrong on it: `errors` of scripts and of the policy, and `requests` beyond loopback."""

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("websocket", lambda socket: self._leaves(socket.url))
        self.page.route("**/*", self._route)

    def faults(self, *, least: tuple[str, ...] = SERIOUS) -> list[str]:
        """What axe-core finds on the page as it is now: rule, impact and elements of each fault of these impacts."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        return [
            f"{fault['id']} ({fault['impact']}): {', '.join(str(node['target']) for node in fault['nodes'])}"
            for fault in found
            if fault["impact"] in least
        ]

    def assert_sound(self) -> None:
        """No console error, no request off loopback, no serious fault, nothing wider than the page."""
        assert (self.errors, self.requests, self.faults()) == ([], [], [])
        wide, page = self.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert wide <= page, f"the page scrolls sideways: {wide} of {page} px"

    def _note(self, message: Any) -> None:
        if message.type == "error" and not message.text.startswith(ANSWERED):
            self.errors.append(message.text)

    def _leaves(self, url: str) -> bool:
        parts = urlsplit(url)
        if parts.scheme in LOCAL_SCHEMES or parts.hostname in LOOPBACK:
            return False
        self.requests.append(url)
        return True

    def _route(self, route: Any) -> None:
        if self._leaves(route.request.url):
            route.abort()
        else:
            route.continue_()


@contextmanager
def open_browser() -> Iterator[Any]:
    """The system's Chromium, for several windows; the test is skipped where it, or playwright, is absent."""
    pytest.importorskip("axe_playwright_python", reason="needs axe-playwright-python (extra dev)")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra dev)")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_window(
    browser: Any, url: str, *, width: int = 1200, height: int = 900, dark: bool = False, locale: str = "en-US"
) -> Iterator[Window]:
    """A new window of a browser at this address (`path.as_uri()` for a file); take pictures by `.page.screenshot`."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", locale=locale
    )
    try:
        window = Window(context.new_page())
        window.page.goto(url)
        yield window
    finally:
        context.close()

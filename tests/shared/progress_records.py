"""A watcher that keeps what is reported, for tests of progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Records:
    """Everything reported, in order, as (kind, what); the last word on what stays."""

    events: list[tuple[str, Any]] = field(default_factory=list)
    kept: Callable[[], str] = lambda: ""

    def stage(self, name: str) -> None:
        self.events.append(("stage", name))

    def step(self, name: str, done: int, total: int, unit: str) -> None:
        self.events.append(("step", (name, done, total, unit)))

    def detail(self, text: str) -> None:
        self.events.append(("detail", text))

    def finish(self) -> None:
        self.events.append(("finish", None))

    def keeping(self, kept: Callable[[], str]) -> None:
        self.kept = kept

    def of(self, kind: str) -> list[Any]:
        """What was reported of one kind."""
        return [what for one, what in self.events if one == kind]

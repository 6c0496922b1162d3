"""Signals while Ray is connected do what they did before."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from types import FrameType

import pytest

from msa.features.extraction.ray_cluster import _own_signals


class Ended(SystemExit):
    pass


def end(number: int, frame: FrameType | None) -> None:
    raise Ended(128 + number)


@pytest.fixture(autouse=True)
def handled() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, end)
    yield
    signal.signal(signal.SIGTERM, before)


def be_terminated_inside() -> None:
    with _own_signals() as keep_signals:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as Ray does
        keep_signals()
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except SystemExit:
            raise SystemExit(1) from None  # as Ray's calls do


def test_the_handler_stays_and_what_it_raises_is_not_replaced() -> None:
    with pytest.raises(Ended) as ended:
        be_terminated_inside()
    assert ended.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is end


def test_a_handler_that_is_set_inside_stays() -> None:
    with _own_signals() as keep_signals:
        keep_signals()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    with pytest.raises(SystemExit, match="3"), _own_signals():
        raise SystemExit(3)

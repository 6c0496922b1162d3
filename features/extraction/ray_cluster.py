"""Connects to the Ray cluster at an address, or starts one on this machine for the length of a run."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from types import FrameType
from typing import Any

from ..encoders.runtime import available_cores
from ..installation import install_line
from .worker_pool import RayRunError

CONNECT_SECONDS = 10.0
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
SMALL_STORE = 100 << 20  # bytes, for chunks and outcomes


def need_ray() -> None:
    """Raise RayRunError, with the line that installs it, where Ray is missing."""
    if importlib.util.find_spec("ray") is None:
        raise RayRunError(f"--engine ray needs ray, which is missing: `{install_line('ray')}`")


@contextmanager
def connected(address: str, *, store: int | None = SMALL_STORE) -> Iterator[Any]:
    """The module `ray`, connected to the cluster at an address, or to one that lives as long as this context.

    An empty `address` means that of RAY_ADDRESS, else a cluster of this machine alone, whose object store takes
    `store` bytes (None: Ray's default, a share of the memory). Raises RayRunError.
    """
    import ray

    if ray.is_initialized():
        yield ray
        return
    where = address or os.environ.get("RAY_ADDRESS") or "local"
    own: dict[str, Any] = {"num_cpus": available_cores(), "include_dashboard": False}
    if store is not None:
        own["object_store_memory"] = store
    host, _, port = where.rpartition(":")
    with _own_signals() as keep_signals:
        try:
            if port.isdecimal() and "://" not in where:  # without a listener, Ray waits for minutes and exits
                if host in LOOPBACK:
                    host = ray.util.get_node_ip_address()  # as Ray does
                socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
            ray.init(where, log_to_driver=False, logging_level="ERROR", **(own if where == "local" else {}))
        except (OSError, ValueError, RuntimeError) as error:
            raise RayRunError(
                f"no Ray cluster answers at {where!r} ({error}); give its --ray-address, or neither that nor "
                "RAY_ADDRESS for a cluster of this machine alone"
            ) from error
        keep_signals()
        try:
            with redirect_stdout(sys.stderr):  # Ray prints to stdout, where the result goes
                yield ray
        finally:
            ray.shutdown()


@contextmanager
def _own_signals() -> Iterator[Callable[[], None]]:
    """Call the result once Ray has set its handlers: SIGTERM and SIGINT do again what they did before.

    Ray's handler of SIGTERM aborts the process, and where ours raises SystemExit, Ray's calls raise another one.
    """
    main = threading.current_thread() is threading.main_thread()  # others may set no handler
    known = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    handlers = {number: handler for number, handler in known.items() if main and callable(handler)}
    raised: list[BaseException] = []

    def handle(number: int, frame: FrameType | None) -> None:
        try:
            handlers[signal.Signals(number)](number, frame)
        except BaseException as error:
            raised.append(error)
            raise

    def keep_signals() -> None:
        for number in handlers:
            signal.signal(number, handle)

    try:
        yield keep_signals
    except SystemExit as error:
        raise (raised[0] if raised else error) from None
    finally:
        for number, handler in handlers.items():
            if signal.getsignal(number) is handle:
                signal.signal(number, handler)

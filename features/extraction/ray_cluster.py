"""Connects to the Ray cluster at an address, or starts one on this machine for the length of a run."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
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
    try:
        if port.isdecimal() and "://" not in where:  # without a listener, Ray waits for minutes and exits
            if host in LOOPBACK:
                host = ray.util.get_node_ip_address()  # as Ray does
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
        ray.init(where, log_to_driver=False, logging_level="ERROR", **(own if where == "local" else {}))
    except (OSError, ValueError, RuntimeError) as error:
        raise RayRunError(
            f"no Ray cluster answers at {where!r} ({error}); give its --ray-address, or neither that nor RAY_ADDRESS "
            "for a cluster of this machine alone"
        ) from error
    try:
        with redirect_stdout(sys.stderr):  # Ray prints to stdout, where the result goes
            yield ray
    finally:
        ray.shutdown()

"""The cluster of `--engine ray`: the one at an address, or one of this machine's own for as long as a run takes."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from ..encoders.runtime import available_cores
from .worker_pool import RayRunError

CONNECT_SECONDS = 10.0
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
SMALL_STORE = 100 << 20  # bytes, for chunks and outcomes


def need_ray() -> None:
    """Raise RayRunError, with the line that installs it, where Ray is missing."""
    if importlib.util.find_spec("ray") is None:
        raise RayRunError("--engine ray needs ray, which is missing: pip install 'msa-pipeline[ray]'")


@contextmanager
def connected(address: str, *, store: int | None = SMALL_STORE) -> Iterator[Any]:
    """The module `ray`, connected to the cluster at an address, or to one that lives as long as this context.

    An empty `address` means that of RAY_ADDRESS, else a cluster of this machine alone, where what travels may take
    `store` bytes (None: a share of the memory, as Ray sees fit). Raises RayRunError.
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
        if port.isdecimal() and "://" not in where:  # where nobody listens, Ray waits for minutes and ends the process
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
        with redirect_stdout(sys.stderr):  # Ray prints there what dies, and it is no part of the result
            yield ray
    finally:
        ray.shutdown()

"""A Ray cluster of some nodes on the loopback interface, and the processes of its workers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

NODE = {
    "num_cpus": 1,
    "object_store_memory": 80 << 20,
    "node_ip_address": "127.0.0.2",
}  # Ray takes 127.0.0.1 for another


@contextmanager
def cluster_of(count: int) -> Iterator[Any]:
    """So many nodes of one core each."""
    pytest.importorskip("ray", reason="needs the extra ray")
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        temporary = Path(folder, "ray")
        temporary.mkdir()  # Ray notes the cluster's address here, and does not make the folder for it
        head = {"include_dashboard": False, "temp_dir": str(temporary)}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
            patch.setenv("RAY_TMPDIR", folder)
            started = Cluster(initialize_head=True, head_node_args=head | NODE)
            try:
                for _ in range(count - 1):
                    started.add_node(**NODE)
                yield started
            finally:
                started.shutdown()


def two_nodes() -> AbstractContextManager[Any]:
    """Two nodes of one core each."""
    return cluster_of(2)


def workers(cluster: Any, name: str, *, nodes: Sequence[Any] = ()) -> list[int]:
    """Process ids of workers whose title begins so, of all nodes if none is given.

    The title is `Worker` for all of a class, `Worker.train` for busy ones.
    """
    nodes = nodes or [cluster.head_node, *cluster.worker_nodes]
    raylets = {entry.process.pid for node in nodes for entry in node.all_processes["raylet"]}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent in raylets and (folder / "cmdline").read_bytes().startswith(f"ray::{name}".encode()):
                found.append(int(folder.name))
        except OSError:  # ended meanwhile
            continue
    return found

"""What only POSIX has is used nowhere, or where Windows is told apart: there it ends a process or does not exist."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from source_files import SOURCES

POSIX_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
POSIX_NAMES = {
    *("os.fork", "os.forkpty", "os.getpgid", "os.getuid", "os.geteuid", "os.killpg", "os.mkfifo", "os.setsid"),
    *("os.wait", "os.nice", "os.uname", "os.statvfs", "os.getloadavg", "os.fchmod", "os.chown", "os.O_DIRECTORY"),
    *("signal.SIGKILL", "signal.SIGALRM", "signal.SIGHUP", "signal.SIGUSR1", "signal.alarm", "signal.pause"),
    "os.kill",  # with signal 0 it asks on POSIX whether a process lives; on Windows it ends it
}


def posix_only(source: str) -> list[str]:
    """The names in a source that Windows lacks, or where they do harm."""
    found = []
    tree = ast.parse(source)
    handlers = {
        id(node): "".join(map(ast.unparse, node.handlers)) for node in ast.walk(tree) if isinstance(node, ast.Try)
    }
    tried = [node for node in ast.walk(tree) if "ImportError" in handlers.get(id(node), "")]
    guarded = {id(node) for one in tried for node in one.body}
    for node in ast.walk(tree):
        if id(node) in guarded:
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
            found += [name for name in names if name.partition(".")[0] in POSIX_MODULES]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found += [name for name in [f"{node.value.id}.{node.attr}"] if name in POSIX_NAMES]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_nothing_that_only_posix_has(path: Path) -> None:
    assert posix_only(path.read_text("utf-8")) == []


def test_the_search_finds_what_windows_lacks() -> None:
    assert posix_only("try:\n    import fcntl\nexcept ImportError:\n    pass") == []
    assert posix_only("import os, resource\nos.kill(1, 0)\nos.getpid()") == ["resource", "os.kill"]

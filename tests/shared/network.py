"""Forbids the network to a test, and records what reaches for it."""

from __future__ import annotations

import importlib
import socket
from pathlib import Path
from typing import Any

import pytest


def forbid_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """What tries to reach a host from now on; the hub's client is online and has not yet looked for anything."""
    made: list[Any] = []
    look_up = socket.getaddrinfo

    def forbidden(*arguments: Any, **options: Any) -> None:
        made.append(arguments)
        raise OSError("no network in this test")

    def own_address_only(host: Any, *arguments: Any, **options: Any) -> Any:
        return look_up(host, *arguments, **options) if host == "127.0.0.1" else forbidden(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", own_address_only)
    monkeypatch.setattr(socket.socket, "connect", forbidden)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    constants = importlib.import_module("huggingface_hub.constants")
    for name, value in (("HF_HUB_OFFLINE", False), ("HF_HUB_CACHE", str(tmp_path / "hub"))):
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(tmp_path / "registry.json"), raising=False)
    try:
        agents = importlib.import_module("huggingface_hub.utils._detect_agent")
    except ImportError:  # versions that look for no programs
        return made
    monkeypatch.setattr(agents, "_registry", None)
    return made

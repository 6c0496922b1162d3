"""The server refuses what is not safe before it loads anything, and ends cleanly."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

from msa.cli import run_command
from msa.pipeline.serving.server import check_access, open_socket, serve


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org"])
def test_a_host_that_others_reach_needs_a_token(host: str) -> None:
    with pytest.raises(ValueError, match=f"--host {host} can be reached from other machines; add --token"):
        check_access(host, "")
    check_access(host, "a" * 12)


@pytest.mark.parametrize("token", ["short", "with a space in it", "zwölf-Zeichen-lang"])
def test_a_token_that_is_no_token(token: str) -> None:
    with pytest.raises(ValueError, match="--token must have 12 characters or more, of ASCII without spaces"):
        check_access("127.0.0.1", token)


def test_what_is_not_safe_is_told_before_the_model_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text("{}")
    with open_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=rf"cannot listen at 127.0.0.1, port {port} \("):
            serve(tmp_path, None, port=port)
    with pytest.raises(ValueError, match=r"config\.json: not a run's configuration"):
        serve(tmp_path, None, port=0)
    assert run_command(["serve", str(tmp_path), "--host", "0.0.0.0"]) == 2
    assert "add --token" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_serves_a_run_until_it_is_interrupted(tmp_path: Path) -> None:
    pytest.importorskip("vaderSentiment", reason="needs the extra offline")
    rows = [f"{number},{'good' if number % 2 else 'bad'} day {number},{'ab'[number % 2]}" for number in range(40)]
    (tmp_path / "posts.csv").write_text("\n".join(["id,text,label", *rows]) + "\n")
    own = {"cwd": tmp_path, "check": True, "capture_output": True}
    only = ["posts.csv", "--image", "none", "--text", "lexicon"]
    msa = [sys.executable, "-m", "msa.cli"]
    subprocess.run([*msa, "extract", *only], **own)  # type: ignore[call-overload]
    subprocess.run([*msa, "train-head", *only, "--fusion", "text", "--epochs", "2"], **own)  # type: ignore[call-overload]
    command = [*msa, "serve", "runs", "--port", "0", "--token", "a" * 12]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=tmp_path, **pipes, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    try:
        assert process.stdout
        url = process.stdout.readline().split()[0]
        headers = {"authorization": f"Bearer {'a' * 12}", "content-type": "application/json"}
        request = urllib.request.Request(f"{url}predict", b'{"text": "a good day"}', headers)
        with urllib.request.urlopen(request) as answer:
            predicted = json.loads(answer.read())
        with urllib.request.urlopen(urllib.request.Request(f"{url}posts", headers=headers)) as answer:
            browsed = json.loads(answer.read())
        idle = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2].strip("/"))))  # holds nothing up
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
        idle.close()
    finally:
        process.kill()
    assert predicted["label"] == "b"
    assert browsed["total"] == 40  # the posts of the run, found where they were
    assert (process.returncode, out, error.splitlines()[-1]) == (0, "", "msa: stopped")

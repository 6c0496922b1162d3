"""Every error is one line on stderr and an exit code, whatever raised it; so is an interruption."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
import torch

from msa.cli import report_thread, run_command
from msa.features.posts import check
from msa.features.text_table import table
from msa.pipeline.commands.console import printable, to_json

LIBRARIES = {  # what must be imported for the exceptions of each
    "msa": ("msa.features.store.parts", "msa.features.extraction.worker_pool", "msa.pipeline.sweeps.leases"),
    "optuna": ("optuna.exceptions",),
    "sqlalchemy": ("sqlalchemy.exc",),
    "PIL": ("PIL.Image", "PIL.PngImagePlugin"),
    "h5py": ("h5py",),
    "safetensors": ("safetensors",),
    "pyarrow": ("pyarrow",),
    "ray": ("ray.exceptions",),
    "filelock": ("filelock",),
    "huggingface_hub": ("huggingface_hub.errors",),
}


@pytest.fixture
def posts(tmp_path: Path) -> str:
    (tmp_path / "posts.csv").write_text("id,text,label\na,one,x\nb,two,y\n")
    return str(tmp_path / "posts.csv")


def subclasses(kind: type[Exception]) -> Iterator[type[Exception]]:
    for one in kind.__subclasses__():
        yield one
        yield from subclasses(one)


def made(kind: type[Exception]) -> Exception:
    """An instance, in whatever way its class allows."""
    try:
        return kind("what happened")
    except Exception:
        return kind.__new__(kind, "what happened")


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_exception_of_a_library_is_one_line(
    library: str, posts: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in LIBRARIES[library]:
        pytest.importorskip(module) if library in ("pyarrow", "ray") else importlib.import_module(module)
    kinds = {kind for kind in subclasses(Exception) if kind.__module__.partition(".")[0] == library}
    assert kinds or library == "h5py"
    for kind in kinds:

        def fail(*_: object, kind: type[Exception] = kind) -> None:
            raise made(kind)

        monkeypatch.setattr(check, "check_corpus", fail)
        code = run_command(["check", posts])
        printed = capsys.readouterr()
        assert (code in (1, 2), printed.out) == (True, ""), kind
        assert printed.err.startswith("msa: "), kind
        assert printed.err.count("\n") == 1, kind
        assert "Traceback" not in printed.err, kind
        assert code == 1 or "--debug" not in printed.err, kind


@pytest.mark.parametrize(
    ("error", "code", "part"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"), 2, "lower --batch-size"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), 2, "lower --batch-size"),
        (MemoryError(), 2, "lower --batch-size"),
        (MemoryError("Unable to allocate 2.91 TiB for an array"), 2, "(unable to allocate 2.91 tib); lower"),
        (KeyError("label"), 1, "KeyError at tests/test_cli_errors.py:"),
        (RuntimeError("Traceback (most recent call last):\n  File x\nValueError: bad"), 1, ": ValueError: bad;"),
        (FileNotFoundError(2, "No such file or directory", "x.csv"), 2, "x.csv: No such file"),
    ],
)
def test_other_errors_name_what_happened_and_where(
    error: Exception,
    code: int,
    part: str,
    posts: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(check, "check_corpus", fail)
    assert run_command(["check", posts]) == code
    printed = capsys.readouterr().err
    assert part in printed
    assert printed.count("\n") == 1
    with pytest.raises(type(error)):
        run_command(["check", posts, "--debug"])


WAITING = """
import signal, sys, tempfile, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits that it is ignored
from msa.features.posts import check
from msa.cli import main
def wait(*_):
    with tempfile.TemporaryDirectory() as folder:
        print(folder, flush=True)
        time.sleep(60)
check.check_corpus = wait
sys.argv[1:] = ["check", "posts.csv"]
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interrupted_command_cleans_up_and_says_so(posts: str, sent: signal.Signals, code: int) -> None:
    command = [sys.executable, "-c", WAITING]
    with subprocess.Popen(command, cwd=Path(posts).parent, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        assert folder.is_dir()
        process.send_signal(sent)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, folder.exists()) == (code, False)
    assert err.startswith("msa: interrupted; ")
    assert err.count("\n") == 1


def test_control_characters_do_not_reach_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printable("a\x1b[2J\x9b\u202eb\n") == "a\\x1b[2J\\x9b\\u202eb\n"
    assert json.loads(to_json({"a": "\x9b\u202e\x1b"})) == {"a": "\x9b\u202e\x1b"}
    assert to_json("\x9bé") == '"\\u009bé"'
    (tmp_path / "posts.csv").write_text("id,text,label\na,one,\x1b[31mred\nb,two,y\n")
    assert run_command(["check", str(tmp_path / "posts.csv")]) == 0
    assert run_command(["check", str(tmp_path / "\x1b[31mposts.csv")]) == 2
    printed = capsys.readouterr()
    assert "\\x1b[31mred" in printed.out
    assert "\x1b" not in printed.out + printed.err


def test_an_error_in_a_thread_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    error = sqlalchemy.exc.OperationalError("UPDATE", None, Exception("database is locked"))
    report_thread(threading.ExceptHookArgs((type(error), error, None, None)))
    printed = capsys.readouterr().err
    assert printed.startswith("msa: sqlalchemy's OperationalError: ")
    assert "database is locked" in printed
    assert "[SQL" not in printed
    assert printed.count("\n") == 1


def test_a_row_of_a_table_is_one_line() -> None:
    assert table(["class", "n"], [["a\nb", 1]]).splitlines()[-1] == "a\\nb   1"


def test_an_ascii_terminal_gets_ascii(tmp_path: Path) -> None:
    (tmp_path / "posts.csv").write_text("id,text,label\na,one,glücklich\nb,two,y\n", encoding="utf-8")
    environment = os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}

    def run(*arguments: str) -> bytes:
        command = [sys.executable, "-m", "msa.cli", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True).stdout

    assert b"gl\\xfccklich" in run("check", "posts.csv")
    assert json.loads(run("check", "posts.csv", "--json"))["labels"] == {"glücklich": 1, "y": 1}

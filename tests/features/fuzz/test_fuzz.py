"""The fuzz harness in short: whatever was done to an image, a text or a table, it is read or reported."""

from __future__ import annotations

import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from msa.features.posts.images import decode_pixels
from msa.features.posts.text import decode_text

HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="limits of memory are those of Linux")


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The modules of the harness: its seeds, its cases, and how they are run."""
    monkeypatch.syspath_prepend(HERE)
    import fuzz
    import fuzz_run
    import fuzz_seeds

    yield SimpleNamespace(seeds=fuzz_seeds, cases=fuzz, run=fuzz_run)
    for name in ("fuzz", "fuzz_run", "fuzz_seeds"):
        del sys.modules[name]


def test_what_is_damaged_was_sound(harness: SimpleNamespace) -> None:
    assert {name.split()[0] for name in harness.seeds.images()} == {"JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"}
    for name, raw in harness.seeds.images().items():
        assert decode_pixels(raw).any(), name
    for name, raw in harness.seeds.texts().items():
        assert decode_text(raw) or name == "text empty", name


def test_a_number_gives_the_same_case_in_every_process(harness: SimpleNamespace) -> None:
    script = f"import sys, zlib; sys.path.insert(0, {str(HERE)!r}); from fuzz import make_case\n"
    script += "print(*(zlib.crc32(make_case(number).raw) for number in range(200)))"
    sums = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert [int(one) for one in sums] == [zlib.crc32(harness.cases.make_case(number).raw) for number in range(200)]
    assert len(set(sums)) > 190


def test_damaged_input_is_read_or_reported(harness: SimpleNamespace) -> None:
    numbers = [number for number in range(600) if not harness.cases.is_bomb(number)]
    results = harness.run.run(numbers, encode=False, seconds=60)
    assert [result.number for result in results] == numbers
    assert [result for result in results if not result.good] == []
    assert {result.outcome for result in results} == {"read", "reported"}


@pytest.mark.slow
def test_damaged_input_is_embedded_or_reported(harness: SimpleNamespace) -> None:
    results = harness.run.run(range(1500), encode=True, seconds=60)
    assert [result for result in results if not result.good] == []
    assert {result.outcome for result in results} == set(harness.run.GOOD)


FAULTS = """
import ctypes, os, sys, warnings
sys.path.insert(0, {here!r})
import fuzz_run

def faulty(case, encoders, folder):
    match case.number:
        case 1:
            os.abort()
        case 2:
            os._exit(0)
        case 3:
            while True:
                pass
        case 4:
            raise KeyError("no line")
        case 5:
            bytearray(fuzz_run.MEMORY + 2**20)
        case 6:
            warnings.warn("of something")
        case 7:
            ctypes.CDLL(None).puts(b"from C") and ctypes.CDLL(None).fflush(None)
    return "read", ""

fuzz_run._carry_out = faulty
fuzz_run.main()
"""


def test_every_bad_end_is_seen_and_named(
    harness: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "faults.py"
    script.write_text(FAULTS.format(here=str(HERE)), encoding="utf-8")
    monkeypatch.setattr(harness.run, "SCRIPT", str(script))
    results = harness.run.run(range(9), encode=False, workers=1, seconds=0.5)
    ends = ["read", "died", "died", "hung", "raised", "raised", "printed", "printed", "read"]
    assert [result.outcome for result in results] == ends
    assert [result.good for result in results] == [end == "read" for end in ends]
    message = [result.reason for result in results]
    assert "SIGABRT" in message[1]
    assert "KeyError('no line')" in message[4]
    assert "MemoryError" in message[5]
    assert "of something" in message[6]
    assert "from C" in message[7]

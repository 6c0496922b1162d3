"""Runs every benchmark with the arguments of the published figures, and keeps what each prints.

    python benchmarks/run_all.py --data DIR [--cache DIR] [--out DIR] [NAME...]     (or: make benchmarks DATA=DIR)

First it extracts what they read, then each script runs alone. What it prints is shown and written to OUT/NAME.txt,
below the command and above the machine; a script that misses its target ends with 1, which is counted at the end. All
of them take most of a day on two cores: name some to run those alone. `--list` prints the commands without running any.
`benchmarks/results` holds the published output; tables of docs/results.md are made of it, see results_tables.py.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from common import DATA, machine

HERE = Path(__file__).resolve().parent


class Benchmark(NamedTuple):
    """The arguments of a script, and which of the folders of posts and of features it takes."""

    arguments: str = ""
    data: bool = False
    cache: bool = False


BENCHMARKS = {
    "idle": Benchmark(data=True, cache=True),
    "images": Benchmark(data=True),
    "texts": Benchmark(data=True),
    "long_texts": Benchmark(),
    "memory": Benchmark(data=True),
    "posts": Benchmark(),
    "million": Benchmark("--posts 1000000"),
    "start": Benchmark(),
    "heads": Benchmark(data=True, cache=True),
    "estimators": Benchmark(data=True, cache=True),
    "presets": Benchmark(data=True, cache=True),
    "systems": Benchmark("--folds 5", data=True, cache=True),
    "best": Benchmark(
        '--head "logistic regression" --head "nearest neighbours" --head SVC --head "gradient boosting" --head RealMLP '
        "--head TabM",
        data=True,
        cache=True,
    ),
    "ablate": Benchmark(data=True, cache=True),
    "sweep": Benchmark("--full", data=True, cache=True),
    "token_sweep": Benchmark(data=True, cache=True),
    "rungs": Benchmark(data=True, cache=True),
    "fused_layers": Benchmark("--repeats 3", data=True, cache=True),
    "report": Benchmark(),
    "serve": Benchmark(data=True, cache=True),
    "cluster": Benchmark("--posts 300 --trials 24 --rounds 1", data=True),
    "beyond_memory": Benchmark("--gb 1.2 --limit 4 --subset 1500"),
    "crash": Benchmark(),
    "fuzz": Benchmark(),
    "scale": Benchmark(),
}
TEXTS = "--text minilm --text minilm@ocr --text lexicon --text lexicon@ocr"
IMAGES = "--image efficientnet_lite0 --image efficientnet_lite1@whole --image efficientnet_lite2@whole"
EXTRACTIONS = (  # those of the docstrings of the scripts that read a cache
    "",
    *(f"--preset {name}" for name in ("fast", "good", "best")),
    *(
        f"--image none --text minilm --clean {clean} --layers -1,-2,-3 --no-tokens"
        for clean in ("none", "social", "tweet")
    ),
    f"{IMAGES} {TEXTS} --no-tokens",
)


def command(name: str, given: argparse.Namespace | None = None) -> list[str]:
    """What is run; without `given` as it is published, that is without its folders."""
    one = BENCHMARKS[name]
    folders = []
    if given and one.data:
        folders += ["--data", str(given.data)]
    if given and one.cache:
        folders += ["--cache", str(given.cache)]
    return ["python", f"benchmarks/{name}.py", *shlex.split(one.arguments), *folders]


def extract(given: argparse.Namespace) -> None:
    """Extract the features that the scripts read; what is cached is not embedded again."""
    for options in EXTRACTIONS:
        line = ["extract", str(given.data), "--cache", str(given.cache), *shlex.split(options)]
        print("$", shlex.join(["msa", *line]), flush=True)
        code = subprocess.run([sys.executable, "-m", "msa.cli", *line]).returncode
        if code not in (0, 1):  # 1: some posts could not be read
            sys.exit(code)


def run(name: str, given: argparse.Namespace) -> int:
    """Run one script, show what it prints and keep it; returns its exit code."""
    line = command(name, given)
    head = f"$ {shlex.join(command(name))}\n"
    print(head, end="", flush=True)
    started = time.monotonic()
    with (given.out / f"{name}.txt").open("w", encoding="utf-8") as kept:
        kept.write(head)
        process = subprocess.Popen([sys.executable, HERE / f"{name}.py", *line[2:]], stdout=subprocess.PIPE, text=True)
        assert process.stdout
        for printed in process.stdout:
            print(printed, end="", flush=True)
            kept.write(printed)
        code = process.wait()
        kept.write(f"exit code {code}, {time.monotonic() - started:.0f} s, {machine()}\n")
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="these alone")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of posts")
    parser.add_argument("--cache", type=Path, default=Path("cache"), help="folder of cached embeddings")
    parser.add_argument("--out", type=Path, default=Path("measured"), help="folder of what the scripts print")
    parser.add_argument("--list", action="store_true", help="print the commands, and run none")
    given = parser.parse_args(arguments)
    names = given.names or [*BENCHMARKS]
    if unknown := set(names) - BENCHMARKS.keys():
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}; they are {', '.join(BENCHMARKS)}")
    if given.list:
        print(*(shlex.join(command(name)) for name in names), sep="\n")
        return 0
    if any(BENCHMARKS[name].data for name in names) and not given.data.exists():
        parser.error(f"no data at {given.data}; give --data")
    given.out.mkdir(parents=True, exist_ok=True)
    if any(BENCHMARKS[name].cache for name in names):
        extract(given)
    missed = [name for name in names if run(name, given)]
    print(f"{len(names)} benchmarks on {machine()}; below their target or failed: {', '.join(missed) or 'none'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

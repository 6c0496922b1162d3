"""Weights files: downloads and hashes them, reads them without running code, loads them key by key."""

from __future__ import annotations

import hashlib
import pickle
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..messages import first_line
from ..regular_files import regular
from ..store.json_files import read_object

if TYPE_CHECKING:
    from torch import Tensor, nn

MODEL_FILE = "a file of a Hugging Face model", "download the model again"
WRAPPERS = ("state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "model.", "_orig_mod.")
TOLERATED = ("num_batches_tracked", "position_ids")  # buffers that older files lack or have in excess
SHOWN_KEYS = 5


def sha256_file(path: Path) -> str:
    """Hex digest of a file. Raises ValueError when it cannot be read."""
    try:
        with regular(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"weights file {str(path)!r} cannot be read: {reason}; check the path") from error


def weights_id(files: Sequence[Path]) -> str:
    """'sha256:…' of one file, or of the names and hashes of several shards, whatever their folder."""
    if len(files) == 1:
        return f"sha256:{sha256_file(files[0])}"
    lines = sorted(f"{file.name} {sha256_file(file)}\n" for file in files)
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def verify_sha256(path: Path, sha256: str) -> None:
    """Raise ValueError unless the file's digest begins with `sha256`."""
    found = sha256_file(path)
    if not found.startswith(sha256):
        raise ValueError(f"{str(path)!r} should have sha256 {sha256}; got {found}; install or download it again")


def shards(index: Path) -> list[Path]:
    """The weight files that an index file (`….index.json`) names, beside it. Raises ValueError for one outside."""
    names = sorted(set(map(str, read_object(index, *MODEL_FILE, weight_map=dict)["weight_map"].values())))
    for name in names:
        if Path(name).name != name:
            raise ValueError(f"{str(index)!r} names a shard outside its folder: {name!r}; do not use this folder")
    return [index.parent / name for name in names]


def load_state(file: Path) -> dict[str, Tensor]:
    """Read a state dict on the CPU, unwrapped and without a common `module.` or `model.` prefix.

    Takes .safetensors and whatever `torch.load(weights_only=True)` reads. Raises ValueError for anything else.
    """
    if not file.is_file():
        raise ValueError(f"weights file {str(file)!r} does not exist; check the path")
    state = _read(file)
    for key in WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    from torch import Tensor

    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{str(file)!r} must hold a state dict of named tensors; got {_describe(state)}")
    for prefix in PREFIXES * len(PREFIXES):  # in any order
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return dict(state)


def load_into(model: nn.Module, state: Mapping[str, Tensor], *, ignore_head: Sequence[str] = ()) -> None:
    """Copy `state` into `model`; keys that begin with one of `ignore_head` may be missing or left over.

    Raises ValueError that names the other keys that are missing, left over or of another shape.
    """
    own = model.state_dict()
    fitting = {key: value for key, value in state.items() if key in own and value.shape == own[key].shape}
    ours, theirs = ({key for key in keys if not key.startswith(tuple(ignore_head))} for keys in (own, state))
    refuse_keys(
        missing=ours - theirs,
        left_over=theirs - ours,
        wrong_shape=(
            f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}" for key in (ours & theirs) - fitting.keys()
        ),
    )
    model.load_state_dict(fitting, strict=False)


def refuse_keys(*, missing: Iterable[str], left_over: Iterable[str], wrong_shape: Iterable[str]) -> None:
    """Raise ValueError that names the first keys of each kind and their count, unless there are none."""
    kinds = {
        "missing": sorted(key for key in missing if not key.endswith(TOLERATED)),
        "left over": sorted(key for key in left_over if not key.endswith(TOLERATED)),
        "of another shape": sorted(wrong_shape),
    }
    found = [
        f"{len(keys)} {kind} ({', '.join(keys[:SHOWN_KEYS])}{', …' if len(keys) > SHOWN_KEYS else ''})"
        for kind, keys in kinds.items()
        if keys
    ]
    if found:
        raise ValueError(f"the weights do not fit the model: {'; '.join(found)}; give the file of this architecture")


def torch_hub_file(url: str, *, must_exist: bool = False) -> Path:
    """Where torch.hub keeps the file of a URL. Raises ValueError where it must exist and does not."""
    import torch

    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if must_exist and not file.exists():
        raise ValueError(f"weights {file.name!r} are not here; download {url} and pass --weights FILE")
    return file


def fetch_url(url: str, *, local_files_only: bool) -> Path:
    """The file of a URL in torch.hub's folder, downloaded if allowed, its hash that of its name. Raises ValueError."""
    import torch

    file = torch_hub_file(url, must_exist=local_files_only)
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(file), progress=sys.stderr.isatty())
        except OSError as error:
            raise ValueError(f"cannot download {url} ({error}); fetch it elsewhere and pass --weights FILE") from error
    verify_sha256(file, file.stem.rsplit("-", 1)[-1])
    return file


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers while it loads; what it would report is checked and raised by the caller."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _read(file: Path) -> Any:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    safe = file.suffix == ".safetensors"
    try:
        return load_file(file) if safe else torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{str(file)!r} is refused: it holds more than tensors, and reading it could run code; "
            "save the model's state_dict() alone, best as .safetensors"
        ) from error
    except (SafetensorError, RuntimeError, EOFError, OSError, KeyError, ValueError) as error:
        kind = "safetensors" if safe else "PyTorch weights"
        raise ValueError(f"{str(file)!r} is not a whole {kind} file: {first_line(error)}") from error


def _describe(state: object) -> str:
    if not isinstance(state, Mapping):
        return type(state).__name__
    others = [f"{key!r}: {type(value).__name__}" for key, value in state.items() if not hasattr(value, "shape")]
    return f"an entry {others[0]}" if others else "no entry"

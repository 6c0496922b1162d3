"""Weights files: fetching and hashing them, reading them without running code, loading them key by key."""

from __future__ import annotations

import hashlib
import json
import pickle
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

WRAPPERS = ("state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "model.", "_orig_mod.")
TOLERATED = ("num_batches_tracked", "position_ids")  # buffers that older files lack or have in excess
SHOWN = 5


def sha256_file(path: Path) -> str:
    """Hex digest of a file. Raises ValueError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"weights file {str(path)!r} cannot be read: {error.strerror}; check the path") from error


def weights_id(files: Sequence[Path]) -> str:
    """'sha256:…' of one file, or of the names and hashes of several shards; folders do not enter."""
    if len(files) == 1:
        return f"sha256:{sha256_file(files[0])}"
    lines = sorted(f"{file.name} {sha256_file(file)}\n" for file in files)
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def verify_sha256(path: Path, sha256: str) -> None:
    """Raise ValueError unless the file's digest begins with `sha256`."""
    found = sha256_file(path)
    if not found.startswith(sha256):
        raise ValueError(f"{str(path)!r} should have sha256 {sha256}; got {found}; install or download it anew")


def shards(index: Path) -> list[Path]:
    """The weight files that an index file (`….index.json`) names, beside it. Raises ValueError for one outside."""
    names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    for name in names:
        if Path(name).name != name:
            raise ValueError(f"{str(index)!r} names a shard outside its folder: {name!r}; do not use this folder")
    return [index.parent / name for name in names]


def load_state(file: Path) -> dict[str, Tensor]:
    """Read a state dict on the CPU, unwrapped and without a common `module.` or `model.` prefix.

    Takes .safetensors, or anything that `torch.load(weights_only=True)` reads; raises ValueError for the rest.
    """
    if not file.is_file():
        raise ValueError(f"weights file {str(file)!r} does not exist; check the path")
    state: Any = _read_safetensors(file) if file.suffix == ".safetensors" else _read_torch(file)
    for key in WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    from torch import Tensor

    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{str(file)!r} should hold a state dict of named tensors; got {_describe(state)}")
    return strip_prefixes(dict(state))


def strip_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop wrapper prefixes that every key carries."""
    for prefix in (p for _ in PREFIXES for p in PREFIXES):
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def load_into(model: nn.Module, state: Mapping[str, Tensor], *, ignore_head: Sequence[str] = ()) -> None:
    """Copy `state` into `model`; keys that begin with one of `ignore_head` may be missing or left over.

    Raises ValueError that names the keys when any other is missing, left over or of another shape.
    """
    own = model.state_dict()
    wrong = [
        f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}"
        for key in own.keys() & state.keys()
        if state[key].shape != own[key].shape and not key.startswith(tuple(ignore_head))
    ]
    refuse_keys(
        missing=(key for key in own.keys() - state.keys() if not key.startswith(tuple(ignore_head))),
        left_over=(key for key in state.keys() - own.keys() if not key.startswith(tuple(ignore_head))),
        wrong_shape=wrong,
    )
    fitting = {key: value for key, value in state.items() if key in own and value.shape == own[key].shape}
    model.load_state_dict(fitting, strict=False)


def refuse_keys(*, missing: Iterable[str], left_over: Iterable[str], wrong_shape: Iterable[str]) -> None:
    """Raise ValueError that names the first keys of each kind and their count, unless there are none."""
    kinds = {
        "missing": sorted(key for key in missing if not key.endswith(TOLERATED)),
        "left over": sorted(key for key in left_over if not key.endswith(TOLERATED)),
        "of another shape": sorted(wrong_shape),
    }
    found = [
        f"{len(keys)} {kind} ({', '.join(keys[:SHOWN])}{', …' if len(keys) > SHOWN else ''})"
        for kind, keys in kinds.items()
        if keys
    ]
    if found:
        raise ValueError(f"the weights do not fit the model: {'; '.join(found)}; give the file of this architecture")


def torch_hub_file(url: str) -> Path:
    """Where torch.hub keeps the file of a URL."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]


def fetch_url(url: str, file: Path) -> None:
    """Download unless there; check the hash that stands in the file's name. Raises ValueError."""
    import torch

    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(file), progress=sys.stderr.isatty())
        except OSError as error:
            raise ValueError(f"cannot download {url} ({error}); fetch it elsewhere, pass --weights FILE") from error
    verify_sha256(file, file.stem.rsplit("-", 1)[-1])


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: dict[str, Tensor] = load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{str(file)!r} is not a whole safetensors file: {_first_line(error)}") from error
    return state


def _read_torch(file: Path) -> Any:
    import torch

    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{str(file)!r} is refused: it holds more than tensors, and reading it could run code; "
            "save the model's state_dict() alone, best as .safetensors"
        ) from error
    except (RuntimeError, EOFError, OSError, KeyError, ValueError) as error:
        raise ValueError(f"{str(file)!r} is not a whole PyTorch weights file: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _describe(state: object) -> str:
    if not isinstance(state, Mapping):
        return type(state).__name__
    others = [f"{key!r}: {type(value).__name__}" for key, value in state.items() if not hasattr(value, "shape")]
    return f"an entry {others[0]}" if others else "no entry"

"""Trained heads on disk: those of all folds in one safetensors file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ...features.regular_files import regular
from ...features.store.durable import write_atomic
from ...heads.base import Head

EXTRA_STATE = "_extra_state"  # torch's name for what a module stores beside tensors of fixed shape, here as bytes


def save_heads(path: Path, heads: Sequence[Head], extras: Mapping[str, Tensor] | None = None) -> None:
    """Write the heads' weights under `fold0.`, `fold1.` … and `extras` (a fitted projection, say) under `extra.`.

    The file appears whole or not at all.
    """
    assert heads, "a checkpoint holds a head or more"
    tensors = {f"fold{k}.{name}": tensor for k, head in enumerate(heads) for name, tensor in head.state_dict().items()}
    tensors |= {f"extra.{name}": tensor for name, tensor in (extras or {}).items()}
    # Copied, because tensors that share memory are refused.
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_atomic(path, safetensors.torch.save(whole))


def load_heads(path: Path, build: Callable[[int], Head]) -> tuple[list[Head], dict[str, Tensor]]:
    """Read what `save_heads` wrote: the heads, from `build` by number and in eval mode, and the extras, on the CPU.

    Raises ValueError when the file cannot be read, holds NaN or infinity, or does not fit the head that `build` gives.
    """
    try:
        tensors = safetensors.torch.load_file(regular(path))
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"cannot read the trained heads in {str(path)!r} ({error}); train again") from error
    folds: dict[int, dict[str, Tensor]] = {}
    extras: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        prefix, _, name = key.partition(".")
        if prefix == "extra":
            extras[name] = tensor
        elif match := re.fullmatch(r"fold(\d+)", prefix):
            folds.setdefault(int(match[1]), {})[name] = tensor
        else:
            raise ValueError(f"{str(path)!r} holds {key!r}, which no fold owns; is it another program's file?")
    if sorted(folds) != list(range(len(folds))) or not folds:
        raise ValueError(f"{str(path)!r} holds folds {sorted(folds)}, wanted 0, 1, …; train again")
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{str(path)!r} holds NaN or infinity in {name!r}; train again")
    return [_restore(build(k), folds[k], path) for k in range(len(folds))], extras


def _restore(head: Head, weights: Mapping[str, Tensor], path: Path) -> Head:
    wanted, got = (
        {name: None if name.endswith(EXTRA_STATE) else tuple(tensor.shape) for name, tensor in one.items()}
        for one in (head.state_dict(), weights)
    )
    if wanted != got:
        names = sorted(name for name in wanted | got if wanted.get(name) != got.get(name))
        first = names[0]
        raise ValueError(
            f"{str(path)!r} does not fit this head: {len(names)} tensors differ, first {first!r} "
            f"(wanted {wanted.get(first)}, got {got.get(first)}); use the run's own config"
        )
    try:
        head.load_state_dict(dict(weights))
    except ValueError as error:  # of a head's own state
        raise ValueError(f"{str(path)!r}: {error}") from error
    return head.eval()

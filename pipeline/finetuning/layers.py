"""Which weights of an encoder are trained: all, those of its last blocks, or low-rank adapters beside them (LoRA)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ...features.encoders.encoder import require
from ...features.encoders.vision import CLASSIFIERS, stage_pattern
from ...features.spec import EncoderSpec
from .inputs import Tunable

Merge = Callable[[], object]


def freeze_all_but(encoder: Tunable, last_blocks: int | None) -> None:
    """Let gradients reach the last blocks of an encoder and what follows them (None: all of it), and nothing else.

    Raises ValueError where it has fewer blocks.
    """
    model: nn.Module = encoder.tower.backbone.model
    names = {name for name, _ in model.named_parameters()}
    if last_blocks is not None:
        names = set(_names_from(model, encoder.specs[0], last_blocks))
    encoder.tower.requires_grad_(False)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)


def add_adapters(encoder: Tunable, rank: int, sample: Sequence[Tensor | None]) -> Merge:
    """Put adapters beside the maps that `freeze_all_but` left open, and train these alone; return what merges them.

    Hu et al., 2021: W x becomes W x + (α / r) B A x with B = 0 at first, and α = 2 r. Linear maps, attention and
    convolutions get one where a forward pass of `sample` runs them. Raises ValueError where there are none.
    """
    require("peft", encoder.specs[0].name, extra="lora")
    import peft
    from transformers.pytorch_utils import Conv1D

    model: nn.Module = encoder.tower.backbone.model
    used = _modules_run(encoder, sample)
    targets = [
        name
        for name, module in model.named_modules()
        if module in used and _adaptable(module) and next(module.parameters()).requires_grad
    ]
    if not targets:
        raise ValueError(f"{encoder.specs[0].name!r} has no linear map that takes an adapter; leave out --lora")
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules="|".join(map(re.escape, targets)),
        fan_in_fan_out=isinstance(model.get_submodule(targets[0]), Conv1D),  # GPT-2, whose maps are all of this kind
    )
    adapted = peft.LoraModel(model, {"default": config}, "default")
    merge: Merge = adapted.merge_and_unload
    return merge


def _names_from(model: nn.Module, spec: EncoderSpec, count: int) -> list[str]:
    """The parameters from the first one of the last `count` blocks on; embeddings belong to no block."""
    blocks = _blocks(model, spec)
    if count > len(blocks):
        raise ValueError(f"{spec.name!r} has {len(blocks)} blocks; got --layers last:{count}, give all or fewer")
    return [name for block in blocks[-count:] for name in block]


def _blocks(model: nn.Module, spec: EncoderSpec) -> list[list[str]]:
    """The names of the parameters of each block, with those between it and the next one, from the first to the last."""
    if spec.source == "timm":
        from timm.models import group_parameters

        groups = group_parameters(model, model.group_matcher())  # type: ignore[operator]
        own = ([name for name in groups[number] if not name.startswith(CLASSIFIERS)] for number in sorted(groups))
        return [names for names in own if names]
    pattern = stage_pattern(spec.architecture) if spec.source == "torchvision" else _layer_pattern(model)
    embeddings = {
        id(weight) for layer in model.modules() if isinstance(layer, nn.Embedding) for weight in layer.parameters()
    }
    blocks: dict[str, list[str]] = {}
    for name, parameter in model.named_parameters():
        if found := re.match(rf"(?:{pattern})(?=\.)", name):
            blocks.setdefault(found[0], []).append(name)
        elif blocks and id(parameter) not in embeddings:
            blocks[next(reversed(blocks))].append(name)
    return list(blocks.values())


def _layer_pattern(model: nn.Module) -> str:
    """The layers of a transformers model: the items of its largest list of modules."""
    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    name, _ = max(lists, key=lambda pair: sum(weight.numel() for weight in pair[1].parameters()))
    return rf"{re.escape(name)}\.\d+"


def _adaptable(module: nn.Module) -> bool:
    """Whether an adapter can be merged into a module's weight: subclasses may change it, or pad by another rule."""
    from transformers.pytorch_utils import Conv1D

    if type(module).__name__ == "Conv2dSame":  # of timm; it does not pad here
        return bool(module.groups == 1 and module.kernel_size == (1, 1))
    plain = type(module) in (nn.Linear, nn.Conv2d, nn.MultiheadAttention, Conv1D)
    return plain and getattr(module, "groups", 1) == 1


def _modules_run(encoder: Tunable, sample: Sequence[Tensor | None]) -> set[nn.Module]:
    """The modules that are called when the tower runs: the weights of others are unused, or are read by a function."""
    run: set[nn.Module] = set()
    hooks = [
        module.register_forward_hook(lambda module, inputs, output: run.add(module))
        for module in encoder.tower.modules()
    ]
    with torch.no_grad():
        encoder.tower(*sample)
    for hook in hooks:
        hook.remove()
    return run

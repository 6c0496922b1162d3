"""A fused step as it was recorded: a plain list of tensor operations, with no autograd, vmap or module in between."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import make_fx

Step = Callable[..., Sequence[Tensor]]

AFTER = 8  # plain steps of one kind before it is recorded, which takes as long as ten to thirty of them
KEPT = 32  # recordings that are remembered

_aten = torch.ops.aten
_SAME_VALUES = {_aten.alias.default, _aten.detach.default}
_SAME_SHAPE = {_aten.view.default, _aten._unsafe_view.default, _aten.expand.default, _aten.clone.default}

_lock = threading.Lock()
_uses: Counter[Hashable] = Counter()
_recordings: OrderedDict[Hashable, Step] = OrderedDict()


def replay(kind: Hashable, step: Step, arguments: Sequence[Tensor]) -> Sequence[Tensor]:
    """What `step(*arguments)` returns; from its recording, once steps of this kind have come up often enough.

    `kind` and the shapes of the arguments must decide which operations a step consists of. The recording runs the very
    operations of the step in their order, so the numbers are the same; what is saved is the work between them, which
    for small heads is as much as the arithmetic.
    """
    key = (kind, tuple((argument.shape, argument.dtype, argument.device) for argument in arguments))
    with _lock:
        _uses[key] += 1
        found = _recordings.get(key)
        if found is None and _uses[key] > AFTER:
            found = _recordings[key] = record(step, arguments)
            while len(_recordings) > KEPT:
                _recordings.popitem(last=False)
        elif found is not None:
            _recordings.move_to_end(key)
    if found is None:
        return step(*arguments)
    with torch.no_grad():
        return found(*arguments)


def load_recorder() -> None:
    """Load now what the first recording needs of torch: a second, for modules that no other step uses."""
    make_fx(torch.neg)(torch.zeros(1))


def forget() -> None:
    """Drop all recordings."""
    with _lock:
        _uses.clear()
        _recordings.clear()


def record(step: Step, arguments: Sequence[Tensor]) -> Step:
    """Run a step once and return the operations that it consisted of, as a function of its arguments."""
    recorded = make_fx(step)(*arguments)
    _drop_views(recorded.graph)
    _compute_constants(recorded)
    recorded.graph.eliminate_dead_code()
    recorded.recompile()
    forward: Step = recorded.forward
    return forward


def structure(module: nn.Module) -> str:
    """Equal for modules whose forward passes consist of the same operations, whatever their weights."""
    settings = [
        (name, type(part).__qualname__, sorted((key, repr(of)) for key, of in vars(part).items() if _decides(key)))
        for name, part in module.named_modules()
    ]
    return hashlib.blake2b(repr(settings).encode(), digest_size=16).hexdigest()


def _decides(attribute: str) -> bool:
    """Whether an attribute of a module may decide what it computes in training: weights are arguments."""
    return attribute[0] != "_" and attribute != "training"


def _drop_views(graph: fx.Graph) -> None:
    """Take out what changes neither values nor shape."""
    for node in list(graph.nodes):
        if node.op != "call_function" or not node.args or not isinstance(node.args[0], fx.Node):
            continue
        before, after = node.args[0].meta.get("val"), node.meta.get("val")
        same = node.target in _SAME_VALUES
        if isinstance(before, Tensor) and isinstance(after, Tensor):
            layout = before.shape == after.shape and before.stride() == after.stride()
            same = same or (node.target in _SAME_SHAPE and layout)
            same = same or (node.target == _aten.permute.default and list(node.args[1]) == list(range(before.ndim)))
        if same:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)


def _compute_constants(module: fx.GraphModule) -> None:
    """Compute once what depends on no argument."""
    known: dict[fx.Node, Any] = {}
    for node in list(module.graph.nodes):
        if node.op != "call_function" or not all(inner in known for inner in node.all_input_nodes):
            continue
        target: Any = node.target
        arguments: Any = fx.node.map_arg((node.args, node.kwargs), lambda inner: known[inner])
        value = target(*arguments[0], **arguments[1])
        known[node] = value
        if isinstance(value, Tensor):
            name = f"_constant_{len(known)}"
            module.register_buffer(name, value)
            with module.graph.inserting_before(node):
                node.replace_all_uses_with(kept := module.graph.get_attr(name))
            known[kept] = value

"""Replay of a fused step: a recorded list of tensor operations, without autograd, vmap and modules in between."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Sequence
from operator import getitem
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

Step = Callable[..., Sequence[Tensor]]

AFTER = 2  # plain steps of one kind before it is recorded, which takes as long as two or three of them
KEPT = 32  # recordings that are remembered

_lock = threading.Lock()
_uses: Counter[Hashable] = Counter()
_recordings: OrderedDict[Hashable, Step | None] = OrderedDict()


def replay(kind: Hashable, step: Step, arguments: Sequence[Tensor]) -> Sequence[Tensor]:
    """What `step(*arguments)` returns; from its recording, once steps of this kind have come up often enough.

    `kind` and the shapes of the arguments must decide which operations a step consists of. The recording runs the very
    operations of the step in their order, so the numbers are the same; what is saved is the work between them, which
    for small heads is as much as the arithmetic.
    """
    key = (kind, tuple((argument.shape, argument.dtype, argument.device) for argument in arguments))
    with _lock:
        _uses[key] += 1
        if key in _recordings:
            _recordings.move_to_end(key)
        elif _uses[key] > AFTER:
            _recordings[key] = record(step, arguments)
            while len(_recordings) > KEPT:
                _recordings.popitem(last=False)
        found = _recordings.get(key)
    if found is None:
        return step(*arguments)
    with torch.no_grad():
        return found(*arguments)


def forget() -> None:
    """Drop all recordings."""
    with _lock:
        _uses.clear()
        _recordings.clear()


def record(step: Step, arguments: Sequence[Tensor]) -> Step | None:
    """Run a step once and return the operations that it consisted of, as a function of its arguments.

    None for a step that does what cannot be recorded.
    """
    with Recorder(arguments) as recorder:
        results = step(*arguments)
    recorded = recorder.module(results)
    if recorder.escaped:
        return None
    recorded.graph.eliminate_dead_code()
    recorded.recompile()
    forward: Step = recorded.forward
    return forward


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside, every operation on tensors is recorded as it runs, below autograd and vmap.

    Torch's own tracers load its compiler and a computer algebra system, which takes longer than a hundred steps.
    `escaped`: a tensor came out of others by an operation that was not seen.
    """

    def __init__(self, arguments: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.graph, self.root = fx.Graph(), nn.Module()
        self.escaped = False
        self.seen: dict[int, tuple[Tensor, fx.Node]] = {}  # by identity, which a tensor has for as long as it is kept
        self.memory: set[int] = set()  # where those tensors lie
        for number, argument in enumerate(arguments):
            self._keep(argument, self.graph.placeholder(f"given_{number}"))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: nothing is compiled here, and torch would load its compiler to keep it away."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and record it."""
        found = func(*args, **(kwargs or {}))
        given, named = (tree_map(self._node, part) for part in (args, kwargs or {}))
        node = self.graph.call_function(func, given, named)
        if isinstance(found, Tensor):
            self._keep(found, node)
        else:
            for place, part in enumerate(found if isinstance(found, tuple | list) else ()):
                if isinstance(part, Tensor):
                    self._keep(part, self.graph.call_function(getitem, (node, place)))
        return found

    def module(self, results: Sequence[Tensor]) -> fx.GraphModule:
        """The recorded operations as a module that returns `results`."""
        self.graph.output([self._node(one) for one in results])
        return fx.GraphModule(self.root, self.graph)

    def _keep(self, tensor: Tensor, node: fx.Node) -> None:
        self.seen[id(tensor)] = tensor, node
        self.memory.add(tensor.untyped_storage().data_ptr())

    def _node(self, value: Any) -> Any:
        """A tensor's node; one that no operation has made is a constant. Anything else is itself."""
        if not isinstance(value, Tensor):
            return value
        if id(value) not in self.seen:
            self.escaped |= value.numel() > 0 and value.untyped_storage().data_ptr() in self.memory
            name = f"_tensor_{len(self.seen)}"
            self.root.register_buffer(name, value)
            self._keep(value, self.graph.get_attr(name))
        return self.seen[id(value)][1]


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

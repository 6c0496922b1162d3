"""Engines that run a frozen tower: torch on any device, OpenVINO on a CPU."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from threading import Lock, local
from typing import TYPE_CHECKING, Any

from .runtime import Runtime

if TYPE_CHECKING:
    from torch import Tensor, nn

TOLERANCE = 1e-3  # relative to the largest value: far above rounding, far below a different function

# takes and returns tensors on the CPU; thread-safe
TowerEngine = Callable[..., "list[Tensor]"]


def open_tower_engine(tower: nn.Module, runtime: Runtime, *, half: bool) -> TowerEngine:
    """The engine for a tower whose `forward` takes tensors and returns a list of tensors.

    `half` allows half precision on a GPU; a CPU is slower in it. Nothing heavy happens before the first call.
    """
    frozen = tower.eval().requires_grad_(False)
    if runtime.engine == "openvino":
        return OpenVinoEngine(frozen, runtime)
    return TorchEngine(frozen, runtime, half=half)


class TorchEngine:
    """One copy of the weights on the device, in the channels-last memory format; a 3-D convolution has none."""

    def __init__(self, tower: nn.Module, runtime: Runtime, *, half: bool) -> None:
        import torch

        self.device = torch.device(runtime.device)
        self.half = half and self.device.type in ("cuda", "mps")
        volumes = any(weight.ndim == 5 for weight in tower.parameters())
        layout = torch.preserve_format if volumes else torch.channels_last
        self.tower: Any = tower.to(device=self.device, memory_format=layout)  # type: ignore[call-overload]
        if runtime.compile:
            self.tower = torch.compile(self.tower)  # shapes that vary become dynamic
        self.local = local()

    def __call__(self, *inputs: Tensor | None) -> list[Tensor]:
        import torch

        on_cpu, on_cuda = (self.device.type == kind for kind in ("cpu", "cuda"))
        if on_cpu and torch.get_num_threads() != 1:
            torch.set_num_threads(1)  # for the calling thread, which is a stream
        if on_cuda and not hasattr(self.local, "stream"):
            self.local.stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
            self.local.stream.wait_stream(torch.cuda.default_stream(self.device))  # it copied the weights
        with (
            torch.cuda.stream(self.local.stream) if on_cuda else nullcontext(),
            torch.inference_mode(),
            torch.autocast(self.device.type, torch.float16, enabled=self.half),
        ):
            pinned = [tensor.pin_memory() if on_cuda and tensor is not None else tensor for tensor in inputs]
            moved = [None if tensor is None else tensor.to(self.device, non_blocking=on_cuda) for tensor in pinned]
            return [output.cpu() for output in self.tower(*moved)]


class OpenVinoEngine:
    """The tower compiled for the CPU at the first call, with one inference stream of one thread per stream.

    A tower that OpenVINO cannot read, or whose outputs it changes, runs on torch instead.
    """

    def __init__(self, tower: nn.Module, runtime: Runtime) -> None:
        self.tower: nn.Module | None = tower
        self.runtime = runtime
        self.preparing = Lock()
        self.run: TowerEngine | None = None

    def __call__(self, *inputs: Tensor | None) -> list[Tensor]:
        with self.preparing:
            if self.tower is not None:
                self.run = self._prepare(self.tower, inputs)
                self.tower = None  # the compiled model has weights of its own
        assert self.run is not None
        return self.run(*inputs)

    def _prepare(self, tower: nn.Module, inputs: Sequence[Tensor | None]) -> TowerEngine:
        try:
            compiled = self._compile(tower, inputs)
            if same_outputs(tower, compiled, inputs):
                return CompiledTower(compiled, absent=[tensor is None for tensor in inputs])
            reason = "OpenVINO gives other numbers than torch"
        except Exception as error:  # of the tracer, the reader or the compiler; torch needs none of them
            reason = f"OpenVINO cannot read it: {(str(error).strip() or type(error).__name__).splitlines()[-1]}"
        log = logging.getLogger(__name__)
        log.setLevel(logging.WARNING)  # OpenVINO raises the level of all loggers when it fails
        log.warning("%s runs on torch: %s", type(tower).__name__, reason)
        return TorchEngine(tower, self.runtime, half=False)

    def _compile(self, tower: nn.Module, inputs: Sequence[Tensor | None]) -> Any:
        # its telemetry would fork a process that reports each conversion to a server
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        import openvino
        import torch

        # a batch of 1 would become a constant
        example = tuple(torch.cat([tensor, tensor])[:2] for tensor in inputs if tensor is not None)

        class Whole(torch.nn.Module):
            """The tower as one graph: traced module by module, an image model takes seconds longer."""

            def forward(self, *given: Tensor) -> list[Tensor]:
                waiting = iter(given)
                outputs: list[Tensor] = tower(*(None if tensor is None else next(waiting) for tensor in inputs))
                return outputs

        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # of the tracer: Python's decisions here are the same for every batch
            traced = torch.jit.trace(Whole(), example, check_trace=False, strict=False)  # type: ignore[no-untyped-call]
            model = openvino.convert_model(traced, example_input=example)
        for port, tensor in zip(model.inputs, example, strict=True):
            free = openvino.PartialShape([-1, *(tensor.shape[1:] if tensor.ndim == 4 else [-1] * (tensor.ndim - 1))])
            port.get_node().set_partial_shape(free)
        model.validate_nodes_and_infer_types()
        return openvino.Core().compile_model(
            model,
            "CPU",
            {
                "NUM_STREAMS": self.runtime.streams,
                "INFERENCE_NUM_THREADS": self.runtime.streams,
                "INFERENCE_PRECISION_HINT": "f32",
                "ENABLE_CPU_PINNING": False,  # several processes would be pinned to the same cores
            },
        )


class CompiledTower:
    """A model that OpenVINO compiled; `absent` marks the inputs that were None then, and must be again."""

    def __init__(self, compiled: Any, *, absent: list[bool]) -> None:
        self.compiled = compiled
        self.absent = absent
        self.requests = local()

    def __call__(self, *inputs: Tensor | None) -> list[Tensor]:
        assert self.absent == [tensor is None for tensor in inputs]
        if not hasattr(self.requests, "own"):
            self.requests.own = self.compiled.create_infer_request()
        return _infer(self.requests.own, inputs)


def same_outputs(tower: nn.Module, compiled: Any, inputs: Sequence[Tensor | None]) -> bool:
    """Whether a compiled tower gives the outputs of torch, on inputs of another shape than it was traced with."""
    import torch

    def other(tensor: Tensor) -> Tensor:
        rows = torch.cat([tensor, tensor, tensor])[:3]
        return rows if tensor.ndim == 4 else rows[:, : max(3, tensor.shape[1] // 2)]

    sample = [None if tensor is None else other(tensor).contiguous() for tensor in inputs]
    torch.set_num_threads(1)  # for this stream
    with torch.inference_mode():
        expected: list[Tensor] = tower(*sample)
    got = _infer(compiled.create_infer_request(), sample)
    return len(got) == len(expected) and all(
        ours.shape == theirs.shape and bool((ours - theirs).abs().max() <= TOLERANCE * theirs.abs().max())
        for ours, theirs in zip(got, expected, strict=True)
    )


def _infer(request: Any, inputs: Sequence[Tensor | None]) -> list[Tensor]:
    import torch

    given = [tensor.numpy() for tensor in inputs if tensor is not None]
    results = request.infer(given, share_inputs=True)
    return [torch.from_numpy(results[number].copy()) for number in range(len(results))]

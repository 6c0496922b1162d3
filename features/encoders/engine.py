"""A frozen model made ready to run: by torch on any device, or by OpenVINO on a CPU."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from threading import Lock, local
from typing import TYPE_CHECKING, Any

from .runtime import Runtime

if TYPE_CHECKING:
    from torch import Tensor, nn

TOLERANCE = 1e-3  # of the largest value: far more than rounding, far less than another function

# tensors in on the CPU, tensors out on the CPU; callable by several threads at once
TowerEngine = Callable[..., "list[Tensor]"]


def open_tower_engine(tower: nn.Module, runtime: Runtime, *, half: bool) -> TowerEngine:
    """Prepare a tower whose `forward` takes tensors and returns a list of tensors.

    `half` allows half precision where a GPU computes; a CPU is slower in it. Nothing heavy happens before the
    first call.
    """
    frozen = tower.eval().requires_grad_(False)
    if runtime.engine == "openvino":
        return OpenVinoEngine(frozen, runtime)
    return TorchEngine(frozen, runtime, half=half)


class TorchEngine:
    """One copy of the weights on the device, in the memory order that convolutions like best."""

    def __init__(self, tower: nn.Module, runtime: Runtime, *, half: bool) -> None:
        import torch

        self.device = torch.device(runtime.device)
        self.half = half and self.device.type in ("cuda", "mps")
        self.tower: Any = tower.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if runtime.compile:
            self.tower = torch.compile(self.tower)  # marks as dynamic what turns out to vary
        self.stream = local()

    def __call__(self, *inputs: Tensor | None) -> list[Tensor]:
        import torch

        if self.device.type == "cpu":
            if torch.get_num_threads() != 1:
                torch.set_num_threads(1)  # holds for the calling thread, which is a stream
            return self._forward(inputs)
        if self.device.type != "cuda":
            return [output.cpu() for output in self._forward(self._moved(inputs))]
        if not hasattr(self.stream, "stream"):
            self.stream.stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
            self.stream.stream.wait_stream(torch.cuda.default_stream(self.device))  # the weights came over that one
        with torch.cuda.stream(self.stream.stream):
            return [output.cpu() for output in self._forward(self._moved(inputs))]

    def _moved(self, inputs: Sequence[Tensor | None]) -> list[Tensor | None]:
        pin = self.device.type == "cuda"
        return [
            None if given is None else (given.pin_memory() if pin else given).to(self.device, non_blocking=pin)
            for given in inputs
        ]

    def _forward(self, inputs: Sequence[Tensor | None]) -> list[Tensor]:
        import torch

        with torch.inference_mode(), torch.autocast(self.device.type, torch.float16, enabled=self.half):
            outputs: list[Tensor] = self.tower(*inputs)
        return outputs


class OpenVinoEngine:
    """The same tower compiled for the CPU at the first call, with one stream of one thread per stream.

    A tower that OpenVINO cannot read, or reads as another function than torch does, is left to torch; `reason` is why.
    """

    def __init__(self, tower: nn.Module, runtime: Runtime) -> None:
        self.tower: nn.Module | None = tower
        self.runtime = runtime
        self.compiling = Lock()
        self.compiled: Any = None
        self.fallback: TorchEngine | None = None
        self.reason: str | None = None
        self.absent: list[bool] = []  # which inputs were None when it was compiled, and must be again
        self.stream = local()

    def __call__(self, *inputs: Tensor | None) -> list[Tensor]:
        with self.compiling:
            if self.tower is not None:
                self._prepare(self.tower, inputs)
                self.tower = None  # the compiled model has weights of its own
        if self.fallback is not None:
            return self.fallback(*inputs)
        assert self.absent == [tensor is None for tensor in inputs]
        if not hasattr(self.stream, "request"):
            self.stream.request = self.compiled.create_infer_request()
        return _infer(self.stream.request, inputs)

    def _prepare(self, tower: nn.Module, inputs: Sequence[Tensor | None]) -> None:
        self.absent = [tensor is None for tensor in inputs]
        try:
            self.compiled = self._compile(tower, inputs)
            if not same_outputs(tower, self.compiled, inputs):
                self.reason = "OpenVINO gives other numbers than torch"
        except Exception as error:  # of the tracer, of the reader or of the compiler: torch can do without all three
            self.reason = f"OpenVINO cannot read it: {(str(error).strip() or type(error).__name__).splitlines()[-1]}"
        if self.reason is not None:
            log = logging.getLogger(__name__)
            log.setLevel(logging.WARNING)  # OpenVINO raises the level of all others when it fails
            log.warning("%s is left to torch: %s", type(tower).__name__, self.reason)
            self.compiled, self.fallback = None, TorchEngine(tower, self.runtime, half=False)

    def _compile(self, tower: nn.Module, inputs: Sequence[Tensor | None]) -> Any:
        # its telemetry would report each conversion to a server, from a process that it forks
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        import openvino
        import torch

        # a batch of 1 would be folded in
        example = tuple(torch.cat([tensor, tensor])[:2] for tensor in inputs if tensor is not None)

        class Whole(torch.nn.Module):
            """The tower as one graph: traced module by module, an image model takes seconds longer."""

            def forward(self, *given: Tensor) -> list[Tensor]:
                waiting = iter(given)
                outputs: list[Tensor] = tower(*(None if tensor is None else next(waiting) for tensor in inputs))
                return outputs

        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # of the tracer: what Python decides here is the same for every batch
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
                "ENABLE_CPU_PINNING": False,  # several processes on one machine would sit on the same cores
            },
        )


def same_outputs(tower: nn.Module, compiled: Any, inputs: Sequence[Tensor | None]) -> bool:
    """Whether a compiled tower gives what torch gives, on inputs of another shape than it was traced with."""
    import torch

    def other(tensor: Tensor) -> Tensor:
        rows = torch.cat([tensor, tensor, tensor])[:3]
        return rows if tensor.ndim == 4 else rows[:, : max(3, tensor.shape[1] // 2)]

    sample = [None if tensor is None else other(tensor).contiguous() for tensor in inputs]
    torch.set_num_threads(1)  # of this stream
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

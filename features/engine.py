"""A frozen model made ready to run: by torch on any device, or by OpenVINO on a CPU."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from threading import Lock, local
from typing import TYPE_CHECKING, Any

from .runtime import Runtime

if TYPE_CHECKING:
    from torch import Tensor, nn

# tensors in on the CPU, tensors out on the CPU; callable by several threads at once
Engine = Callable[..., "list[Tensor]"]


def open_engine(tower: nn.Module, runtime: Runtime, *, half: bool) -> Engine:
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
            self.tower = torch.compile(self.tower, dynamic=True)
        self.lane = local()

    def __call__(self, *inputs: Tensor | None) -> list[Tensor]:
        import torch

        if self.device.type == "cpu":
            if torch.get_num_threads() != 1:
                torch.set_num_threads(1)  # holds for the calling thread, which is a lane
            return self._forward(inputs)
        if self.device.type != "cuda":
            return [output.cpu() for output in self._forward(self._moved(inputs))]
        if not hasattr(self.lane, "stream"):
            self.lane.stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
            self.lane.stream.wait_stream(torch.cuda.default_stream(self.device))  # the weights came over that one
        with torch.cuda.stream(self.lane.stream):
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
    """The same tower compiled for the CPU at the first call, with one stream of one thread per lane."""

    def __init__(self, tower: nn.Module, runtime: Runtime) -> None:
        self.tower: nn.Module | None = tower
        self.lanes = runtime.lanes
        self.compiling = Lock()
        self.compiled: Any = None
        self.lane = local()

    def __call__(self, *inputs: Tensor | None) -> list[Tensor]:
        import torch

        given = [tensor for tensor in inputs if tensor is not None]
        with self.compiling:
            if self.tower is not None:
                self.compiled = self._compile(self.tower, given)
                self.tower = None  # the compiled model has weights of its own
        if not hasattr(self.lane, "request"):
            self.lane.request = self.compiled.create_infer_request()
        results = self.lane.request.infer([tensor.numpy() for tensor in given], share_inputs=True)
        return [torch.from_numpy(results[number].copy()) for number in range(len(results))]

    def _compile(self, tower: nn.Module, inputs: Sequence[Tensor]) -> Any:
        import openvino
        import torch

        example = tuple(torch.cat([tensor, tensor])[:2] for tensor in inputs)  # a batch of 1 would be folded in

        class Whole(torch.nn.Module):
            """The tower as one graph: traced module by module, an image model takes seconds longer."""

            def forward(self, *given: Tensor) -> list[Tensor]:
                outputs: list[Tensor] = tower(*given)
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
                "NUM_STREAMS": self.lanes,
                "INFERENCE_NUM_THREADS": self.lanes,
                "INFERENCE_PRECISION_HINT": "f32",
                "ENABLE_CPU_PINNING": False,  # several processes on one machine would sit on the same cores
            },
        )

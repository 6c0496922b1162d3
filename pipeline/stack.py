"""Heads of one architecture as one: each parameter stacked, a step or a look taken for all of them at once."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ..heads.base import Head, Inputs
from ..heads.dropout import dropouts, set_dropout
from ..heads.losses import Loss, as_targets
from .adam import gradient_norms
from .augment import augment
from .batches import take
from .evaluate import score
from .first_layers import FirstLayers, Weights, by_head
from .optimise import Step, decay_groups
from .recorded import replay, structure
from .shared_linear import share_linears
from .train import EVAL_BATCH, Course
from .train_config import TrainConfig


@dataclass(eq=False)
class Trainee:
    """One head in training: how it is trained, by what optimiser, and what it has reached.

    `best` are the weights of the best epoch, in the order of the optimiser's; `error` is why it cannot go on.
    """

    head: Head
    config: TrainConfig
    optimiser: Step
    loss: dict[str, Tensor]
    course: Course
    best: list[Tensor]
    error: ValueError | None = None


class Batch(NamedTuple):
    """Rows (B,) that all heads see in one step: their inputs, targets (B, K), and what the first layers make of them.

    `read` are the vectors (n, D) that each of these layers reads, `products` those with its weights (C, n, H).
    """

    rows: Tensor
    inputs: Inputs
    targets: Tensor
    read: Sequence[Tensor]
    products: list[Tensor]


class Stack:
    """The heads of one epoch: each parameter stacked, of which the optimisers move the rows."""

    def __init__(self, trainees: Sequence[Trainee], inputs: Inputs, labels: Tensor) -> None:
        self.trainees, self.labels = trainees, labels
        heads = [one.head for one in trainees]
        self.classes = heads[0].dims.classes
        self.skeleton = Parts(copy.deepcopy(heads[0])).train()  # the module that is run for all of them
        share_linears(self.skeleton)
        for layer in dropouts(self.skeleton):
            layer.p = 1.0  # so that the layer looks at its rate, which may be 0 for one head and not for another
        self.own_buffers = _own_buffers(heads)
        self.parameters: dict[str, Tensor] = {}
        for place, name in enumerate(parameter_names(heads[0])):
            mine = [one.optimiser.parameters[place] for one in trainees]
            stacked = torch.stack([parameter.detach() for parameter in mine])
            for parameter, row in zip(mine, stacked.unbind(), strict=True):
                parameter.data = row
            self.parameters[f"head.{name}"] = stacked
        self.first = FirstLayers(self.skeleton, take(inputs, torch.arange(2, device=labels.device)))
        self.entering = [f"{name}.weight" for name in self.first.names]
        self.weights = Weights([self.parameters[name] for name in self.entering], len(heads))
        self.loss = _stack_losses([one.loss for one in trainees])
        config = trainees[0].config
        self.kind = structure(self.first.rest), config.loss, config.gamma, tuple(self.own_buffers)

    def look(self, inputs: Inputs, batches: Sequence[Tensor]) -> list[dict[str, float]]:
        """One pass over batches of row numbers in eval mode: each head's mean loss and metrics."""
        self.skeleton.eval()
        buffers = dict(self.skeleton.named_buffers()) | self.own_buffers
        together = self._together(self.skeleton, buffers)
        told = []
        with torch.no_grad():
            for rows in batches:
                targets = as_targets(self.labels[rows], self.classes)
                values, said = together(self.parameters, buffers, self.loss, take(inputs, rows), targets)
                told.append((rows, values, said))
        return self._score(told)

    def learn(self, inputs: Inputs, batches: Sequence[Tensor]) -> list[dict[str, float]]:
        """A step of every head on each of the batches of row numbers: each one's mean loss and metrics."""
        self.skeleton.train()
        one = self.trainees[0]
        told = []
        batch = self._see(inputs, batches[0], one.optimiser.count)
        for place, products in enumerate(by_head(batch.products, len(self.trainees))):
            self.weights.multiply(place, batch.read, products)
        for following in [*batches[1:], None]:
            count = one.optimiser.count
            set_dropout(self.first.rest, seed=one.config.seed, step=count)
            ahead = None if following is None else self._see(inputs, following, count + 1)
            values, said, norms, *slopes = self._step(batch)
            self._move(batch, slopes, norms.tolist(), ahead)
            del slopes  # before the next step, which then writes where these lay in the processor's cache
            told.append((batch.rows, values, said))
            if ahead is not None:
                batch = ahead
        return self._score(told)

    def _see(self, inputs: Inputs, rows: Tensor, step: int) -> Batch:
        """A batch as the heads see it in this step; the products are yet to be computed."""
        batch, targets = take(inputs, rows), as_targets(self.labels[rows], self.classes)
        batch, targets = augment(batch, targets, self.trainees[0].config, step)
        if not self.first.names:
            return Batch(rows, batch, targets, [], [])
        read = replay((self.kind, "first"), lambda *given: self.first.inputs(Inputs(*given)), batch)
        return Batch(rows, batch, targets, read, self.weights.products(read))

    def _step(self, batch: Batch) -> Sequence[Tensor]:
        """Every head's loss (C,), guesses (C, B), norm (C,) of all gradients but those by the first layers' weights.

        Then these gradients, of each parameter, and those by the products of the first layers.
        """
        firsts = [f"{name}.product" for name in self.first.names]
        rest = {name: of for name, of in self.parameters.items() if name not in self.entering}
        shared = dict(self.first.rest.named_buffers()) | self.own_buffers
        buffers = {name: of for name, of in shared.items() if name not in firsts}

        def step(*arguments: Tensor) -> list[Tensor]:
            given = iter(arguments)
            parameters = {name: next(given).detach().requires_grad_() for name in rest}
            products = {name: next(given).detach().requires_grad_() for name in firsts}
            own = products | {name: next(given) for name in buffers}
            loss = {name: next(given) for name in self.loss}
            together = self._together(self.first.rest, own)
            values, said = together(parameters, own, loss, Inputs(*islice(given, 4)), next(given))
            raw = torch.autograd.grad(values.sum(), [*parameters.values(), *products.values()])
            gradients = [part.contiguous() for part in raw]  # laid out as the optimisers read it
            return [values.detach(), said, gradient_norms(gradients[: len(rest)]), *gradients]

        given = (*rest.values(), *batch.products, *buffers.values(), *self.loss.values(), *batch.inputs, batch.targets)
        return replay(self.kind, step, [tensor.detach() for tensor in given])

    @torch.no_grad()
    def _move(self, batch: Batch, slopes: Sequence[Tensor], norms: Sequence[float], ahead: Batch | None) -> None:
        """Let each head's optimiser move its rows by its gradients, clipped; then compute its products with `ahead`."""
        heads = len(self.trainees)
        number = len(slopes) - len(self.first.names)  # of those that are gradients already
        own = by_head(slopes[:number], heads)
        firsts = by_head([slope.transpose(1, 2) for slope in slopes[number:]], heads)
        following = by_head(ahead.products if ahead else (), heads)
        for place, one in enumerate(self.trainees):
            square = self.weights.differentiate(batch.read, firsts[place])
            excess = (math.sqrt(norms[place] ** 2 + square) + 1e-6) / (one.config.clip or math.inf)
            scale = torch.full((), excess, device=self.labels.device) if excess > 1 else None
            one.optimiser.apply(self._in_order(own[place]), scale)
            if ahead is not None:
                self.weights.multiply(place, ahead.read, following[place])

    def _in_order(self, own: Sequence[Tensor]) -> list[Tensor]:
        """One head's gradients in the order of its parameters: its own, and those by the first layers' weights."""
        rest, first = iter(own), iter(self.weights.gradients)
        return [next(first if name in self.entering else rest) for name in self.parameters]

    def _together(self, module: nn.Module, buffers: Mapping[str, Tensor]) -> Callable[..., tuple[Tensor, Tensor]]:
        """Every head's loss (C,) and guesses (C, B): `_loss` for all of them at once."""
        dims = {name: 0 if name in self.own_buffers or name.endswith(".product") else None for name in buffers}
        return vmap(partial(self._loss, module), in_dims=(0, dims, 0, None, None))

    def _loss(
        self,
        module: nn.Module,
        parameters: dict[str, Tensor],
        buffers: dict[str, Tensor],
        loss: dict[str, Tensor],
        batch: Inputs,
        targets: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """One head's loss and its guesses (B,)."""
        config = self.trainees[0].config
        parts, logits = functional_call(module, (parameters, buffers), (batch,))
        criterion = Loss(config.loss, gamma=config.gamma, **loss)  # type: ignore[arg-type]
        value = criterion(parts.flatten(0, 1), targets.repeat(parts.shape[0], 1))
        return value, logits.detach().argmax(-1)

    def _score(self, told: Sequence[tuple[Tensor, Tensor, Tensor]]) -> list[dict[str, float]]:
        """Each head's mean loss and metrics, from the rows (B,), losses (C,) and guesses (C, B) of each batch."""
        truth = self.labels[torch.cat([rows for rows, _, _ in told])].cpu().numpy()
        answers = torch.cat([said for _, _, said in told], 1).cpu().numpy()
        sums = torch.stack([values * len(rows) for rows, values, _ in told]).sum(0).cpu().numpy()
        pairs = zip(sums / len(truth), answers, strict=True)
        return [{"loss": float(mean), **score(truth, guess, range(self.classes))} for mean, guess in pairs]


def logits_of(heads: Sequence[Head], weights: Sequence[Sequence[Tensor]], inputs: Inputs, rows: Tensor) -> Tensor:
    """What heads of one architecture say of `rows` (n,) with these weights, in eval mode: logits (C, n, K).

    Weights are in the order of `parameter_names`.
    """
    skeleton = copy.deepcopy(heads[0]).eval()
    share_linears(skeleton)
    parameters = {
        name: torch.stack([own[place] for own in weights]) for place, name in enumerate(parameter_names(heads[0]))
    }
    own = {name.removeprefix("head."): buffer for name, buffer in _own_buffers(heads).items()}
    buffers = dict(skeleton.named_buffers()) | own
    dims = {name: 0 if name in own else None for name in buffers}

    def say(weights: dict[str, Tensor], buffers: dict[str, Tensor], batch: Inputs) -> Tensor:
        logits: Tensor = functional_call(skeleton, (weights, buffers), (batch,))
        return (logits + buffers["offsets"]).float()

    together = vmap(say, in_dims=(0, dims, None))
    with torch.no_grad():
        said = [together(parameters, buffers, take(inputs, chosen)) for chosen in torch.split(rows, EVAL_BATCH)]
    return torch.cat(said, 1)


class Parts(nn.Module):
    """A head whose forward pass gives what training looks at, and its logits."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Map inputs to parts (M, B, K) and logits (B, K)."""
        parts = self.head.parts(inputs)
        return parts, parts[0] if parts.shape[0] == 1 else self.head(inputs)


def parameter_names(head: Head) -> list[str]:
    """A head's parameters in the order of `decay_groups`."""
    names = {id(parameter): name for name, parameter in head.named_parameters()}
    return [names[id(parameter)] for part in decay_groups(head) for parameter in part]


def _own_buffers(heads: Sequence[Head]) -> dict[str, Tensor]:
    """The buffers in which heads differ, one below another. Keys of dropout are all heads' in common."""
    buffers = [dict(head.named_buffers()) for head in heads]
    return {
        f"head.{name}": torch.stack([of[name] for of in buffers])
        for name, first in buffers[0].items()
        if not name.endswith(".key") and any(not torch.equal(of[name], first) for of in buffers)
    }


def _stack_losses(losses: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([loss[name] for loss in losses]) for name in losses[0]}

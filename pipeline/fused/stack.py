"""Heads of one architecture as one: each parameter stacked, a step or a look taken for all of them at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ...heads.base import Head, Inputs
from ...heads.dropout import dropouts, set_dropout
from ...heads.losses import Loss, as_targets
from ..config.train_config import TrainConfig
from ..metrics.scores import score
from ..training.adam import gradient_norms
from ..training.augment import augment
from ..training.batches import take
from ..training.loop import EVAL_BATCH, TrainingState
from ..training.optimizer import Step
from .first_layers import FirstLayer, FirstLayers
from .shared_linear import share_linears
from .skeleton import Parts, copy_of, own_buffers, parameter_names
from .step_replay import replay, structure

EVAL_ROWS = 8192  # of all heads in one pass on a CPU: more at once would only take more memory


@dataclass(eq=False)
class Trainee:
    """One head in training: how it is trained, by what optimizer, and what it has reached.

    `best` are the weights of the best epoch, in the order of the optimizer's; `error` is why it cannot go on.
    """

    head: Head
    config: TrainConfig
    optimizer: Step
    loss: dict[str, Tensor]
    course: TrainingState
    best: list[Tensor] = field(default_factory=list)
    error: ValueError | None = None

    def keep(self) -> None:
        """Note the present weights as the best ones."""
        if not self.best:
            self.best = [torch.empty_like(parameter, requires_grad=False) for parameter in self.optimizer.parameters]
        for kept, parameter in zip(self.best, self.optimizer.parameters, strict=True):
            kept.copy_(parameter.detach())


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
    """The heads of one epoch: each parameter stacked, of which the optimizers move the rows."""

    def __init__(self, trainees: Sequence[Trainee], inputs: Inputs, labels: Tensor) -> None:
        self.trainees, self.labels = trainees, labels
        heads = [one.head for one in trainees]
        self.classes = heads[0].dims.classes
        self.skeleton = Parts(copy_of(heads[0])).train()  # the module that is run for all of them
        share_linears(self.skeleton)
        for layer in dropouts(self.skeleton):
            layer.p = 1.0  # so that the layer looks at its rate, which may be 0 for one head and not for another
        self.own_buffers = own_buffers(heads)
        self.parameters: dict[str, Tensor] = {}
        for place, name in enumerate(parameter_names(heads[0])):
            mine = [one.optimizer.parameters[place] for one in trainees]
            stacked = torch.stack([parameter.detach() for parameter in mine])
            for parameter, row in zip(mine, stacked.unbind(), strict=True):
                parameter.data = row
            self.parameters[f"head.{name}"] = stacked
        self.first = FirstLayers(self.skeleton, take(inputs, torch.arange(2, device=labels.device)))
        self.entering = [f"{name}.weight" for name in self.first.names]
        self.layers = [
            FirstLayer(self.parameters[name].unbind(), keeps=name != self.entering[-1]) for name in self.entering
        ]
        places = {name: place for place, name in enumerate(self.parameters)}
        self.largest = tuple(places[name] for name in self.entering[-1:])
        others = [*self.entering[:-1], *(name for name in places if name not in self.entering)]
        self.others = tuple(places[name] for name in others)
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
        batch = self._see(inputs, batches[0], one.optimizer.count)
        products = [layer.products(x) for layer, x in zip(self.layers, batch.read, strict=True)]
        batch = batch._replace(products=products)
        for following in [*batches[1:], None]:
            count = one.optimizer.count
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
        return Batch(rows, batch, targets, read, [layer.room(x) for layer, x in zip(self.layers, read, strict=True)])

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
            gradients = [part.contiguous() for part in raw]  # laid out as the optimizers read it
            return [values.detach(), said, gradient_norms(gradients[: len(rest)]), *gradients]

        own = (*rest.values(), *batch.products, *buffers.values(), *self.loss.values())
        return replay(self.kind, step, [tensor.detach() for tensor in (*own, *batch.inputs, batch.targets)])

    @torch.no_grad()
    def _move(self, batch: Batch, gradients: Sequence[Tensor], norms: Sequence[float], ahead: Batch | None) -> None:
        """Let each head's optimizer move its rows by its gradients, clipped; and compute the products with `ahead`.

        The largest layer for itself, so that what it reads stays in the cache from head to head. A head is clipped by
        the norm of all its gradients: those by the other first layers are computed before and kept.
        """
        optimizers = [one.optimizer for one in self.trainees]
        rest = len(self.parameters) - len(self.layers)  # of those that are gradients already
        slopes = [slope.transpose(1, 2).unbind() for slope in gradients[rest:]]
        following = [products.unbind() for products in ahead.products] if ahead else []
        squares, scales = [norm**2 for norm in norms], list[Tensor | None]()
        heads, smaller, largest = range(len(optimizers)), range(len(self.layers))[:-1], range(len(self.layers))[-1:]

        def differentiate(number: int, head: int) -> None:
            squares[head] += self.layers[number].differentiate(head, slopes[number][head], batch.read[number])

        def multiply(number: int, head: int) -> None:
            if ahead is not None:
                self.layers[number].multiply(head, ahead.read[number], following[number][head])

        for number in smaller:
            for head in heads:
                differentiate(number, head)
        for head in heads:
            optimizers[head].begin()
            for number in largest:
                differentiate(number, head)
            scales.append(self._scale(head, math.sqrt(squares[head])))
            for number in largest:
                optimizers[head].move([self.layers[number].gradients[head]], scales[head], self.largest)
                multiply(number, head)
        for head, own in enumerate(zip(*(gradient.unbind() for gradient in gradients[:rest]), strict=True)):
            kept = [self.layers[number].gradients[head] for number in smaller]
            optimizers[head].move([*kept, *own], scales[head], self.others)
            optimizers[head].end()
            for number in smaller:
                multiply(number, head)

    def _scale(self, head: int, norm: float) -> Tensor | None:
        """What a head's gradients of this norm are divided by, as `clip_grad_norm_` does; None for nothing."""
        excess = (norm + 1e-6) / (self.trainees[head].config.clip or math.inf)
        return torch.full((), excess, device=self.labels.device) if excess > 1 else None

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
    skeleton = copy_of(heads[0]).eval()
    share_linears(skeleton)
    first = FirstLayers(skeleton, take(inputs, rows[:2]))
    of_head = dict(zip(parameter_names(heads[0]), zip(*weights, strict=True), strict=True))
    layers = [FirstLayer(of_head.pop(f"{name}.weight")) for name in first.names]
    parameters = {name: torch.stack(own) for name, own in of_head.items()}
    own = {name.removeprefix("head."): buffer for name, buffer in own_buffers(heads).items()}
    shared = dict(first.rest.named_buffers()) | own

    def say(weights: dict[str, Tensor], buffers: dict[str, Tensor], batch: Inputs) -> Tensor:
        logits: Tensor = functional_call(first.rest, (weights, buffers), (batch,))
        return (logits + buffers["offsets"]).float()

    told = []
    size = max(1, min(EVAL_BATCH, EVAL_ROWS // len(heads))) if rows.device.type == "cpu" else EVAL_BATCH
    with torch.no_grad():
        for chosen in torch.split(rows, size):
            batch = take(inputs, chosen)
            products = [layer.products(x) for layer, x in zip(layers, first.inputs(batch), strict=True)]
            given = {f"{name}.product": product for name, product in zip(first.names, products, strict=True)}
            dims = {name: 0 if name in own or name in given else None for name in shared}
            told.append(vmap(say, in_dims=(0, dims, None))(parameters, shared | given, batch))
    return torch.cat(told, 1)


def _stack_losses(losses: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([loss[name] for loss in losses]) for name in losses[0]}

"""Heads of one architecture as one module: stacked parameters, and a step or a test for all heads at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ...heads.base import Head, Inputs
from ...heads.dropout import dropouts, set_dropout
from ..config.train_config import TrainConfig
from ..data.ragged_inputs import RaggedInputs
from ..metrics.scores import score
from ..training.augment import augment
from ..training.batches import EVAL_BATCH, read_batches
from ..training.loop import TrainingState
from ..training.losses import Loss, as_targets
from ..training.optimizer import Step
from .first_layers import FirstLayers
from .skeleton import Parts, copy_of, own_buffers, parameter_names
from .step_replay import replay, structure

EVAL_ROWS = 8192  # of all heads in one pass on a CPU: more at once would only take more memory


@dataclass(eq=False)
class FusedHead:
    """One head in training: its config, its optimizer, and what it has reached.

    `best` are the weights of the best epoch, in the order of the optimizer's.
    """

    head: Head
    config: TrainConfig
    optimizer: Step
    loss: dict[str, Tensor]
    state: TrainingState
    best: list[Tensor] = field(default_factory=list)

    def keep(self) -> None:
        """Store the present weights as the best ones."""
        if not self.best:
            self.best = [torch.empty_like(parameter, requires_grad=False) for parameter in self.optimizer.parameters]
        for kept, parameter in zip(self.best, self.optimizer.parameters, strict=True):
            kept.copy_(parameter.detach())


class Batch(NamedTuple):
    """Rows (B,) that all heads see in one step, with inputs and targets (B, K).

    `read` are the inputs (n, D) of each first layer, `products` its products for all heads (C, n, H).
    """

    rows: Tensor
    inputs: Inputs
    targets: Tensor
    read: Sequence[Tensor]
    products: Sequence[Tensor]


class Stack:
    """The C heads of one epoch. Each optimizer moves its head's rows of the stacked parameters."""

    def __init__(self, heads: Sequence[FusedHead], inputs: RaggedInputs, labels: Tensor) -> None:
        self.heads, self.labels, self.joint = heads, labels, inputs.joint
        modules = [one.head for one in heads]
        self.classes = modules[0].dims.classes
        self.skeleton = Parts(copy_of(modules[0])).train()  # the module that is run for all of them
        for layer in dropouts(self.skeleton):
            layer.p = 1.0  # so that the layer looks at its rate, which may be 0 for one head and not for another
        self.own_buffers = own_buffers(modules)
        self.parameters: dict[str, Tensor] = {}
        for place, name in enumerate(parameter_names(modules[0])):
            mine = [one.optimizer.parameters[place] for one in heads]
            stacked = torch.stack([parameter.detach() for parameter in mine])
            for parameter, row in zip(mine, stacked.unbind(), strict=True):
                parameter.data = row
            self.parameters[f"head.{name}"] = stacked
        self.first = FirstLayers(self.skeleton, inputs.take(torch.arange(2, device=labels.device)))
        self.first_weights = [f"{name}.weight" for name in self.first.names]
        self.loss = {name: torch.stack([one.loss[name] for one in heads]) for name in heads[0].loss}
        self.clip = torch.tensor([one.config.clip or math.inf for one in heads], device=labels.device)
        config = heads[0].config
        self.kind = structure(self.first.rest), config.loss, config.gamma, tuple(self.own_buffers)

    def evaluate(self, inputs: RaggedInputs, batches: Sequence[Tensor]) -> list[dict[str, float]]:
        """Run all heads over batches of row numbers in eval mode: each head's mean loss and metrics."""
        self.skeleton.eval()
        buffers = dict(self.skeleton.named_buffers()) | self.own_buffers
        together = self._together(self.skeleton, buffers)
        seen = []
        with torch.no_grad():
            for rows, batch in read_batches(inputs, batches):
                targets = as_targets(self.labels[rows], self.classes)
                seen.append((rows, *together(self.parameters, buffers, self.loss, batch, targets)))
        return self._score(seen)

    def train(self, inputs: RaggedInputs, batches: Sequence[Tensor]) -> list[dict[str, float]]:
        """Take a step of every head on each batch of row numbers: each head's mean loss and metrics."""
        self.skeleton.train()
        one = self.heads[0]
        seen = []
        read = read_batches(inputs, batches)
        batch = self._batch(*next(read), one.optimizer.count)
        for weight, x, products in zip(self.first_weights, batch.read, batch.products, strict=True):
            torch.matmul(x, self.parameters[weight].transpose(1, 2), out=products)
        for following in chain(read, [None]):
            count = one.optimizer.count
            set_dropout(self.first.rest, seed=one.config.seed, step=count)
            ahead = None if following is None else self._batch(*following, count + 1)
            losses, predictions, *gradients = self._step(batch)
            self._update(batch, gradients, ahead)
            del gradients  # before the next step, which then writes where these were in the processor's cache
            seen.append((batch.rows, losses, predictions))
            if ahead is not None:
                batch = ahead
        return self._score(seen)

    def _batch(self, rows: Tensor, inputs: Inputs, step: int) -> Batch:
        """A batch as the heads see it in this step, with room for the products."""
        targets = as_targets(self.labels[rows], self.classes)
        batch, targets = augment(inputs, targets, self.heads[0].config, step, self.joint)
        if not self.first.names:
            return Batch(rows, batch, targets, [], [])
        read = replay((self.kind, "first"), lambda *given: self.first.inputs(Inputs(*given)), batch)
        weights = [self.parameters[name] for name in self.first_weights]
        products = [x.new_empty(len(of), len(x), of.shape[1]) for x, of in zip(read, weights, strict=True)]
        return Batch(rows, batch, targets, read, products)

    def _step(self, batch: Batch) -> Sequence[Tensor]:
        """Every head's loss (C,), predictions (C, B), and its gradients, clipped by their common norm.

        The gradients are those by each parameter but the first layers' weights, then those by the products of these.
        """
        product_names = [f"{name}.product" for name in self.first.names]
        rest = {name: of for name, of in self.parameters.items() if name not in self.first_weights}
        shared = dict(self.first.rest.named_buffers()) | self.own_buffers
        buffers = {name: of for name, of in shared.items() if name not in product_names}

        def step(*arguments: Tensor) -> list[Tensor]:
            given = iter(arguments)
            parameters = {name: next(given).detach().requires_grad_() for name in rest}
            products = {name: next(given).detach().requires_grad_() for name in product_names}
            own = products | {name: next(given) for name in buffers}
            loss = {name: next(given) for name in self.loss}
            read, clip = [next(given) for _ in product_names], next(given)
            together = self._together(self.first.rest, own)
            losses, predictions = together(parameters, own, loss, Inputs(*islice(given, 4)), next(given))
            raw = torch.autograd.grad(losses.sum(), [*parameters.values(), *products.values()])
            gradients = clip_gradients(raw[: len(rest)], raw[len(rest) :], read, clip)
            return [losses.detach(), predictions, *gradients]

        own = (*rest.values(), *batch.products, *buffers.values(), *self.loss.values(), *batch.read, self.clip)
        return replay(self.kind, step, [tensor.detach() for tensor in (*own, *batch.inputs, batch.targets)])

    @torch.no_grad()
    def _update(self, batch: Batch, gradients: Sequence[Tensor], ahead: Batch | None) -> None:
        """Head by head, let the optimizer move the parameters, and compute the products with the batch `ahead`."""
        count = len(self.parameters) - len(self.first_weights)
        slopes = [slope.transpose(1, 2).unbind() for slope in gradients[count:]]  # (H, n) of each head
        weights = [self.parameters[name].transpose(1, 2).unbind() for name in self.first_weights]  # (D, H)
        first = {name: torch.empty_like(self.parameters[name][0]) for name in self.first_weights}  # of one head
        following = [products.unbind() for products in ahead.products] if ahead else []
        others = iter([gradient.unbind() for gradient in gradients[:count]])
        in_order = [[first[name]] * len(self.heads) if name in first else next(others) for name in self.parameters]
        for head, (one, own) in enumerate(zip(self.heads, zip(*in_order, strict=True), strict=True)):
            for gradient, slope, x in zip(first.values(), slopes, batch.read, strict=True):
                torch.mm(slope[head], x, out=gradient)
            one.optimizer.move(own)
            if ahead is not None:
                for weight, x, products in zip(weights, ahead.read, following, strict=True):
                    torch.mm(x, weight[head], out=products[head])

    def _together(self, module: nn.Module, buffers: Mapping[str, Tensor]) -> Callable[..., tuple[Tensor, Tensor]]:
        """`_loss` for all heads at once: losses (C,) and predictions (C, B)."""
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
        """One head's loss and its predictions (B,)."""
        config = self.heads[0].config
        parts, logits = functional_call(module, (parameters, buffers), (batch,))
        criterion = Loss(config.loss, gamma=config.gamma, **loss)  # type: ignore[arg-type]
        value = criterion(parts.flatten(0, 1), targets.repeat(parts.shape[0], 1))
        return value, logits.detach().argmax(-1)

    def _score(self, seen: Sequence[tuple[Tensor, Tensor, Tensor]]) -> list[dict[str, float]]:
        """Each head's mean loss and metrics, from the rows (B,), losses (C,) and predictions (C, B) of each batch."""
        true = self.labels[torch.cat([rows for rows, _, _ in seen])].cpu().numpy()
        predicted = torch.cat([predictions for _, _, predictions in seen], 1).cpu().numpy()
        sums = torch.stack([losses * len(rows) for rows, losses, _ in seen]).sum(0).cpu().numpy()
        pairs = zip(sums / len(true), predicted, strict=True)
        return [{"loss": float(mean), **score(true, own, range(self.classes))} for mean, own in pairs]


def clip_gradients(
    gradients: Sequence[Tensor], slopes: Sequence[Tensor], read: Sequence[Tensor], clip: Tensor
) -> list[Tensor]:
    """Scale the gradients of each head down to a norm of at most `clip` (C,), as `clip_grad_norm_` does.

    `gradients` (C, …) are those by parameters; `slopes` (C, n, H) those by the products of first layers, whose inputs
    are `read` (n, D). The gradient by such a layer's weight is G = S^T X, and its squared norm is the sum of
    (S S^T) * (X X^T), so G need not be computed for it.
    """
    squares = [gradient.flatten(1).square().sum(1) for gradient in gradients]
    squares += [((s @ s.transpose(1, 2)) * (x @ x.T)).sum((1, 2)) for s, x in zip(slopes, read, strict=True)]
    norms = torch.stack(squares).sum(0).clamp(min=0).sqrt()  # (C,)
    scale = (clip / (norms + 1e-6)).clamp(max=1)
    return [part.contiguous() * scale.view(-1, *[1] * (part.ndim - 1)) for part in (*gradients, *slopes)]


def logits_of(heads: Sequence[Head], weights: Sequence[Sequence[Tensor]], inputs: RaggedInputs, rows: Tensor) -> Tensor:
    """Logits (C, n, K) of `rows` (n,) by heads of one architecture with these weights, in eval mode.

    Weights are in the order of `parameter_names`.
    """
    skeleton = copy_of(heads[0]).eval()
    stacked = (torch.stack(own) for own in zip(*weights, strict=True))
    parameters = dict(zip(parameter_names(heads[0]), stacked, strict=True))
    own = {name.removeprefix("head."): buffer for name, buffer in own_buffers(heads).items()}
    buffers = dict(skeleton.named_buffers()) | own

    def predict(weights: dict[str, Tensor], buffers: dict[str, Tensor], batch: Inputs) -> Tensor:
        logits: Tensor = functional_call(skeleton, (weights, buffers), (batch,))
        return (logits + buffers["offsets"]).float()

    together = vmap(predict, in_dims=(0, {name: 0 if name in own else None for name in buffers}, None))
    size = max(1, min(EVAL_BATCH, EVAL_ROWS // len(heads))) if rows.device.type == "cpu" else EVAL_BATCH
    with torch.no_grad():
        read = read_batches(inputs, torch.split(rows, size))
        return torch.cat([together(parameters, buffers, batch) for _, batch in read], 1)

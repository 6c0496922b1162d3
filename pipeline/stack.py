"""Heads of one architecture as one: each parameter stacked, a step or a look taken for all of them at once."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

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


class Stack:
    """The heads of one epoch: each parameter stacked, of which the optimisers move the rows."""

    def __init__(self, trainees: Sequence[Trainee], labels: Tensor) -> None:
        self.trainees, self.labels = trainees, labels
        heads = [one.head for one in trainees]
        self.classes = heads[0].dims.classes
        self.skeleton = Parts(copy.deepcopy(heads[0]))  # the module that is run for all of them
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
        self.clips = torch.tensor([one.config.clip or math.inf for one in trainees], device=labels.device)
        self.loss = _stack_losses([one.loss for one in trainees])
        dims = {name: 0 if name in self.own_buffers else None for name, _ in self.skeleton.named_buffers()}
        self._together = vmap(self._loss, in_dims=(0, dims, 0, None, None))
        config = trainees[0].config
        self.kind = structure(self.skeleton), config.loss, config.gamma, tuple(self.own_buffers)

    def run(self, inputs: Inputs, batches: Sequence[Tensor], *, learn: bool) -> list[dict[str, float]]:
        """One pass over batches of row numbers for all heads: each one's mean loss and metrics."""
        self.skeleton.train(learn)
        first = self.trainees[0]
        losses, guesses, truths = [], [], []
        for chosen in batches:
            batch, targets = take(inputs, chosen), as_targets(self.labels[chosen], self.classes)
            if learn:
                count = first.optimiser.count
                set_dropout(self.skeleton, seed=first.config.seed, step=count)
                batch, targets = augment(batch, targets, first.config, count)
            buffers = dict(self.skeleton.named_buffers()) | self.own_buffers
            if learn:
                values, said, norms, *gradients = self._step(buffers, batch, targets)
                self._learn(gradients, norms)
                del gradients  # before the next step, which then writes where these lay in the processor's cache
            else:
                with torch.no_grad():
                    values, said = self._together(self.parameters, buffers, self.loss, batch, targets)
            losses.append(values.detach() * len(chosen))
            guesses.append(said)
            truths.append(self.labels[chosen])
        truth, answers = torch.cat(truths).cpu().numpy(), torch.cat(guesses, 1).cpu().numpy()
        means = torch.stack(losses).sum(0).cpu().numpy() / len(truth)
        pairs = zip(means, answers, strict=True)
        return [{"loss": float(mean), **score(truth, guess, range(self.classes))} for mean, guess in pairs]

    def _step(self, buffers: dict[str, Tensor], batch: Inputs, targets: Tensor) -> Sequence[Tensor]:
        """Every head's loss (C,), guesses (C, B), norm of the gradient (C,), and the gradient of each parameter."""
        names, kinds = list(self.parameters), list(buffers)

        def step(*arguments: Tensor) -> list[Tensor]:
            given = iter(arguments)
            parameters = {name: next(given).detach().requires_grad_() for name in names}
            buffers = {name: next(given) for name in kinds}
            loss = {name: next(given) for name in self.loss}
            values, said = self._together(parameters, buffers, loss, Inputs(*islice(given, 4)), next(given))
            raw = torch.autograd.grad(values.sum(), list(parameters.values()))
            gradients = [part.contiguous() for part in raw]  # laid out as the optimisers read it
            return [values.detach(), said, gradient_norms(gradients), *gradients]

        given = (*self.parameters.values(), *buffers.values(), *self.loss.values(), *batch, targets)
        return replay(self.kind, step, [tensor.detach() for tensor in given])

    def _learn(self, gradients: Sequence[Tensor], norms: Tensor) -> None:
        """Let each head's optimiser move its rows by its part of the gradients (C, …), clipped."""
        excess = (norms + 1e-6) / self.clips  # (C,)
        scales = [scale if too_long else None for scale, too_long in zip(excess, (excess > 1).tolist(), strict=True)]
        parts = zip(*(part.unbind() for part in gradients), strict=True)
        for one, scale, own in zip(self.trainees, scales, parts, strict=True):
            one.optimiser.apply(own, scale)

    def _loss(
        self,
        parameters: dict[str, Tensor],
        buffers: dict[str, Tensor],
        loss: dict[str, Tensor],
        batch: Inputs,
        targets: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """One head's loss and its guesses (B,); under vmap, all heads' at once."""
        config = self.trainees[0].config
        parts, logits = functional_call(self.skeleton, (parameters, buffers), (batch,))
        criterion = Loss(config.loss, gamma=config.gamma, **loss)  # type: ignore[arg-type]
        value = criterion(parts.flatten(0, 1), targets.repeat(parts.shape[0], 1))
        return value, logits.detach().argmax(-1)


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

"""What a process does of a step: its rows of the batch, piece by piece, with the random numbers of the whole."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from pathline._draws import Draws, rand_like
from pathline.objectives import BridgeMatching, Matching
from pathline.train.bins import TimeBins
from pathline.train.config import Settings
from pathline.train.optim import Stepper
from pathline.train.order import derive_seed
from pathline.train.processes import Processes, share_of


class Share:
    """The loss of a step by the rows that are this process's, in ``accumulate`` pieces.

    The pieces of all processes are weighed so that the average over the processes of their gradients is the gradient of
    the mean over the batch. Objectives of ours draw for the whole batch and take their rows (`Draws`), so noise, times
    and dropped labels do not depend on how the batch is divided; one of the user's draws for each piece anew, from a
    generator of the process.
    """

    def __init__(
        self, settings: Settings, processes: Processes, stepper: Stepper, bins: TimeBins, objective: Any,
        cell: "Tensor | None",
    ) -> None:  # fmt: skip
        total, device = settings.batch_size, processes.device
        if total < processes.count * settings.accumulate:
            raise ValueError(
                f"batch_size {total} is the samples of a step over all processes: it must be at least "
                f"{processes.count * settings.accumulate}, one for each piece of {processes.count} processes"
            )
        self.rows = processes.rows(total)
        own = self.rows.stop - self.rows.start
        self.pieces = [share_of(own, k, settings.accumulate) for k in range(settings.accumulate)]
        self._weights = [(piece.stop - piece.start) * processes.count / total for piece in self.pieces]
        self.ours = isinstance(objective, Matching | BridgeMatching)
        self._seed, self._rank = settings.seed, processes.rank
        self.generator = torch.Generator(device)
        self.seed_generator()
        self._one = len(self.pieces) == 1
        divided = (self.ours and own < total) or not self._one
        self._draws = Draws(self.generator, total, self.rows) if self.ours and divided else None
        self._stepper, self._bins, self._cell = stepper, bins, cell
        self._weighed = [weight != 1.0 for weight in self._weights]

    def seed_generator(self, *more: int) -> None:
        """Begin the numbers anew: those of all processes together, or of each its own where the objective is the user's."""
        own = () if self.ours or self._rank == 0 else (self._rank,)
        self.generator.manual_seed(derive_seed(self._seed, "noise", *own, *(more if own else ())))

    def loss(
        self, objective: Any, net: nn.Module, step: int, x_1: Tensor, given: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """(the loss of the last piece, which is left to propagate, the loss of all pieces)."""
        if self._one:
            loss = self._of_piece(0, objective, net, step, x_1, given)
            return loss, loss
        seen = None
        for k, piece in enumerate(self.pieces):
            last = k == len(self.pieces) - 1
            with nullcontext() if last else _unshared(net):
                cut = {name: value[piece] for name, value in given.items()}
                loss = self._of_piece(k, objective, net, step, x_1[piece], cut)
                seen = loss.detach() if seen is None else seen + loss.detach()
                if not last:
                    self._stepper.propagate(loss)
        return loss, seen  # pyright: ignore[reportPossiblyUnboundVariable, reportReturnType]

    def _of_piece(
        self, k: int, objective: Any, net: nn.Module, step: int, x_1: Tensor, given: dict[str, Tensor]
    ) -> Tensor:
        generator: Any = self.generator
        if self._draws is not None:
            if k == 0:
                self._draws.begin()
            generator = self._draws.part(self.pieces[k])
        with self._stepper.forward_precision():
            if self._cell is not None:
                x_1 = x_1 + self._cell * (rand_like(x_1, generator) - 0.5)
            if self._bins.due(step, objective):
                loss = self._bins.loss(objective, net, x_1, given, generator)
            else:
                loss = objective(net, x_1, generator=generator, **given)
        return loss * self._weights[k] if self._weighed[k] else loss


def _unshared(net: nn.Module) -> "AbstractContextManager[object]":
    """Gradients stay in this process; sharded ones are always shared out, which is what saves memory."""
    return net.no_sync() if isinstance(net, nn.parallel.DistributedDataParallel) else nullcontext()

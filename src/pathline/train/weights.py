"""The nets of a trainer: what is trained, its averages, and how they are spread over the processes."""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pathline.train import checkpoint
from pathline.train.averages import Averages
from pathline.train.checks import check_first_batch, own_randomness
from pathline.train.config import Settings
from pathline.train.optim import Stepper, make_ema
from pathline.train.parallel import (
    agree_on,
    check_sharding,
    compile_net,
    make_lean,
    never_reached,
    replicate,
    shard,
    whole_state,
)
from pathline.train.processes import Processes

Given = tuple[Tensor, dict[str, Tensor]]


class Weights:
    """``net`` made ready to train on samples like those of ``first``, in place, with averages and optimiser.

    Attributes:
        called: what the objective calls: the net, or what shares its gradients with the other processes.
        ema, averages: the average that samples, and the others; every process keeps them.
        stepper: the optimiser.
    """

    def __init__(
        self, net: nn.Module, objective: Any, first: Given, classes: "int | None", settings: Settings,
        processes: Processes,
    ) -> None:  # fmt: skip
        if settings.shard:
            check_sharding(settings, processes)
        else:
            net.to(processes.device)  # shards move by themselves: the net as a whole may not fit
        agree_on(net, processes)
        make_lean(net, settings, tuple(first[0].shape[1:]))
        if not settings.shard:
            check_first_batch(net, objective, first, classes)
        self.net, self.called = net, net
        self.ema = make_ema(net, settings, lambda: self.stepper.optimizer)
        self.averages = Averages(net, settings.ema_also, every=settings.ema_every, snapshots=settings.ema_snapshots)
        self._plain = copy.deepcopy(net).requires_grad_(False).eval() if settings.shard else None
        if settings.compile:
            compile_net(net, settings)
        if settings.shard:
            shard([net, self.ema.net, *(average.net for average in self.averages.all)], processes)
            check_first_batch(net, objective, first, classes)
            net.reshard()  # pyright: ignore[reportCallIssue]  # without a backward pass the root stays whole
        elif processes.count > 1:
            self.called = replicate(net, processes, unused=_some_unused(net, objective, first))
        self.stepper = Stepper(net, settings, processes.device)

    @property
    def averaged(self) -> nn.Module:
        """The net with the averaged weights; of a sharded one a copy on the CPU, as it was at the last `gather`."""
        return self.ema.net if self._plain is None else self._plain

    def gather(self) -> None:
        """Put the averaged weights of a sharded net together, which all processes do at once."""
        if self._plain is not None:
            state = whole_state(self.ema.net.state_dict(), keep=True)
            checkpoint.copy_state(self._plain.state_dict(), state, Path("the averaged weights"))


def _some_unused(net: nn.Module, objective: Any, first: Given) -> bool:
    """Whether some weights get no gradient on a first batch, so that the others must not be made to wait for it."""
    x, rest = first
    was = net.training
    net.eval()
    with own_randomness(0):
        generator = torch.Generator(x.device).manual_seed(0)
        missed = never_reached(net, lambda: objective(net, x, generator=generator, **rest))
    net.train(was)
    return missed

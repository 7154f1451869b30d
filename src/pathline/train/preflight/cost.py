"""What training will cost: memory at this batch size, and time."""

import copy
import time
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pathline.data.headers import free_memory
from pathline.train.ema import EMA
from pathline.train.optim import Stepper
from pathline.train.preflight.batch import Given, batch_of
from pathline.train.preflight.finding import Finding

if TYPE_CHECKING:
    from pathline.data import Dataset
    from pathline.train.loop import Trainer

BUDGET = 0.6
"""Seconds after which steps are no longer timed."""
STEPS = 12
FEWEST = 3
PAIR = (2, 6)
"""Batch sizes at which activations are counted."""
TIGHT = 0.9


def activations(net: nn.Module, objective: Any, given: Given) -> int:
    """Bytes that the backward pass keeps of the forward pass of a batch: each storage once, weights and batch not."""
    known = {value.untyped_storage().data_ptr() for value in (*net.parameters(), *net.buffers())}
    kept: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return x

    x_1, rest = given
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        objective(net, x_1, generator=torch.Generator(x_1.device).manual_seed(0), **rest)
    return sum(kept.values())


def nbytes(values: Any) -> int:
    """Bytes of tensors."""
    return sum(v.numel() * v.element_size() for v in values)


def look_at_cost(trainer: "Trainer", objective: Any, seen: "Dataset") -> list[Finding]:
    """Findings on memory and time, measured on a copy of the net; nothing of the training is touched."""
    settings, device = trainer.settings, trainer.loss_sum.device
    net = copy.deepcopy(trainer.net).train()
    small, large = (activations(net, objective, batch_of(trainer, n, seen)) for n in PAIR)
    each = max(0, large - small) / (PAIR[1] - PAIR[0])
    piece = -(-settings.batch_size // (trainer.processes.count * settings.accumulate))
    passing = small + each * (piece - PAIR[0])
    weights = nbytes([*net.parameters(), *net.buffers()])
    gradients = nbytes(p for p in net.parameters() if p.requires_grad)
    averages = weights * (1 + len(trainer.averages.all))
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()
    guess = passing + gradients * 3 + averages
    if free is not None and guess > TIGHT * free:
        told = f"about {_size(guess)} at pieces of {piece} samples, {_size(free)} are free"
        fits = int((TIGHT * free - (guess - passing)) / max(each, 1.0))
        remedy = f"--accumulate {-(-piece // fits) * settings.accumulate}" if fits >= 1 else "take a smaller network"
        return [
            Finding(level="warning", about="memory", seen=told, remedy=remedy),
            Finding(level="note", about="time", seen="not measured, for want of memory"),
        ]
    seconds, states = _steps(trainer, net, objective, batch_of(trainer, piece, seen))
    seconds *= settings.accumulate
    total = passing + weights + gradients + averages + states
    told = (
        f"{_size(total)} besides the data: activations {_size(passing)} of {piece} samples, weights, gradients, "
        f"optimiser and averages {_size(total - passing)}" + ("" if free is None else f"; {_size(free)} are free")
    )
    left = max(0, settings.steps - trainer.step)
    fine = f"{1e3 * seconds:.3g} ms a step: {_duration(left * seconds)} for {left:,} steps on this {device.type}"
    if settings.compile or trainer.processes.count > 1:
        fine += ", not compiled and without the other processes"
    return [Finding(level="ok", about="memory", seen=told), Finding(level="ok", about="time", seen=fine)]


def _steps(trainer: "Trainer", net: nn.Module, objective: Any, given: Given) -> tuple[float, int]:
    """(median seconds of a step, bytes of the optimiser's state) of a few steps of ``net``, which is changed by them."""
    device = trainer.loss_sum.device
    stepper = Stepper(net, trainer.settings, device)
    average = EMA(net, trainer.settings.ema, every=trainer.settings.ema_every)
    generator = torch.Generator(device).manual_seed(0)
    x_1, rest = given
    begin, taken = time.perf_counter(), []
    for k in range(STEPS):
        start = time.perf_counter()
        with stepper.forward_precision():
            loss = objective(net, x_1, generator=generator, **rest)
        stepper(loss, k)
        average.update(k + 1)
        stepper.kept(loss).item()
        now = time.perf_counter()
        taken.append(now - start)
        if k + 1 >= FEWEST and now - begin > BUDGET:
            break
    taken = sorted(taken[1:])  # the first one makes the optimiser's state
    optimizer: Any = stepper.optimizer
    states = [v for entry in _states(optimizer) for v in entry.values() if isinstance(v, Tensor)]
    return taken[len(taken) // 2], nbytes(states)


def _states(optimizer: Any) -> list[dict[str, Any]]:
    return list(optimizer.state_dict()["state"].values())


def _size(n: float) -> str:
    return f"{n / 2**30:.1f} GiB" if n >= 2**30 else f"{n / 2**20:.1f} MiB" if n >= 2**20 else f"{n / 2**10:.0f} KiB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"

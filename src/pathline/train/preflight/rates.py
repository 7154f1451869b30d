"""A learning rate and a batch size, measured on a copy of the network."""

import copy
import time
from typing import Any

import torch
from torch import nn

from pathline.train.preflight.batch import Given

FIRST, FACTOR, LAST = 3e-5, 1.35, 1.0
"""The rates that are tried."""
RISE = 1e-3
"""Relative rise of the loss that counts as one."""
PARTS, PART = 8, 32
"""Batches of the gradient noise scale, and their size."""
DEAR = 2.0
"""Times the cost of the smallest batch that a larger one may have."""


def highest_rate(net: nn.Module, objective: Any, given: Given, betas: tuple[float, float]) -> "float | None":
    """The rate up to which each step of AdamW lowers the loss of one batch, its noise and times held fixed; trains ``net``.

    The rate grows by 1.35 a step. The first step that raises the loss has overshot: the rate is past what the curvature
    allows (range test: Smith 2017; Adam's edge of stability: Cohen et al. 2022). None if no step does.
    """
    x_1, rest = given
    weights = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=FIRST, betas=betas, weight_decay=0.0)
    rate, before = FIRST, float("inf")
    while rate < LAST:
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = objective(net, x_1, generator=torch.Generator(x_1.device).manual_seed(0), **rest)
        now = float(loss.detach())
        if not now < before * (1.0 + RISE):
            return rate / FACTOR**2  # what was stepped with before the step that raised it
        before = now
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        rate *= FACTOR
    return None


def noise_scale(net: nn.Module, objective: Any, batches: "list[Given]") -> "float | None":
    """tr(cov of the gradient of a sample) over the squared norm of its mean: the batch from which on noise is the lesser part.

    From the gradients of equal ``batches``, by the unbiased estimators of McCandlish et al. (2018, appendix A.1). None where the
    mean is lost in the noise.
    """
    net = copy.deepcopy(net)
    weights = [p for p in net.parameters() if p.requires_grad]
    total: list[torch.Tensor] = []
    small = 0.0
    for k, (x_1, rest) in enumerate(batches):
        loss = objective(net, x_1, generator=torch.Generator(x_1.device).manual_seed(k), **rest)
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        flat = [torch.zeros_like(p) if g is None else g for p, g in zip(weights, gradients)]
        small += sum(float(g.double().square().sum()) for g in flat) / len(batches)
        total = flat if not total else [a + g for a, g in zip(total, flat)]
    size, count = len(batches[0][0]), len(batches)
    large = sum(float((g.double() / count).square().sum()) for g in total)
    signal = (count * large - small) / (count - 1)  # (B |G_B|² - b |G_b|²)/(B - b) with B = count b
    noise = (small - large) / (1.0 / size - 1.0 / (size * count))
    return noise / signal if signal > 0.0 and noise > 0.0 else None


def cheap_batch(net: nn.Module, objective: Any, given: Given, smallest: int) -> int:
    """The largest batch of ``smallest``, 2 ``smallest``, … samples whose step takes at most twice as long as that of the smallest.

    Timed on this machine, forward and backward; at most the samples in ``given``.
    """
    weights = [p for p in net.parameters() if p.requires_grad]
    x_1, rest = given

    def seconds(n: int) -> float:
        taken = []
        for k in range(3):
            begin = time.perf_counter()
            cut = {name: value[:n] for name, value in rest.items()}
            loss = objective(net, x_1[:n], generator=torch.Generator(x_1.device).manual_seed(k), **cut)
            torch.autograd.grad(loss, weights, allow_unused=True)
            float(loss.detach())
            taken.append(time.perf_counter() - begin)
        return min(taken)

    size, base = smallest, seconds(smallest)
    while 2 * size <= len(x_1) and seconds(2 * size) <= DEAR * base:
        size *= 2
    return size

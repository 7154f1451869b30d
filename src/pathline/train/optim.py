"""The optimiser and its learning rate."""

import math

import torch
from torch import nn

from pathline.train.config import Settings


def rate_at(step: int, settings: Settings) -> float:
    """The learning rate of step 0, 1, …, steps - 1.

    lr (step + 1)/warmup while that is below lr; then lr (e + (1 - e)(1 + cos(pi u))/2) with e = lr_end and u the
    share of the remaining steps that is done, or lr itself for decay="constant".
    """
    if step + 1 < settings.warmup:
        return settings.lr * (step + 1) / settings.warmup
    if settings.decay == "constant":
        return settings.lr
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(max(done, 0.0), 1.0)))
    return settings.lr * (settings.lr_end + (1.0 - settings.lr_end) * cosine)


def make_optimizer(net: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """AdamW with one kernel per step; weight decay on matrices alone."""
    trained = [p for p in net.parameters() if p.requires_grad]
    groups = [{"params": trained}]
    if settings.weight_decay:
        matrices = [p for p in trained if p.ndim >= 2]
        groups = [
            {"params": matrices},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay, fused=_can_fuse(trained),
    )  # fmt: skip


def _can_fuse(parameters: list[nn.Parameter]) -> bool:
    kinds = {p.device.type for p in parameters}
    return kinds <= {"cpu", "cuda"} and all(p.is_floating_point() for p in parameters)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group the learning rate ``rate``."""
    for group in optimizer.param_groups:
        group["lr"] = rate

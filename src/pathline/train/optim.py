"""The optimiser: learning rate, clipping, mixed precision."""

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

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


class Stepper:
    """One optimiser step from one loss: backward, clip, move, forget the gradients.

    Mixed precision runs the forward pass under autocast; fp16 scales the loss and skips steps that overflow.
    """

    def __init__(self, net: nn.Module, settings: Settings, device: torch.device) -> None:
        self.settings = settings
        self.optimizer = make_optimizer(net, settings)
        self._weights = [p for p in net.parameters() if p.requires_grad]
        self._device = device.type
        self._dtype = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}[settings.precision]
        if self._dtype is torch.float16 and device.type == "cpu":
            raise ValueError("precision 'fp16' needs a GPU: use 'bf16' or 'no' on the CPU")
        self.scaler = torch.amp.GradScaler(device.type) if self._dtype is torch.float16 else None

    def forward_precision(self) -> "AbstractContextManager[object]":
        """The context in which the loss is computed."""
        return nullcontext() if self._dtype is None else torch.autocast(self._device, dtype=self._dtype)

    def __call__(self, loss: Tensor, step: int) -> "Tensor | None":
        """Take step ``step``; the norm of the gradient before clipping, or None if nothing is clipped."""
        optimizer, scaler, clip = self.optimizer, self.scaler, self.settings.clip
        rate = rate_at(step, self.settings)
        for group in optimizer.param_groups:
            group["lr"] = rate
        if scaler is None:
            loss.backward()
        else:
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
        norm = None if clip is None else nn.utils.clip_grad_norm_(self._weights, clip)
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()
        optimizer.zero_grad(set_to_none=True)
        return norm

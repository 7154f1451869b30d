"""One step of training: learning rate, clipping, mixed precision, gradients that are refused."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from pathline.train.config import Settings
from pathline.train.ema import EMA
from pathline.train.optimizers import Together, make_optimizer
from pathline.train.parallel import whole
from pathline.train.precision import half, mixed

SETTLED = 20
"""Accepted steps before the size of gradients is known well enough to call one a spike."""
FORGET = 0.01
"""Share of the newest gradient norm in their running mean."""


def rate_at(step: int, settings: Settings) -> float:
    """The learning rate of step 0, 1, …, steps - 1.

    lr (step + 1)/warmup while that is below lr. Then, with e = lr_end and u the share of the remaining steps that is
    done, "cosine": lr (e + (1 - e)(1 + cos(pi u))/2); "linear": lr (e + (1 - e)(1 - u)); "inverse_sqrt":
    lr max(e, sqrt(w/(step + 1))) with w = max(warmup, 1); "constant": lr.
    """
    if step + 1 < settings.warmup:
        return settings.lr * (step + 1) / settings.warmup
    if settings.decay == "constant":
        return settings.lr
    if settings.decay == "inverse_sqrt":
        return settings.lr * max(settings.lr_end, math.sqrt(max(settings.warmup, 1) / (step + 1)))
    done = min(max((step - settings.warmup) / max(1, settings.steps - settings.warmup), 0.0), 1.0)
    left = 1.0 - done if settings.decay == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
    return settings.lr * (settings.lr_end + (1.0 - settings.lr_end) * left)


class Stepper:
    """One optimiser step from one loss: backward, clip, move, forget the gradients.

    Mixed precision runs the forward pass under autocast; fp16 scales the loss. A step whose gradient has NaN or
    infinity, or with ``skip_above`` a norm so many times its running mean, moves nothing and is counted.
    """

    def __init__(self, net: nn.Module, settings: Settings, device: torch.device) -> None:
        self.settings = settings
        self.optimizer = make_optimizer(net, settings)
        self._weights = [p for p in net.parameters() if p.requires_grad]
        self._device = device
        in_fp16 = half(settings.precision, device) is torch.float16
        self.scaler = torch.amp.GradScaler(device.type) if in_fp16 else None
        if self.scaler is not None and isinstance(self.optimizer, Together):
            raise ValueError("precision 'fp16' works with one optimiser at a time: use bf16 with muon")
        self.taken, self.usual = 0, 0.0
        """Steps taken, and the running mean of their gradient norms; kept with ``skip_above``."""
        self.counts = torch.zeros(2, device=device)
        """Steps refused in all, and those in a row just now."""
        fused = isinstance(self.optimizer, torch.optim.AdamW | torch.optim.Adam) and device.type == "cuda"
        # the fused kernel can be told on the device to move nothing, so the host need not wait for the verdict
        self._tells_kernel = fused and self.scaler is None and settings.skip_above is None and not settings.shard
        self._nothing = torch.zeros((), device=device)
        self._refused: Tensor | bool = False

    def forward_precision(self) -> "AbstractContextManager[object]":
        """The context in which the loss is computed."""
        return mixed(self.settings.precision, self._device)

    def __call__(self, loss: Tensor, step: int) -> Tensor:
        """Take step ``step``; the norm of the gradient before clipping."""
        optimizer: Any = self.optimizer
        rate = rate_at(step, self.settings)
        for group in optimizer.param_groups:
            group["lr"] = rate
        self.propagate(loss)
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)
        clip = math.inf if self.settings.clip is None else self.settings.clip
        norm = whole(nn.utils.clip_grad_norm_(self._weights, clip, foreach=True))
        if self._tells_kernel:
            self._refused = refused = ~norm.isfinite()
            self.counts.add_(1.0).mul_(torch.stack([torch.ones_like(refused), refused]))
            self.counts[0] -= (~refused).float()
            optimizer.grad_scale, optimizer.found_inf = None, refused.float()
            optimizer.step()
        else:
            self._refused = self._judge(norm.item())
            if self.scaler is not None:  # which skips by itself what overflows
                self.scaler.step(optimizer)
                self.scaler.update()
            elif not self._refused:
                optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return norm

    def propagate(self, loss: Tensor) -> None:
        """Add the gradients of ``loss`` to those that are there."""
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()

    def _judge(self, norm: float) -> bool:
        """Whether a step of this gradient norm is refused, and the counts brought up to date."""
        above = self.settings.skip_above
        refused = not math.isfinite(norm) or (above is not None and self.taken >= SETTLED and norm > above * self.usual)
        if refused:
            self.counts += 1.0
        else:
            if self._refused:
                self.counts[1] = 0.0
            self.taken += 1
            self.usual += max(1.0 / self.taken, FORGET) * (norm - self.usual)
        return refused

    def kept(self, loss: Tensor) -> Tensor:
        """``loss`` of the step that was taken, 0 if it was refused."""
        if isinstance(self._refused, Tensor):
            return torch.where(self._refused, self._nothing, loss.detach())
        return self._nothing if self._refused else loss.detach()

    @property
    def skipped(self) -> int:
        """Steps refused so far; waits for the device."""
        return int(self.counts[0])

    def state(self) -> dict[str, float]:
        """Plain values from which the counting goes on; `restore` takes them back."""
        total, row = self.counts.tolist()
        return {"skipped": total, "in_a_row": row, "taken": float(self.taken), "usual": self.usual}

    def restore(self, state: dict[str, float]) -> None:
        """Go on from a `state`."""
        self.counts.copy_(torch.tensor([state["skipped"], state["in_a_row"]]))
        self.taken, self.usual = int(state["taken"]), state["usual"]
        self._refused = state["in_a_row"] > 0

    @property
    def stuck(self) -> "str | None":
        """Why training should end: too many refused steps in a row; waits for the device."""
        row = int(self.counts[1])
        if row < self.settings.skip_limit or (self.scaler is not None and row < 40):  # while the scale comes down
            return None
        return f"{row} steps in a row were skipped for their gradients, the limit is {self.settings.skip_limit}"


def make_ema(net: nn.Module, settings: Settings, optimizer: Callable[[], Any]) -> "EMA | ScheduleFreeAverage":
    """The average that samples: that of the optimiser, which is made later, where it keeps one."""
    if settings.optimizer.split("(")[0].strip() == "schedule_free":
        return ScheduleFreeAverage(net, optimizer)
    return EMA(net, settings.ema, every=settings.ema_every)


class ScheduleFreeAverage:
    """x = y + (z - y)(1 - 1/beta): the average of schedule-free training, from what is trained, y, and its iterate z."""

    def __init__(self, net: nn.Module, optimizer: Callable[[], Any]) -> None:
        self._optimizer, self._trained = optimizer, net
        self._average = EMA(net, 0.0)

    def update(self, k: int) -> None:
        """Nothing: the average is computed when it is asked for."""

    @property
    def net(self) -> nn.Module:
        """The net with the averaged weights."""
        self._average.update(1)
        kept = dict(self._average.net.named_parameters())
        names = {id(p): name for name, p in self._trained.named_parameters()}
        with torch.no_grad():
            optimizer = self._optimizer()
            for group in optimizer.param_groups:
                for p in group["params"]:
                    state = optimizer.state[p]
                    if "z" in state:
                        kept[names[id(p)]].copy_(p.lerp(state["z"], 1.0 - 1.0 / group["betas"][0]))
        return self._average.net

"""A moving average of the weights, which samples better than the weights themselves."""

import copy

import torch
from torch import Tensor, nn


class EMA:
    """average <- d_k average + (1 - d_k) weights after step k = 1, 2, …, with d_k = min(decay, k/(k + 9)).

    The warm-up d_k forgets the start: while it lasts, the average spans about the last tenth of the run
    (TensorFlow's (1 + k)/(10 + k), one step earlier). ``decay`` 0 copies the weights. Buffers are copied.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self.net = copy.deepcopy(net).requires_grad_(False).eval()
        self._pairs = _matching(self.net, net, floating=True)
        self._copies = _matching(self.net, net, floating=False)

    def decay_at(self, k: int) -> float:
        """d_k."""
        return min(self.decay, k / (k + 9.0))

    @torch.no_grad()
    def update(self, k: int) -> None:
        """Average in the weights after step ``k``, counted from 1: in place, one fused call."""
        average, weights = self._pairs
        torch._foreach_lerp_(average, weights, 1.0 - self.decay_at(k))
        for kept, given in zip(*self._copies):
            kept.copy_(given)


def _matching(average: nn.Module, net: nn.Module, *, floating: bool) -> tuple[list[Tensor], list[Tensor]]:
    """Trained floating parameters of both modules, or all the rest of their state."""
    ours, theirs = average.state_dict(keep_vars=True), net.state_dict(keep_vars=True)
    chosen = [
        name
        for name, value in theirs.items()
        if (isinstance(value, nn.Parameter) and value.is_floating_point()) == floating
    ]
    return [ours[name].detach() for name in chosen], [theirs[name].detach() for name in chosen]

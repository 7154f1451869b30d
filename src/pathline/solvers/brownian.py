"""Brownian paths that stay the same under refinement: a virtual tree of Lévy bridges over hashed seeds (theory T5, T6).

W is fixed at both ends of its interval and filled in at midpoints: given W_a and W_b, the midpoint is
N((W_a + W_b)/2, (b - a)/4). The normal at a node of this binary tree is a hash of (seed of the sample, node, entry), so
that nothing is stored, W_t does not depend on which times were asked for before, and sample i does not depend on the batch.
The hash is the finaliser of splitmix64 (Steele, Lea and Flood 2014).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pathline._draws import home
from pathline.solvers.base import Noise

_GOLDEN, _FIRST, _SECOND = (value - 2**64 for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_BITS = 32
"""Times are rounded to this many binary places of the interval; a query descends at most so deep."""
BLOCK = 2**20
"""Normals that are made at once."""


def _shift(z: Tensor, places: int) -> Tensor:
    """z >> places without its sign: int64 stands for unsigned 64-bit words."""
    return (z >> places) & ((1 << (64 - places)) - 1)


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * _FIRST
    z = (z ^ _shift(z, 27)) * _SECOND
    return z ^ _shift(z, 31)


class BrownianTree(Noise):
    """Brownian motion on [start, end], one independent path per sample and entry, as the noise of a stochastic solver.

    The same object, or another one of the same ``seeds`` (one per sample) or generator seed, gives the same path to any
    grid of times, so strong errors under refinement can be measured. Raises ValueError outside [start, end].
    """

    def __init__(
        self,
        seeds: Sequence[int] | None = None,
        *,
        generator: torch.Generator | None = None,
        start: float = 0.0,
        end: float = 1.0,
    ) -> None:
        if not start < end:
            raise ValueError(f"need start < end, got {start} and {end}")
        if seeds is not None and generator is not None:
            raise ValueError("give seeds or generator, not both: a generator draws the seeds")
        self.start, self.end = float(start), float(end)
        self.generator, self.streams = generator, None
        self.seeds = None if seeds is None else torch.tensor([int(seed) for seed in seeds])
        self._root = torch.randint(2**62, (), generator=generator, device=home(generator)).cpu()
        self._last: tuple[float, Tensor] | None = None

    def normal(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """(W_s - W_t)/sqrt|s - t|, shape of x."""
        a, b = float(t), float(s)
        if a == b:
            raise ValueError(f"an increment needs two different times, got {a} twice")
        return (self.at(x, b) - self.at(x, a)) / math.sqrt(abs(b - a))

    def at(self, x: Tensor, t: "Tensor | float") -> Tensor:
        """W_t, zero at ``start``; shape, dtype and device of x."""
        time = float(t)
        last = self._last
        if last is not None and last[0] == time and last[1].shape == x.shape and last[1].dtype == x.dtype:
            return last[1].to(x.device)
        value = self._descend(x, self._place(time)).to(x.dtype)
        self._last = time, value
        return value

    def _place(self, time: float) -> float:
        """``time`` as a binary fraction of the interval."""
        place = (time - self.start) / (self.end - self.start)
        if not -1e-12 <= place <= 1.0 + 1e-12:
            raise ValueError(f"the tree spans [{self.start}, {self.end}], got the time {time}: give start= and end=")
        return round(min(max(place, 0.0), 1.0) * 2**_BITS) / 2**_BITS

    def _descend(self, x: Tensor, place: float) -> Tensor:
        keys = self._keys(x)
        turns = _turns(place)
        width = self.end - self.start
        left = torch.zeros(x.shape, dtype=torch.float64, device=x.device)
        right = math.sqrt(width) * _normals(keys, [0])[0].reshape(x.shape)
        block = max(1, BLOCK // max(1, keys.numel()))
        for first in range(0, len(turns), block):
            part = turns[first : first + block]
            for (_, side), z in zip(part, _normals(keys, [node for node, _ in part]), strict=True):
                middle = 0.5 * (left + right) + 0.5 * math.sqrt(width) * z.reshape(x.shape)
                left, right = (left if side <= 0 else middle), (right if side > 0 else middle)
                width *= 0.5
        return right if place > 0.0 else left

    def _keys(self, x: Tensor) -> Tensor:
        """A 64-bit key per sample and entry, (B, n)."""
        if self.seeds is None:
            seeds = self._root + torch.arange(len(x))
        elif len(self.seeds) == len(x):
            seeds = self.seeds
        else:
            raise ValueError(f"seeds must have one entry per sample, {len(x)}, got {len(self.seeds)}")
        entries = torch.arange(1, math.prod(x.shape[1:]) + 1, device=x.device)
        return _mix(_mix(seeds.to(x.device) * _GOLDEN + _FIRST)[:, None] + entries * _GOLDEN)


def _turns(place: float) -> list[tuple[int, int]]:
    """The nodes on the way down to ``place``, numbered as in a heap, and the side taken at each: -1, 1, or 0 to stop there."""
    turns, node = [], 1
    while 0.0 < place < 1.0:
        side = (place > 0.5) - (place < 0.5)
        turns.append((node, side))
        if side == 0:
            break
        place, node = (2.0 * place, 2 * node) if side < 0 else (2.0 * place - 1.0, 2 * node + 1)
    return turns


def _normals(keys: Tensor, nodes: list[int]) -> Tensor:
    """Unit normals of the ``nodes``, float64 (nodes, *keys.shape): the inverse distribution function of 53 hashed bits."""
    salt = _mix((torch.tensor(nodes, device=keys.device) * 2 + 1) * _GOLDEN)
    bits = _shift(_mix(keys ^ salt.reshape(-1, *(1,) * keys.ndim)), 11)
    return torch.special.ndtri((bits.double() + 0.5) * 2.0**-53)

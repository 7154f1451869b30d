"""Moving averages of the weights, which sample better than the weights themselves."""

import copy
import math
import re
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from pathline.train.parallel import mine
from pathline.train.spec import build, split_spec


@dataclass(frozen=True)
class Exponential:
    """d_k = min(decay, k/(k + 9)): the warm-up forgets the start.

    While it lasts, the average spans about the last tenth of the run (TensorFlow's (1 + k)/(10 + k), one step
    earlier). ``decay`` 0 copies the weights.
    """

    decay: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.decay < 1.0:
            raise ValueError(f"the decay of an average must lie in [0, 1), got {self.decay}")

    def kept(self, before: int, k: int) -> float:
        """What is left after step ``k`` of the average as of step ``before``: the product of d_j, before < j <= k."""
        return math.prod(min(self.decay, j / (j + 9.0)) for j in range(before + 1, k + 1))

    @property
    def label(self) -> str:
        """How the average is called in files."""
        return f"{self.decay:g}"


@dataclass(frozen=True)
class Power:
    """Weight of step tau in the average of t steps: (gamma + 1) tau^gamma / t^(gamma + 1) (EDM2, arXiv 2312.02696).

    The profile grows with the run: its standard deviation is the share ``sigma_rel`` of the steps done, 0.05 or 0.1
    as a rule. sigma_rel² = (gamma + 1)/((gamma + 2)² (gamma + 3)) tells gamma, which must be at least 0.
    """

    sigma_rel: float

    def __post_init__(self) -> None:
        if not 0.0 < self.sigma_rel <= 12.0**-0.5:
            raise ValueError(f"sigma_rel must lie in (0, {12**-0.5:.4f}], got {self.sigma_rel}")

    @cached_property
    def gamma(self) -> float:
        """The exponent: the largest root of sigma_rel² (gamma + 2)² (gamma + 3) = gamma + 1."""
        import numpy as np

        # with u = 1/sigma_rel²: gamma³ + 7 gamma² + (16 - u) gamma + 12 - u = 0
        u = self.sigma_rel**-2
        roots = np.roots([1.0, 7.0, 16.0 - u, 12.0 - u])
        return max(0.0, float(roots.real.max()))

    def kept(self, before: int, k: int) -> float:
        """(before/k)^(gamma + 1): summed up over the steps, the profile above."""
        return (before / k) ** (self.gamma + 1.0)

    @property
    def label(self) -> str:
        """How the average is called in files."""
        return f"power-{self.sigma_rel:g}"


Law = Exponential | Power
LAWS: dict[str, type[Exponential] | type[Power]] = {"exponential": Exponential, "power": Power}


def make_law(text: str) -> Law:
    """``"0.999"``, ``"exponential(0.999)"`` or ``"power(0.1)"``."""
    try:
        return Exponential(float(text))
    except ValueError:
        if split_spec("average", text)[0] not in LAWS and re.fullmatch(r"[-+.\deE]+", text.strip()):
            raise
    return build("average", text, LAWS)


def make_laws(text: str) -> tuple[Law, ...]:
    """Laws from a list such as ``"0.99, power(0.05), power(0.1)"``; empty for none."""
    found = tuple(make_law(part.strip()) for part in re.split(r",(?![^(]*\))", text) if part.strip())
    labels = [law.label for law in found]
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(f"the average {label} is listed twice in {text!r}")
    return found


class EMA:
    """average <- d average + (1 - d) weights after step k = 1, 2, …, with d by a law, for instance min(decay, k/(k + 9)).

    With ``every`` > 1 only each such step is averaged in, and d is the product over the steps between: the same
    horizon for less work. Buffers are copied.
    """

    def __init__(self, net: nn.Module, law: "float | Law", *, every: int = 1) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        self.law: Law = law if isinstance(law, Exponential | Power) else Exponential(law)
        self.every = every
        self.net = copy.deepcopy(net).requires_grad_(False).eval()
        self._of = net

    def decay_at(self, k: int) -> float:
        """d of the step ``k``, a multiple of ``every``."""
        return self.law.kept(k - self.every, k)

    @cached_property
    def _pairs(self) -> tuple[list[Tensor], list[Tensor]]:
        return matching(self.net, self._of, floating=True)  # late: the nets may be sharded after the copy is made

    @cached_property
    def _copies(self) -> tuple[list[Tensor], list[Tensor]]:
        return matching(self.net, self._of, floating=False)

    @torch.no_grad()
    def update(self, k: int) -> None:
        """Average in the weights after step ``k``, counted from 1: in place, one fused call."""
        if k % self.every:
            return
        average, weights = self._pairs
        torch._foreach_lerp_(average, weights, 1.0 - self.decay_at(k))
        for kept, given in zip(*self._copies):
            kept.copy_(given)


def matching(average: nn.Module, net: nn.Module, *, floating: bool) -> tuple[list[Tensor], list[Tensor]]:
    """Trained floating parameters of both modules, or all the rest of their state; of sharded ones, the shards."""
    ours, theirs = average.state_dict(keep_vars=True), net.state_dict(keep_vars=True)
    chosen = [
        name
        for name, value in theirs.items()
        if (isinstance(value, nn.Parameter) and value.is_floating_point()) == floating
    ]
    return [mine(ours[name].detach()) for name in chosen], [mine(theirs[name].detach()) for name in chosen]

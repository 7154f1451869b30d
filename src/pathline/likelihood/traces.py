"""The divergence of a field: the trace of its Jacobian, exact or estimated (theory T7).

The field is evaluated once, and many cotangents v are pulled back to v^T du/dx in one vectorised reverse pass. Forward mode
would do the same arithmetic, but its bookkeeping costs about half a millisecond for every product with a constant
(torch 2.13), and it needs a forward rule for every operation of the network, not only a backward one.
"""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from pathline._errors import lookup
from pathline._shapes import check_state, check_time
from pathline.field import BaseField
from pathline.paths.base import Estimate
from pathline.solvers.base import Noise

Pull: TypeAlias = Callable[[Tensor], Tensor]
"""v^T du/dx for cotangents v of shape (m, B, ...)."""
Estimator: TypeAlias = Callable[[Pull, Tensor, Tensor | None], Tensor]
"""(pull, x, probe) -> (B,)."""
COTANGENTS = 2**18
"""Numbers in the cotangents that are pulled back at once: more only fall out of the cache."""


def exact(pull: Pull, x: Tensor, probe: Tensor | None) -> Tensor:
    """sum_i du_i/dx_i, (B,): the rows of the Jacobian in blocks."""
    size = x[0].numel()
    basis = torch.eye(size, dtype=x.dtype, device=x.device).reshape(size, 1, *x.shape[1:])
    total = x.new_zeros(len(x))
    block = max(1, COTANGENTS // x.numel())
    for first in range(0, size, block):
        part = basis[first : first + block]
        rows = _flat(pull(part.expand(-1, *x.shape)))
        total = total + rows[:, :, first : first + len(part)].diagonal(dim1=0, dim2=2).sum(-1)
    return total


def hutchinson(pull: Pull, x: Tensor, probe: Tensor | None) -> Tensor:
    """The mean of v^T (du/dx) v over the probes v of ``probe`` (B, m, D), unbiased if E[v v^T] = I (Hutchinson 1990)."""
    v = _directions(x, probe)
    return _inner(pull(v), v).mean(0)


def hutch_plus_plus(pull: Pull, x: Tensor, probe: Tensor | None) -> Tensor:
    """Exact on the range of J^T S, estimated on its complement (Meyer et al. 2021); J = du/dx.

    A third of the probes is the sketch S; Q = orth(J^T S). tr(Q^T J Q) + mean of g^T (1 - QQ^T) J (1 - QQ^T) g.
    """
    v = _directions(x, probe)
    sketch, g = v.split([len(v) // 3, len(v) - len(v) // 3])
    q = torch.linalg.qr(_columns(pull(sketch))).Q
    rest = _columns(g)
    rest = _stacked(rest - q @ (q.mT @ rest), x)
    known = _stacked(q, x)
    return _inner(pull(known), known).sum(0) + _inner(pull(rest), rest).mean(0)


DIVERGENCES: dict[str, Estimator] = {
    "exact": exact,
    "hutchinson": hutchinson,
    "hutch++": hutch_plus_plus,
}
"""Divergences by name."""


def with_divergence(
    field: BaseField,
    x: Tensor,
    t: Tensor,
    method: Estimator,
    probe: Tensor | None,
    cond: dict[str, Any],
) -> tuple[Estimate, Tensor]:
    """The estimate at (x, t) and the divergence of its velocity, (B,); with a graph only under the ambient grad mode."""
    keep = torch.is_grad_enabled()
    with torch.enable_grad():
        point = x if x.requires_grad else x.detach().requires_grad_()
        with sdpa_kernel([SDPBackend.MATH]):  # the fused attention kernels pull back one cotangent at a time
            estimate = field.evaluate(point, t, **cond)
            velocity = estimate.velocity

        def pull(v: Tensor) -> Tensor:
            if not velocity.requires_grad:
                return torch.zeros_like(v)
            (back,) = torch.autograd.grad(
                velocity, point, v, retain_graph=True, create_graph=keep, allow_unused=True, is_grads_batched=True
            )
            return torch.zeros_like(v) if back is None else back

        total = method(pull, point, probe)
    if keep:
        return estimate, total
    return field.path.read(x, t, estimate.prediction, estimate.value.detach()), total.detach()


def divergence(
    field: BaseField,
    x: Tensor,
    t: "Tensor | float",
    *,
    method: str = "exact",
    probes: int = 1,
    noise: str = "rademacher",
    generator: torch.Generator | None = None,
    **cond: Any,
) -> Tensor:
    """div u_t(x), (B,), for states ``x`` (B, ...) of any rank and a time ``t`` of shape () or (B,).

    ``method`` is a name of `DIVERGENCES`; the estimators draw ``probes`` directions with ``noise`` "rademacher" or "gaussian".
    """
    check_state(x)
    estimator = lookup("divergence", method, DIVERGENCES)
    probe = None if method == "exact" else draw_probe(x, method, probes, noise, Noise(generator))
    return with_divergence(field, x, check_time(t, x), estimator, probe, cond)[1]


def draw_probe(x: Tensor, method: str, probes: int, noise: str, stream: Noise) -> Tensor:
    """Random directions with mean 0 and covariance I, (B, m, D)."""
    least = 3 if method == "hutch++" else 1
    if not isinstance(probes, int) or isinstance(probes, bool) or probes < least:
        raise ValueError(f"probes must be an integer of at least {least} for {method!r}, got {probes!r}")
    if noise not in ("rademacher", "gaussian"):
        raise ValueError(f"noise must be 'rademacher' or 'gaussian', got {noise!r}")
    zero = torch.zeros((), dtype=torch.float64)
    z = stream.normal(x.new_empty(len(x), probes, math.prod(x.shape[1:])), zero, zero)
    return z if noise == "gaussian" else torch.where(z < 0.0, -1.0, 1.0).to(z)


def _directions(x: Tensor, probe: Tensor | None) -> Tensor:
    if probe is None:
        raise ValueError("this divergence needs random directions: give probes")
    return probe.transpose(0, 1).reshape(-1, *x.shape)


def _inner(a: Tensor, b: Tensor) -> Tensor:
    return _flat(a * b).sum(2)


def _columns(v: Tensor) -> Tensor:
    """(m, B, ...) as the columns of matrices (B, D, m)."""
    return _flat(v).permute(1, 2, 0)


def _stacked(columns: Tensor, x: Tensor) -> Tensor:
    return columns.permute(2, 0, 1).reshape(-1, *x.shape)


def _flat(v: Tensor) -> Tensor:
    """(m, B, ...) as (m, B, D), scalars included."""
    return v.reshape(*v.shape[:2], -1)

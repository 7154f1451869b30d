"""What does the network do: does it look at state, time and condition, is it a function, does a gradient reach its weights?"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pathline.train.preflight.finding import Finding, Level

TIMES = (0.1, 0.3, 0.5, 0.7, 0.9)
BLIND = 1e-5
"""Change of the output, over its size, below which an input is ignored."""
MIXED = 1e-3
"""Change of the output of a sample, over its size, that other samples may cause by rounding."""
NAMED = 4


def awake(net: nn.Module, seed: int = 0) -> nn.Module:
    """A copy of ``net`` whose constant weights are shaken.

    Layers that start at zero, as the last one and the gates of many transformers do, ignore their input before the first step; shaken
    by normal noise of 1/sqrt(inputs) they show what they will react to.
    """
    twin = copy.deepcopy(net)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in twin.parameters():
            if p.is_floating_point() and p.numel() and bool((p == p.flatten()[0]).all()):
                inputs = p[0].numel() if p.ndim > 1 else 100
                p.add_(torch.randn(p.shape, generator=generator).to(p) / max(1, inputs) ** 0.5)
    return twin


def look_at_net(
    net: nn.Module, x_t: Tensor, y: "Tensor | None", objective: Callable[..., Tensor], given: "tuple[Tensor, dict[str, Tensor]]"
) -> list[Finding]:  # fmt: skip
    """Findings on ``net``, called as net(x_t, t) or net(x_t, t, y=y), and on its loss for the batch ``given``."""
    twin = awake(net).eval()
    cond: dict[str, Any] = {} if y is None else {"y": y}
    t = torch.full((len(x_t),), 0.5, device=x_t.device)
    with torch.no_grad():
        out = twin(x_t, t, **cond)
        bad = _function(twin, x_t, t, out, cond) or _form(twin, x_t, out, cond)
        if bad is not None:
            return [bad]
        found = [_ends(net, twin, x_t, cond), _inputs(twin, x_t, t, y, out)]
    return [*(finding for finding in found if finding is not None), _gradients(awake(net).train(), objective, given)]


def _size(x: Tensor) -> float:
    return float(x.double().square().mean().sqrt())


def _form(net: nn.Module, x_t: Tensor, out: Tensor, cond: dict[str, Any]) -> "Finding | None":
    """Shapes: solvers call with a time of shape (), and the last batch of samples may have one."""
    one = {name: value[:1] for name, value in cond.items()}
    try:
        scalar = net(x_t, x_t.new_tensor(0.5), **cond)
        single = net(x_t[:1], x_t.new_full((1,), 0.5), **one)
    except Exception as error:
        told = f"it fails for a time of shape () or for a single sample ({str(error).splitlines()[0]})"
        remedy = "solvers call it so: accept t of shape () and (B,), and any batch"
        return Finding(level="error", about="net", seen=told, remedy=remedy)
    if scalar.shape != out.shape or single.shape != out[:1].shape:
        told = f"shape {tuple(out.shape)} becomes {tuple(scalar.shape)} for a time of shape ()"
        return Finding(
            level="error", about="net", seen=told, remedy="return the shape of x_t for t of shape () and (B,)"
        )
    worst = max(_size(scalar - out), _size(single - out[:1])) / max(_size(out), 1e-12)
    if worst > MIXED:
        told = f"a sample's output changes by {worst:.1%} with the other samples of its batch, or with the shape of t"
        return Finding(
            level="error", about="net", seen=told, remedy="treat samples one by one: no batch norm, no mixing"
        )
    return None


def _ends(net: nn.Module, twin: nn.Module, x_t: Tensor, cond: dict[str, Any]) -> "Finding | None":
    """Solvers begin at t = 0 and end at t = 1."""
    for t in (0.0, 1.0):
        if not all(bool(each(x_t, x_t.new_tensor(t), **cond).isfinite().all()) for each in (net, twin)):
            remedy = "guard the logarithm or the division by t or 1 - t in it: solvers start at 0 and end at 1"
            return Finding(level="error", about="net", seen=f"it returns NaN or infinity at t = {t:g}", remedy=remedy)
    return None


def _function(net: nn.Module, x_t: Tensor, t: Tensor, out: Tensor, cond: dict[str, Any]) -> "Finding | None":
    if _size(net(x_t, t, **cond) - out) > MIXED * max(_size(out), 1e-12):
        remedy = "switch its randomness off in eval mode: a field returns the same for the same input"
        return Finding(level="error", about="net", seen="two calls with the same input differ", remedy=remedy)
    return None


def _inputs(net: nn.Module, x_t: Tensor, t: Tensor, y: "Tensor | None", out: Tensor) -> Finding:
    """Which inputs the output reacts to."""
    cond: dict[str, Any] = {} if y is None else {"y": y}
    size = max(_size(out), 1e-12)
    by_time = torch.stack([net(x_t, torch.full_like(t, time), **cond) for time in TIMES])
    reacts = {
        "x_t": _size(net(x_t.roll(1, 0), t, **cond) - out) / size,
        "t": _size(by_time - by_time.mean(0)) / size,
    }
    if y is not None and y.unique().numel() > 1:
        other = torch.where(y == y.roll(1), y.flip(0), y.roll(1))
        reacts["y"] = _size(net(x_t, t, y=other) - out) / size
    told = ", ".join(f"{name} {change:.2g}" for name, change in reacts.items())
    blind = [name for name, change in reacts.items() if change < BLIND]
    if not blind:
        return Finding(level="ok", about="net", seen=f"it reacts to its inputs (change of output: {told})")
    remedies = {
        "x_t": "feed the state in",
        "t": "feed the time in, unless it is meant to be blind to it",
        "y": "feed the labels in, or train with --no-labels",
    }
    level: Level = "error" if "x_t" in blind else "warning"
    return Finding(
        level=level,
        about="net",
        seen=f"it ignores {' and '.join(blind)}",
        remedy="; ".join(remedies[name] for name in blind),
    )


def _gradients(
    net: nn.Module, objective: Callable[..., Tensor], given: "tuple[Tensor, dict[str, Tensor]]"
) -> Finding:  # fmt: skip
    """Weights that no gradient of the loss reaches."""
    x_1, rest = given
    loss = objective(net, x_1, generator=torch.Generator(x_1.device).manual_seed(0), **rest)
    if not loss.requires_grad:
        remedy = "no detach(), no_grad() or numpy between the weights and the loss"
        return Finding(level="error", about="gradients", seen="the loss cannot be differentiated", remedy=remedy)
    loss.backward()
    trained = [(name, p) for name, p in net.named_parameters() if p.requires_grad]
    still = [name for name, p in trained if p.grad is None or not bool(p.grad.any())]
    wild = [name for name, p in trained if p.grad is not None and not bool(p.grad.isfinite().all())]

    def listed(names: list[str]) -> str:
        return ", ".join(names[:NAMED]) + (" …" if len(names) > NAMED else "")

    if wild:
        told = f"NaN or infinity in those of {listed(wild)}"
        return Finding(
            level="error", about="gradients", seen=told, remedy="look for roots, logarithms, divisions there"
        )
    if len(still) == len(trained):
        remedy = "no detach(), no_grad() or numpy between the weights and the loss"
        return Finding(level="error", about="gradients", seen="none reaches any weight", remedy=remedy)
    if still:
        told = f"none reaches {len(still)} of {len(trained)} weights ({listed(still)})"
        remedy = "use them in forward, or freeze them with requires_grad_(False)"
        return Finding(level="warning", about="gradients", seen=told, remedy=remedy)
    return Finding(level="ok", about="gradients", seen=f"they reach all {len(trained)} weights")

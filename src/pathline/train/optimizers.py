"""Optimisers by name."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from pathline.train.config import Settings
from pathline.train.spec import build

SPARED = (
    nn.Embedding, nn.EmbeddingBag, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase,
)  # fmt: skip
"""Modules whose weights have no scale to hold down."""


def decays(net: nn.Module) -> set[str]:
    """Names of the parameters that weight decay is for: weights of rank 2 and more, but of no embedding and no norm.

    Biases, gains and free parameters such as tables of positions are spared, for they have no scale to hold down.
    """
    names = set()
    for prefix, module in net.named_modules():
        if isinstance(module, SPARED):
            continue
        for name, value in module.named_parameters(recurse=False):
            if value.ndim >= 2 and name.endswith("weight"):
                names.add(f"{prefix}.{name}" if prefix else name)
    return names


def groups(net: nn.Module, weight_decay: float, among: "Callable[[str, Tensor], bool] | None" = None) -> list[dict]:
    """Parameter groups with and without weight decay, of the trained parameters that ``among`` chooses."""
    decayed = decays(net)
    chosen = [(n, p) for n, p in net.named_parameters() if p.requires_grad and (among is None or among(n, p))]
    parts = [
        {"params": [p for n, p in chosen if n in decayed], "weight_decay": weight_decay},
        {"params": [p for n, p in chosen if n not in decayed], "weight_decay": 0.0},
    ]
    if not weight_decay:  # one group is one kernel
        parts = [{"params": [p for _, p in chosen], "weight_decay": 0.0}]
    return [part for part in parts if part["params"]]


def adamw(*, net: nn.Module, settings: Settings, eps: float = 1e-8) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay (arXiv 1711.05101), one kernel a step."""
    return torch.optim.AdamW(
        groups(net, settings.weight_decay), lr=settings.lr, betas=settings.betas, eps=eps, fused=can_fuse(net)
    )


def adam(*, net: nn.Module, settings: Settings, eps: float = 1e-8) -> torch.optim.Optimizer:
    """Adam (arXiv 1412.6980); its weight decay is a penalty in the gradient, so ours must be 0."""
    if settings.weight_decay:
        raise ValueError(f"adam has no decoupled weight decay, got weight_decay={settings.weight_decay}: use adamw")
    return torch.optim.Adam(groups(net, 0.0), lr=settings.lr, betas=settings.betas, eps=eps, fused=can_fuse(net))


def sgd(*, net: nn.Module, settings: Settings, momentum: float = 0.9, nesterov: bool = True) -> torch.optim.Optimizer:
    """Gradient descent with momentum; weight decay as in AdamW is not known to it, so ours must be 0."""
    if settings.weight_decay:
        raise ValueError(f"sgd has no decoupled weight decay, got weight_decay={settings.weight_decay}: use adamw")
    nesterov = nesterov and momentum > 0
    return torch.optim.SGD(groups(net, 0.0), lr=settings.lr, momentum=momentum, nesterov=nesterov, fused=can_fuse(net))


def muon(
    *, net: nn.Module, settings: Settings, momentum: float = 0.95, nesterov: bool = True, ns_steps: int = 5
) -> "Together":
    """Muon for the matrices: momentum made orthogonal by ``ns_steps`` of Newton and Schulz; AdamW for everything else.

    Matrices are the decayed weights of rank 2 (`decays`). Their step is scaled to the size of AdamW's, 0.2 a weight
    (arXiv 2502.16982), so that one learning rate serves both.

    Raises:
        ValueError: this torch has no Muon (it came with 2.9), or the net has no matrix.
    """
    kind = getattr(torch.optim, "Muon", None)
    if kind is None:
        raise ValueError(f"muon needs torch 2.9 or newer, this is {torch.__version__}: use adamw")
    decayed = decays(net)

    def matrix(name: str, value: Tensor) -> bool:
        return name in decayed and value.ndim == 2

    matrices = [p for n, p in net.named_parameters() if p.requires_grad and matrix(n, p)]
    if not matrices:
        raise ValueError("muon is for matrices, and the net has none: use adamw")
    first = kind(
        matrices, lr=settings.lr, weight_decay=settings.weight_decay, momentum=momentum, nesterov=nesterov,
        ns_steps=ns_steps, adjust_lr_fn="match_rms_adamw",
    )  # fmt: skip
    rest = groups(net, settings.weight_decay, lambda n, p: not matrix(n, p))
    if not rest:
        return Together([first])
    return Together([first, torch.optim.AdamW(rest, lr=settings.lr, betas=settings.betas, fused=can_fuse(net))])


def schedule_free(*, net: nn.Module, settings: Settings, eps: float = 1e-8) -> torch.optim.Optimizer:
    """Schedule-free AdamW (arXiv 2405.15682), of the library ``schedulefree``.

    The rate stays up after its warm-up, and the average that the method keeps takes the place of `EMA`.

    Raises:
        ImportError: the library is not installed.
        ValueError: a decay of the learning rate, which the averaging replaces.
    """
    try:
        from schedulefree import AdamWScheduleFree
    except ImportError:
        raise ImportError("schedule_free needs its library: pip install 'pathline[optim]'") from None
    if settings.decay != "constant":
        raise ValueError(f"schedule_free replaces the decay of the rate, got decay={settings.decay!r}: set constant")
    made = AdamWScheduleFree(groups(net, settings.weight_decay), lr=settings.lr, betas=settings.betas, eps=eps)
    made.train()
    return made


OPTIMIZERS: dict[str, Callable[..., "torch.optim.Optimizer | Together"]] = {
    "adamw": adamw,
    "adam": adam,
    "muon": muon,
    "schedule_free": schedule_free,
    "sgd": sgd,
}
"""Optimisers by the name that ``--optimizer`` takes."""


def make_optimizer(net: nn.Module, settings: Settings) -> "torch.optim.Optimizer | Together":
    """The optimiser that the settings name."""
    return build("optimizer", settings.optimizer, OPTIMIZERS, net=net, settings=settings)


def can_fuse(net: nn.Module) -> bool:
    """Whether all trained parameters are of a kind that fused kernels take."""
    trained = [p for p in net.parameters() if p.requires_grad]
    return {p.device.type for p in trained} <= {"cpu", "cuda"} and all(p.is_floating_point() for p in trained)


class Together:
    """Several optimisers as one."""

    def __init__(self, parts: Iterable[torch.optim.Optimizer]) -> None:
        self.parts = list(parts)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all, themselves and no copies."""
        return [group for part in self.parts for group in part.param_groups]

    def step(self) -> None:
        """One step of each."""
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """As of one optimiser: parameters are numbered on from part to part."""
        state: dict[int, Any] = {}
        found: list[dict[str, Any]] = []
        for part in self.parts:
            own, start = part.state_dict(), sum(len(group["params"]) for group in found)
            state |= {start + index: entries for index, entries in own["state"].items()}
            found += [{**g, "params": [start + index for index in g["params"]]} for g in own["param_groups"]]
        return {"state": state, "param_groups": found}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        start, place = 0, 0
        for part in self.parts:
            mine = saved["param_groups"][place : place + len(part.param_groups)]
            count = sum(len(group["params"]) for group in mine)
            state = {k - start: v for k, v in saved["state"].items() if start <= k < start + count}
            shifted = [{**group, "params": [index - start for index in group["params"]]} for group in mine]
            part.load_state_dict({"state": state, "param_groups": shifted})
            start, place = start + count, place + len(mine)

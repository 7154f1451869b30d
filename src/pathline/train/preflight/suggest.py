"""Settings that the data suggest, each with its reason."""

import copy
import math
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from pathline.objectives import Matching
from pathline.schedules import Linear
from pathline.train.checks import own_randomness
from pathline.train.config import Settings
from pathline.train.preflight.batch import NUMBERS, batch_of, objective_of, sample_of
from pathline.train.preflight.explained import explained_variance
from pathline.train.preflight.rates import PART, PARTS, cheap_batch, highest_rate, noise_scale

if TYPE_CHECKING:
    from pathline.train.loop import Trainer

TRY = 256
"""Largest batch on which the learning rate is tried."""
SMALLEST, LARGEST = 32, 4096
ROOM = 4
"""A batch is at most the data over this."""
WIDTH = 110


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A setting: its value, how the command line spells it, why, and where the reason comes from."""

    name: str
    value: Any
    flag: str
    reason: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Suggestions:
    """Suggestions by name; ``print`` shows them as flags with their reasons."""

    all: tuple[Suggestion, ...]

    def __getitem__(self, name: str) -> Any:
        """The value that is suggested for ``name``; KeyError if there is none."""
        return {each.name: each.value for each in self.all}[name]

    def __contains__(self, name: str) -> bool:
        return any(each.name == name for each in self.all)

    @property
    def flags(self) -> str:
        """Those that can be combined, as words of the command line."""
        return " ".join(each.flag for each in self.all if each.name in ("times", "batch_size", "lr"))

    def __str__(self) -> str:
        left = max((len(each.flag) for each in self.all), default=0)
        lines = []
        for each in self.all:
            told = textwrap.wrap(f"{each.reason} ({each.source})", max(40, WIDTH - left - 2))
            lines += [f"{each.flag if k == 0 else '':<{left}}  {line}" for k, line in enumerate(told)]
        return "\n".join(lines)


def suggest(data: Any, *, net: Any = None, objective: Any = None, **options: Any) -> Suggestions:
    """What ``data`` suggest: sigma_data, law of the times, shift, and for a network also learning rate and batch size.

    Args:
        data: anything that `Trainer` takes, or the name or path of a data set.
        net: what is to be trained; an MLP or DiT of the default size if None.
        objective: what it is trained for; velocity matching on the linear path if None.
        options: settings of `Trainer`, such as ``standardize``.

    Every figure is measured: the times by `explained_variance` on a part of the data, the rate and the batch by a few steps
    on a copy of the network. Nothing is written.

    Examples:
        >>> import torch
        >>> x = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0))
        >>> found = suggest(x, net=None)
        >>> mean, std = found["times"]
        >>> abs(mean) < 0.1, abs(std - 0.91) < 0.1
        (True, True)
    """
    import tempfile

    from pathline.paths import AffinePath
    from pathline.predictions import VELOCITY
    from pathline.train.assemble import as_dataset, load_data, make_net
    from pathline.train.loop import Trainer

    data = load_data(data) if isinstance(data, str) else as_dataset(data)
    if net is None:
        net = make_net("auto", data, labels=True, seed=0)
    if objective is None:
        objective = Matching(AffinePath(Linear()), VELOCITY)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            net=copy.deepcopy(net), objective=objective, data=data, out=f"{folder}/none", progress=False, **options
        )
        return suggestions_for(trainer)


def suggestions_for(trainer: "Trainer") -> Suggestions:
    """`suggest` for what ``trainer`` holds; training afterwards is bit for bit what it would have been."""
    with own_randomness(0):
        seen = sample_of(trainer)
        found = [] if trainer.origin is not None or trainer.feed.generated else _of_data(trainer, seen)
        return Suggestions(all=tuple(found if trainer.settings.shard else [*found, *_of_net(trainer, seen)]))


def _of_data(trainer: "Trainer", seen: Any) -> list[Suggestion]:
    z = trainer.parts.standardizer.transform(seen.x)
    curve = explained_variance(z)
    schedule = getattr(getattr(trainer.objective, "path", None), "schedule", Linear())
    mean, std, shift = round(curve.mean, 2) + 0.0, round(curve.std, 2), float(f"{curve.shift:.3g}")
    linear = isinstance(schedule, Linear)
    law = f"logit_normal({mean:g}, {std:g})" if linear else f"log_snr_normal(mean={mean:g}, std={std:g})"
    scale = float(f"{float(z.std()):.3g}")
    low, high = (float(curve.logsnr[int((curve.share >= share).int().argmax())]) for share in (0.05, 0.95))
    return [
        Suggestion(
            name="times",
            value=(mean, std),
            flag=f'--times "{law}"',
            reason=f"a denoiser explains the data between log(alpha/sigma) = {low:.1f} (5 %) and {high:.1f} (95 %)",
            source="mean and spread of the slope of the explained variance, held-out points of this data",
        ),
        Suggestion(
            name="shift",
            value=shift,
            flag=f'--sampling.grid "shifted({shift:g})"',
            reason=f"steps of equal size would lie about log-SNR 0, the data about {mean:g}",
            source="exp(-mean); the shift of SD3, arXiv 2403.03206, section 5.3.2, measured in place of counted pixels",
        ),
        Suggestion(
            name="sigma_data",
            value=scale,
            flag=f'--prediction "edm_f({scale:g})"',
            reason="standard deviation of what the network sees; only for EDM's preconditioning",
            source="measured; Karras et al. 2022, table 1",
        ),
    ]


def _of_net(trainer: "Trainer", seen: Any) -> list[Suggestion]:
    objective = objective_of(trainer)
    settings: Settings = trainer.settings
    found = []
    x_1, rest = batch_of(trainer, 2 * min(TRY, settings.batch_size), seen)
    net, rates = trainer.net, []
    for half in torch.randperm(len(x_1), generator=torch.Generator().manual_seed(0)).chunk(2):
        net = copy.deepcopy(trainer.net).train()
        given = x_1[half], {name: value[half] for name, value in rest.items()}
        rates.append(highest_rate(net, objective, given, settings.betas))
    if None not in rates:
        lr = float(f"{math.sqrt(math.prod(rates)):.1g}")
        found.append(
            Suggestion(
                name="lr",
                value=lr,
                flag=f"--lr {lr:g}",
                reason=f"up to this rate each step of AdamW lowers the loss of a batch ({rates[0]:.2g} and {rates[1]:.2g} on two)",
                source="range test, Smith 2017; for adamw and adam",
            )
        )
    rows = batch_of(trainer, PART * PARTS, seen)
    mixed = torch.randperm(PART * PARTS, generator=torch.Generator().manual_seed(0))
    parts = [(rows[0][part], {name: value[part] for name, value in rows[1].items()}) for part in mixed.split(PART)]
    scale = noise_scale(net, objective, parts)
    cheap = cheap_batch(
        net, objective, batch_of(trainer, max(SMALLEST, min(LARGEST, NUMBERS // seen.x[0].numel())), seen), SMALLEST
    )
    room = max(SMALLEST, min(LARGEST, len(trainer.parts.train) // ROOM))
    limit = 2 ** int(math.log2(room))
    size = min(limit, max(cheap, SMALLEST if scale is None else 2 ** round(math.log2(max(scale, 1.0)))))
    told = f"a step of {cheap} costs here at most twice one of {SMALLEST}"
    if scale is not None:
        told += f"; from {scale:.0f} samples on the gradient's noise is less than its mean, early on, and more are needed later"
    found.append(
        Suggestion(
            name="batch_size",
            value=int(size),
            flag=f"--batch-size {size}",
            reason=told,
            source="timed; gradient noise scale, arXiv 1812.06162",
        )
    )
    return found

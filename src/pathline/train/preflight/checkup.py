"""Everything that is looked at before training, in one call."""

import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pathline._draws import normal_like
from pathline.objectives import BridgeMatching, Matching
from pathline.train.checks import own_randomness
from pathline.train.preflight.batch import batch_of, objective_of, sample_of
from pathline.train.preflight.cost import look_at_cost
from pathline.train.preflight.data import look_at_data
from pathline.train.preflight.finding import Checkup, Finding
from pathline.train.preflight.losses import least_loss, look_at_losses
from pathline.train.preflight.net import look_at_net
from pathline.train.preflight.regress import look_at_objective

if TYPE_CHECKING:
    from pathline.train.loop import Trainer

BATCH = 64


def checkup(trainer: "Trainer") -> Checkup:
    """Look at data, network, objective and cost of ``trainer``, on copies and with random numbers of its own.

    Training afterwards is bit for bit what it would have been. Nothing is written.
    """
    begin = time.perf_counter()
    with own_randomness(0):
        findings = _all(trainer)
    return Checkup(findings=tuple(findings), seconds=time.perf_counter() - begin)


def _all(trainer: "Trainer") -> list[Finding]:
    seen = sample_of(trainer)
    found = look_at_data(trainer, seen)
    if trainer.settings.shard:
        seen_ = "not tried, as its weights are spread over processes: leave out --shard to look at it"
        return [*found, Finding(level="note", about="net", seen=seen_)]
    objective = objective_of(trainer)
    x_1, rest = given = batch_of(trainer, BATCH, seen)
    ours = isinstance(objective, Matching | BridgeMatching)
    of_net = look_at_net(trainer.net, _noisy(x_1), rest.get("y"), objective, given)
    found += of_net
    if any(finding.level == "error" for finding in of_net):  # nothing that follows would tell more
        return found
    paired = trainer.feed.generated or (trainer.origin is not None and trainer.origin.paired)
    if isinstance(objective, Matching):
        many = batch_of(trainer, min(1024, max(BATCH, len(seen))), seen)
        told = look_at_losses(trainer.net, objective, *many, paired=paired)
        known = isinstance(trainer.objective, Matching) and not trainer.feed.generated and told[0].level != "error"
        least = least_loss(trainer.objective, *many) if known else None  # pyright: ignore[reportArgumentType]
        if least is not None:
            told[0] = Finding(
                level=told[0].level, about=told[0].about, remedy=told[0].remedy,
                seen=f"{told[0].seen}; none can get below {least[0]:.3g} on {min(1024, len(many[0]))} samples",
            )  # fmt: skip
        found += told
    elif not ours:
        found.append(look_at_objective(objective, *batch_of(trainer, 512, seen)))
    return [*found, *look_at_cost(trainer, objective, seen)]


def _noisy(x_1: Tensor) -> Tensor:
    """States half way to noise."""
    generator = torch.Generator(x_1.device).manual_seed(0)
    return 0.5 * x_1 + 0.5 * normal_like(x_1, generator)

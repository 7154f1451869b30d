"""The loss on held-out data, the same draw every time, by which checkpoints are ranked."""

from typing import TYPE_CHECKING

import torch

from pathline.objectives import BridgeMatching, Matching
from pathline.train.order import derive_seed

if TYPE_CHECKING:
    from pathline.train.loop import Trainer

SAMPLES = 1024


@torch.no_grad()
def held_out_loss(trainer: "Trainer") -> "float | None":
    """Loss of the averaged net on at most `SAMPLES` held-out samples, in the precision of the weights.

    Noise is drawn from the seed of the run, times are evenly spread over their law, labels are kept: the same
    samples, noise and times at every checkpoint, so that differences are those of the net. A coupling pairs them batch by
    batch as in training. None without held-out data, with a source of its own or pairs of another flow or of a whole data
    set, or with an objective of the user's.
    """
    held_out, objective = trainer.parts.held_out, trainer.objective
    if held_out is None or trainer.origin is not None or not isinstance(objective, Matching | BridgeMatching):
        return None
    if trainer.feed.generated or hasattr(objective.coupling, "fit"):  # pairs that held-out data do not have
        return None
    net = trainer.averaged
    device = next(net.parameters()).device
    rows = torch.linspace(0, len(held_out) - 1, min(SAMPLES, len(held_out)), dtype=torch.float64).long()
    generator = torch.Generator(device).manual_seed(derive_seed(trainer.settings.seed, "held out"))
    places = (torch.arange(len(rows)) + 0.5) / len(rows)
    mixed = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    times = objective.times.quantile(places)[mixed].to(device)
    total = 0.0
    for part, t in zip(rows.split(trainer.settings.batch_size), times.split(trainer.settings.batch_size)):
        x, y = held_out.gather(part)
        x_1 = trainer.parts.standardizer.transform(x).to(device)
        given = {} if y is None else {"y": y.to(device)}
        total += float(objective.per_sample(net, x_1, t=t, generator=generator, **given).sum())
    return total / len(rows)

"""Is there anything odd about the data: scale, constants, copies, labels?"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pathline.data import Dataset, StreamDataset
from pathline.train.preflight.finding import Finding

if TYPE_CHECKING:
    from pathline.train.loop import Trainer

SCALES = (1 / 3, 3.0)
"""Standard deviations that are near enough to that of the source."""
UNEVEN = 30.0
"""Largest over smallest standard deviation of features."""
FAR = 20.0
"""Standard deviations at which a value is an outlier."""
COPIES = 0.01
"""Share of copies that is told as a warning."""
SKEW = 20.0
"""Largest over smallest class."""
FEW = 10
"""Samples that a class should have."""
NAMED = 5


def look_at_data(trainer: "Trainer", seen: Dataset) -> list[Finding]:
    """Findings on the samples ``seen`` of the training part and its labels."""
    found = [_scale(trainer, seen), *_constants(seen), _copies(trainer, seen)]
    labels = _labels(trainer, seen)
    return [finding for finding in (*found, labels, _passes(trainer)) if finding is not None]


def _scale(trainer: "Trainer", seen: Dataset) -> Finding:
    """Mean and spread of what the network sees, against those of the source."""
    z = trainer.parts.standardizer.transform(seen.x).double().flatten(1)
    mean, std = float(z.mean()), float(z.std())
    source_mean, source_std, name = 0.0, 1.0, "noise"
    if trainer.origin is not None:
        s = trainer.origin.standardizer.transform(trainer.origin.train.x).double()
        source_mean, source_std, name = float(s.mean()), float(s.std()), "source"
    told = f"mean {mean:.2g}, standard deviation {std:.3g}; {name} {source_mean:.2g} and {source_std:.3g}"
    if std == 0.0:
        return Finding(level="error", about="scale", seen="all values are the same", remedy="look at the data")
    if not SCALES[0] <= std / max(source_std, 1e-12) <= SCALES[1] or abs(mean - source_mean) > SCALES[1] * source_std:
        remedy = "leave out --standardize none, or scale the data yourself"
        return Finding(level="warning", about="scale", seen=f"{told}, which are far apart", remedy=remedy)
    each = z.std(0)
    each = each[each > 1e-9 * each.max()]
    if not seen.image and len(each) and float(each.max() / each.min()) > UNEVEN:
        ratio = float(each.max() / each.min())
        seen_ = f"the largest feature varies {ratio:.0f} times as much as the smallest, which is lost in the noise"
        return Finding(level="warning", about="scale", seen=seen_, remedy="--standardize feature")
    spread = z.std(0).clamp(min=1e-12) if not seen.image else z.std()
    far = float(((z - z.mean(0)).abs() / spread).max())
    if far > FAR:
        remedy = "look for wrong values; clip them, or map columns to quantiles"
        return Finding(
            level="warning",
            about="scale",
            seen=f"{told}; a value lies {far:.0f} standard deviations out",
            remedy=remedy,
        )
    return Finding(level="ok", about="scale", seen=told)


def _constants(seen: Dataset) -> list[Finding]:
    """Features and whole samples that never vary."""
    found = []
    x = seen.x.flatten(1)
    still = (x.amin(0) == x.amax(0)).nonzero()[:, 0].tolist()
    if still and not seen.image:
        named = ", ".join(map(str, still[:NAMED])) + (" …" if len(still) > NAMED else "")
        told = f"{len(still)} of {x.shape[1]} features are constant ({named})"
        found.append(Finding(level="warning", about="constants", seen=told, remedy="leave these columns out"))
    elif still:
        told = f"{len(still)} of {x.shape[1]} pixels never change"
        found.append(Finding(level="note", about="constants", seen=told))
    if x.shape[1] > 1 and seen.image:
        flat = x.amin(1) == x.amax(1)
        share = float(flat.float().mean())
        if share > 0.0:
            told = f"{share:.1%} of the images have one colour only"
            level = "warning" if share > COPIES else "note"
            found.append(Finding(level=level, about="constants", seen=told, remedy="are these failed downloads?"))
    return found


def _copies(trainer: "Trainer", seen: Dataset) -> Finding:
    """Samples that are there twice, and held-out samples that are trained on."""
    train, held_out = trainer.parts.train, trainer.parts.held_out
    whole = isinstance(train, Dataset) and train.x.numel() <= 1 << 24
    part = train if whole and isinstance(train, Dataset) else seen
    known = _rows(part.x)
    share = 1.0 - len(set(known)) / len(known)
    basis = "" if whole else f" (among {len(known)})"
    leaked = 0.0
    if isinstance(held_out, Dataset):
        inside = set(known)
        leaked = sum(row in inside for row in _rows(held_out.x)) / len(held_out)
    told = f"{share:.1%} of the samples are copies of others{basis}"
    if leaked > 0.0:
        told += f", {leaked:.1%} of the held-out ones are also trained on"
    if max(share, leaked) > COPIES:
        remedy = "remove them: they are learned by heart, and held-out figures flatter"
        return Finding(level="warning", about="copies", seen=told, remedy=remedy)
    return Finding(level="ok", about="copies", seen=told if share or leaked else f"none{basis}")


def _rows(x: Tensor) -> list[bytes]:
    flat = x.flatten(1).contiguous().numpy()
    return [row.tobytes() for row in flat]


def _labels(trainer: "Trainer", seen: Dataset) -> "Finding | None":
    """Are all classes there, and often enough?"""
    train = trainer.parts.train
    y = seen.y if isinstance(train, StreamDataset) else train.y
    classes = seen.num_classes
    if y is None or classes is None:
        return None
    counts = torch.bincount(y, minlength=classes)
    names = seen.class_names
    least, most = int(counts.argmin()), int(counts.argmax())
    told = f"{classes} classes of {int(counts[least])} to {int(counts[most])} samples"

    def warn(seen_: str, remedy: str) -> Finding:
        return Finding(level="warning", about="labels", seen=seen_, remedy=remedy)

    empty = (counts == 0).nonzero()[:, 0].tolist()
    if classes == 1:
        return warn("all samples have one label, which tells nothing", "--no-labels")
    if empty:
        listed = ", ".join(names[k] for k in empty[:NAMED]) + (" …" if len(empty) > NAMED else "")
        return warn(f"{told}; none of {listed}", "number the classes 0 … K - 1 without gaps")
    if classes > 0.5 * len(y):
        return warn(f"{told}: nearly every sample has its own", "are these row numbers? --no-labels")
    if int(counts[least]) < FEW:
        return warn(f"{told}; {names[least]} has {int(counts[least])}", "merge rare classes, or collect more of them")
    if float(counts[most] / counts[least]) > SKEW:
        return warn(f"{told}: {names[most]} is {float(counts[most] / counts[least]):.0f} times as frequent as "
                    f"{names[least]}", "repeat the rare ones, or expect them to be drawn less well")  # fmt: skip
    return Finding(level="ok", about="labels", seen=told)


def _passes(trainer: "Trainer") -> "Finding | None":
    """How often a sample is seen."""
    train, settings = trainer.parts.train, trainer.settings
    if isinstance(train, StreamDataset):
        return None
    passes = settings.steps * settings.batch_size / len(train)
    told = f"{len(train):,} samples, each seen {passes:.3g} times in {settings.steps:,} steps of {settings.batch_size}"
    return Finding(level="ok" if passes >= 1.0 else "note", about="passes", seen=told)

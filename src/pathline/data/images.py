"""Images that come with packages: the handwritten digits of scikit-learn."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from pathline.data.base import Dataset


def digits(*, classes: "int | Sequence[int] | None" = None) -> Dataset:
    """1,797 handwritten digits of 8 × 8 pixels ``(1, 8, 8)`` with the 17 grey levels 0 … 16, and their classes.

    ``classes`` selects one digit or several, labelled anew in that order: ``digits(classes=3)``, ``digits(classes=[3, 8])``.
    Source: Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI (CC BY 4.0), by way of scikit-learn.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    found = Dataset(
        x=torch.from_numpy(images).float().reshape(-1, 1, 8, 8),
        y=torch.from_numpy(labels).long(),
        name="digits",
        class_names=tuple("0123456789"),
        image=True,
        levels=17,
    )
    return found if classes is None else _select(found, classes)


def _select(data: Dataset, classes: "int | Sequence[int]") -> Dataset:
    """The samples of some classes, labelled 0, 1, … in the order given."""
    wanted = [classes] if isinstance(classes, int) else list(classes)
    if not wanted or len(set(wanted)) != len(wanted) or not set(wanted) <= set(range(len(data.class_names))):
        raise ValueError(f"classes must be different ones of 0 … {len(data.class_names) - 1}, got {classes!r}")
    assert data.y is not None
    mask = torch.isin(data.y, torch.tensor(wanted))
    place = torch.full((len(data.class_names),), -1)
    place[torch.tensor(wanted)] = torch.arange(len(wanted))
    names = tuple(data.class_names[k] for k in wanted)
    name = f"{data.name}-{'-'.join(names)}"
    return replace(data, x=data.x[mask], y=place[data.y[mask]], class_names=names, name=name)

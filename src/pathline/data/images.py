"""Images that come with packages: the handwritten digits of scikit-learn."""

import torch

from pathline.data.base import Dataset


def digits() -> Dataset:
    """1,797 handwritten digits of 8 × 8 pixels ``(1, 8, 8)`` with the 17 grey levels 0 … 16, and their classes.

    Source: Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI (CC BY 4.0), by way of scikit-learn.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return Dataset(
        x=torch.from_numpy(images).float().reshape(-1, 1, 8, 8),
        y=torch.from_numpy(labels).long(),
        name="digits",
        class_names=tuple("0123456789"),
        image=True,
        levels=17,
    )

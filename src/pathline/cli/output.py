"""The array file of samples."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pathline.train import Run


def write_samples(path: Path, run: Run, x: Tensor, y: "Tensor | None", seed: int) -> None:
    """Samples in your units with their labels and first seed, written whole or not at all.

    Samples of a table are also written as one, with the suffix ``.csv``, unless rows without a label lack a column.
    """
    import numpy as np

    eight_bit = run.about["levels"] == 256
    arrays: dict[str, Any] = {"x": x.to(torch.uint8).numpy() if eight_bit else x.numpy(), "seed": np.array(seed)}
    if y is not None:
        arrays["y"] = y.numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.npz")
    try:
        np.savez(draft, **arrays)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    codec = run.codec
    if codec is not None and (codec.label is None or (y is not None and bool((y >= 0).all()))):
        table = path.with_suffix(".csv")
        draft = table.with_name(f".{table.name}.{os.getpid()}")
        try:
            codec.decode(x, y).to_csv(draft, index=False)
            os.replace(draft, table)
        finally:
            draft.unlink(missing_ok=True)

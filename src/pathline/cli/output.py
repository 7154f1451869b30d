"""The array file of samples."""

import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pathline.train import Run
from pathline.train.shards import Shards

Part = tuple[Tensor, Tensor | None]


def write_samples(path: Path, run: Run, x: Tensor, y: "Tensor | None", seed: int) -> None:
    """Samples in your units with their labels and first seed, written whole or not at all.

    Samples of a table are also written as one, with the suffix ``.csv``, unless rows without a label lack a column.
    """
    _write(path, run, lambda: [(run.as_bytes(x), y)], len(x), seed)


def write_shards(path: Path, run: Run, shards: Shards, seed: int) -> None:
    """The same of samples in shards, one of which is held at a time."""

    def parts() -> Iterator[Part]:
        for k in range(len(shards)):
            found = shards.read(k)
            if found is None:
                raise ValueError(f"{shards.path(k)} is missing or damaged: draw again, what is whole is kept")
            yield found["x"], found.get("y")

    _write(path, run, parts, shards.recipe["n"], seed)


def _write(path: Path, run: Run, parts: Callable[[], Iterable[Part]], n: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = [y for _, y in parts()]
    known = None if any(y is None for y in labels) else torch.cat([y for y in labels if y is not None])
    with _draft(path) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED, allowZip64=True) as file:
        dtype = torch.empty(0, dtype=next(x.dtype for x, _ in parts())).numpy().dtype
        with file.open("x.npy", "w", force_zip64=True) as array:
            header: dict[str, Any] = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
            np.lib.format.write_array_header_1_0(array, {**header, "shape": (n, *run.shape)})
            for x, _ in parts():
                array.write(x.contiguous().numpy().tobytes())
        for name, value in {"seed": np.array(seed), **({} if known is None else {"y": known.numpy()})}.items():
            with file.open(f"{name}.npy", "w") as array:
                np.lib.format.write_array(array, value, allow_pickle=False)
    codec = run.codec
    if codec is None or not (codec.label is None or (known is not None and bool((known >= 0).all()))):
        return
    with _draft(path.with_suffix(".csv")) as draft:
        for k, (x, y) in enumerate(parts()):
            codec.decode(x, y).to_csv(draft, index=False, mode="a", header=k == 0)


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """A file beside ``path`` that takes its place when all went well."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)

"""Many samples of a run, in shards: by any number of processes, and again after an interruption."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torch import Tensor

from pathline.solvers.integrate import bar
from pathline.train.lock import Lock
from pathline.train.processes import Processes
from pathline.train.run import Run
from pathline.train.shards import Shards, digest_tensor, stored_recipe, weights_of

SHARD = 512
"""Samples of a file, or a batch if that is more."""
STEM = "samples"


def draw_in_shards(
    run: Run, folder: "str | Path", n: int, *, processes: "Processes | None" = None, seed: int = 0,
    y: Any = None, x_0: "Tensor | None" = None, batch_size: int = 256, progress: bool = False, **sampling: Any,
) -> Shards:  # fmt: skip
    """The ``n`` samples of `Run.sample` in ``folder``, with their labels; files that are there already are kept.

    A file holds ``x`` in your units, whole 8-bit levels as bytes, and ``y`` where there are labels. Sample i depends on
    seed + i alone, so any ``processes`` and any ``batch_size`` give the same set up to rounding: each draws the files
    that fall to it, and all leave when every file is whole. Files of another call (other n, seed, labels, options or
    weights) in ``folder`` are deleted.

    Raises:
        LockedError: another call draws into the folder.
        OSError: the folder cannot be written.
    """
    processes = Processes(run.device) if processes is None else processes
    folder, labels = Path(folder), run.labels(n, y)
    arguments = run.arguments(**sampling)
    recipe = {
        "n": n,
        "seed": seed,
        "shard": max(SHARD, batch_size),
        "weights": weights_of(run),
        "labels": digest_tensor(labels),
        "x_0": digest_tensor(x_0),
        "precision": run.precision,
        "sampling": {key: repr(value) for key, value in arguments.items() if value is not None},
    }
    with ExitStack() as stack:
        told = processes.once(lambda: _claim(folder, recipe, stack))
        shards = Shards(folder, STEM, told["recipe"])
        for k in bar(told["missing"][processes.rank :: processes.count], progress and processes.first, "sample"):
            rows = shards.rows(k)
            cut = None if labels is None else labels[rows]
            x = run.sample(
                rows.stop - rows.start, y=cut, seed=seed + rows.start, batch_size=batch_size,
                x_0=None if x_0 is None else x_0[rows], **sampling,
            )  # fmt: skip
            shards.write(k, {"x": run.as_bytes(x), **({} if cut is None else {"y": cut})})
        processes.most(0.0)  # all have come here, so every file is whole
    return shards


def _claim(folder: Path, recipe: dict[str, Any], stack: ExitStack) -> dict[str, Any]:
    """Take the folder, and say what is still to be drawn; a file may go on at the size that it was begun with."""
    folder.mkdir(parents=True, exist_ok=True)
    stack.enter_context(Lock(folder))
    before = stored_recipe(folder) or {}
    if {**before, "shard": 0} == {**recipe, "shard": 0}:
        recipe = {**recipe, "shard": before["shard"]}
    else:
        for path in folder.glob(f"{STEM}-*.safetensors"):
            path.unlink()
    shards = Shards(folder, STEM, recipe)
    shards.begin()
    return {"recipe": recipe, "missing": shards.missing()}

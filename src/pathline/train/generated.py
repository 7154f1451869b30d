"""Pairs (x_0, psi_1(x_0)) of a trained flow, in shards that a later call goes on with (theory T32)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pathline.solvers import solve
from pathline.solvers.integrate import as_solver, bar
from pathline.train.order import derive_seed
from pathline.train.run import Run
from pathline.train.shards import Shards, stored_recipe, weights_of

SHARD = 4096
"""Pairs per file."""
BATCH = 512
STEM = "pairs"


@dataclass(frozen=True, kw_only=True, eq=False)
class Generated:
    """Pairs in the units of the network: row i of ``x_0`` flows to row i of ``x_1``, with the label ``y[i]`` if there is one."""

    x_0: Tensor
    x_1: Tensor
    y: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x_0)


def generate_pairs(
    run: Run, folder: "str | Path", n: int, *, seed: int = 0, progress: bool = False, **sampling: Any
) -> Generated:
    """``n`` pairs of ``run`` in ``folder``; shards that are there already, of the same recipe, are kept.

    Pair i starts at noise of its own, or at a training point of the run's source; a conditional run gets each class in
    turn. ``sampling`` are the options of `Run.sample` (solver, steps, evaluations, guidance, grid). A shard is
    written under another name and renamed, so that an interruption leaves whole shards or none.

    Raises:
        ValueError: the folder holds pairs of another recipe, or the solver is stochastic: its pairs are no map.
    """
    if n < 2:
        raise ValueError(f"pairs must be at least 2, got {n}")
    arguments = run.arguments(**sampling)
    if as_solver(arguments["solver"]).stochastic:
        raise ValueError("pairs of a flow need a deterministic solver such as 'heun': a stochastic one gives no map")
    shards = Shards(Path(folder), STEM, _claimed(Path(folder), _recipe(run, n, seed, arguments)))
    shards.begin()
    for k in bar(range(len(shards)), progress, "pairs"):
        if shards.read(k) is None:
            rows = shards.rows(k)
            shards.write(k, _solve(run, k, rows.start, rows.stop, seed, arguments))
    return load_generated(folder)


def load_generated(folder: "str | Path") -> Generated:
    """The pairs that `generate_pairs` left in ``folder``.

    Raises:
        FileNotFoundError: no pairs there. ValueError: a shard is missing or damaged.
    """
    recipe = stored_recipe(Path(folder))
    if recipe is None:
        raise FileNotFoundError(f"no pairs in {folder}: make them with pathline reflow")
    shards, parts = Shards(Path(folder), STEM, recipe), []
    for k in range(len(shards)):
        found = shards.read(k)
        if found is None:
            raise ValueError(
                f"{shards.path(k)} is missing or damaged: run pathline reflow again, it makes what is missing"
            )
        parts.append(found)
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return Generated(x_0=joined["x_0"], x_1=joined["x_1"], y=joined.get("y"))


def _recipe(run: Run, n: int, seed: int, arguments: dict[str, Any]) -> dict[str, Any]:
    """What the pairs depend on; two runs differ in the checksum of their weights."""
    shown = {key: repr(value) for key, value in arguments.items() if value is not None}
    return {"n": n, "seed": seed, "shard": SHARD, "run": str(run.path), "weights": weights_of(run), "sampling": shown}


def _claimed(folder: Path, recipe: dict[str, Any]) -> dict[str, Any]:
    """``recipe``, unless ``folder`` holds another one."""
    before = stored_recipe(folder)
    if before is None:
        return recipe
    for key in recipe:
        if key != "run" and before.get(key) != recipe[key]:
            raise ValueError(
                f"{folder} holds pairs with another {key}, {before.get(key)!r} instead of {recipe[key]!r}: "
                "give the same options, --overwrite, or another --out"
            )
    return {**recipe, "run": before["run"]}


def _solve(run: Run, k: int, first: int, last: int, seed: int, arguments: dict[str, Any]) -> dict[str, Tensor]:
    device = run.device
    if run.origin is None:
        generator = torch.Generator().manual_seed(derive_seed(seed, "generate", k))
        x_0 = torch.randn(last - first, *run.shape, generator=generator)
    else:
        points = run.origin.train.x
        x_0 = run.origin.standardizer.transform(points[torch.arange(first, last) % len(points)])
    y = None
    if run.class_names:
        y = torch.arange(first, last) % len(run.class_names)
    done = []
    for rows in torch.arange(last - first).split(BATCH):
        cond: dict[str, Any] = {} if y is None else {"y": y[rows].to(device)}
        done.append(solve(run.field, x_0[rows].to(device), record=False, **arguments, **cond).x.cpu())
    return {"x_0": x_0, "x_1": torch.cat(done), **({} if y is None else {"y": y})}

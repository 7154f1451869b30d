"""Pairs (x_0, psi_1(x_0)) of a trained flow, in shards that a later call goes on with (theory T32)."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pathline.solvers import solve
from pathline.solvers.integrate import as_solver, bar
from pathline.train import checkpoint
from pathline.train.names import CHECKPOINTS
from pathline.train.order import derive_seed
from pathline.train.run import Run

SHARD = 4096
"""Pairs per file."""
BATCH = 512
RECIPE, _RECIPE_KEY, _SUM_KEY = "recipe.json", "recipe", "sha256"


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
    folder, recipe = Path(folder), _recipe(run, n, seed, arguments)
    _claim(folder, recipe)
    stamp = _digest(json.dumps(recipe, sort_keys=True).encode())
    for k in bar(range(-(-n // SHARD)), progress, "pairs"):
        path = _shard(folder, k)
        if _read(path, stamp) is None:
            first, last = k * SHARD, min((k + 1) * SHARD, n)
            _write(path, _solve(run, k, first, last, seed, arguments), stamp)
    return load_generated(folder)


def load_generated(folder: "str | Path") -> Generated:
    """The pairs that `generate_pairs` left in ``folder``.

    Raises:
        FileNotFoundError: no pairs there. ValueError: a shard is missing or damaged.
    """
    folder = Path(folder)
    if not (folder / RECIPE).is_file():
        raise FileNotFoundError(f"no pairs in {folder}: make them with pathline reflow")
    recipe = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
    stamp = _digest(json.dumps(recipe, sort_keys=True).encode())
    shards = [_read(_shard(folder, k), stamp) for k in range(-(-recipe["n"] // SHARD))]
    for k, found in enumerate(shards):
        if found is None:
            raise ValueError(
                f"{_shard(folder, k)} is missing or damaged: run pathline reflow again, it makes what is missing"
            )
    parts = [found for found in shards if found is not None]
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return Generated(x_0=joined["x_0"], x_1=joined["x_1"], y=joined.get("y"))


def _recipe(run: Run, n: int, seed: int, arguments: dict[str, Any]) -> dict[str, Any]:
    """What the pairs depend on; two runs differ in the checksum of their weights."""
    manifest = run.path / CHECKPOINTS / f"{checkpoint.PREFIX}{run.step:09d}" / checkpoint.MANIFEST
    weights = json.loads(manifest.read_text(encoding="utf-8"))["files"]["ema.safetensors"]["sha256"]
    shown = {key: repr(value) for key, value in arguments.items() if value is not None}
    return {"n": n, "seed": seed, "shard": SHARD, "run": str(run.path), "weights": weights, "sampling": shown}


def _claim(folder: Path, recipe: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RECIPE
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        for key in recipe:
            if key != "run" and before.get(key) != recipe[key]:
                raise ValueError(
                    f"{folder} holds pairs with another {key}, {before.get(key)!r} instead of {recipe[key]!r}: "
                    "give the same options, --overwrite, or another --out"
                )
        recipe["run"] = before["run"]
        return
    draft = path.with_name(f".{RECIPE}")
    draft.write_text(json.dumps(recipe, indent=1) + "\n", encoding="utf-8")
    os.replace(draft, path)


def _solve(run: Run, k: int, first: int, last: int, seed: int, arguments: dict[str, Any]) -> dict[str, Tensor]:
    device = next(run.net.parameters()).device
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


def _shard(folder: Path, k: int) -> Path:
    return folder / f"pairs-{k:05d}.safetensors"


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _sum(tensors: dict[str, Tensor]) -> str:
    return _digest(*(tensors[name].contiguous().numpy().tobytes() for name in sorted(tensors)))


def _write(path: Path, tensors: dict[str, Tensor], stamp: str) -> None:
    from safetensors.torch import save_file

    draft = path.with_name(f".{path.name}.{os.getpid()}")
    save_file({k: v.contiguous() for k, v in tensors.items()}, draft, {_RECIPE_KEY: stamp, _SUM_KEY: _sum(tensors)})
    os.replace(draft, path)


def _read(path: Path, stamp: str) -> "dict[str, Tensor] | None":
    """A shard of the recipe, whole; None if it is missing, damaged or of another."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            told = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError):
        return None
    return tensors if told.get(_RECIPE_KEY) == stamp and told.get(_SUM_KEY) == _sum(tensors) else None

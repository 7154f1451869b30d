"""Tensors in files of a fixed number of rows, each whole or not there: an interruption costs one of them at most."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pathline.train import checkpoint
from pathline.train.names import CHECKPOINTS

if TYPE_CHECKING:
    from pathline.train.run import Run

RECIPE, _RECIPE_KEY, _SUM_KEY = "recipe.json", "recipe", "sha256"


class Shards:
    """``recipe["n"]`` rows in ``folder``, ``recipe["shard"]`` to a file named after ``stem``.

    The recipe says everything that the rows depend on; a file of another recipe counts as missing.
    """

    def __init__(self, folder: Path, stem: str, recipe: Mapping[str, Any]) -> None:
        self.folder, self.stem, self.recipe = folder, stem, dict(recipe)
        self._stamp = _digest(json.dumps(self.recipe, sort_keys=True).encode())

    def __len__(self) -> int:
        return -(-self.recipe["n"] // self.recipe["shard"])

    def begin(self) -> None:
        """Make the folder and write the recipe into it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / f".{RECIPE}"
        draft.write_text(json.dumps(self.recipe, indent=1) + "\n", encoding="utf-8")
        os.replace(draft, self.folder / RECIPE)

    def rows(self, k: int) -> slice:
        """The rows of file ``k``."""
        size = self.recipe["shard"]
        return slice(k * size, min((k + 1) * size, self.recipe["n"]))

    def path(self, k: int) -> Path:
        """File ``k``."""
        return self.folder / f"{self.stem}-{k:05d}.safetensors"

    def missing(self) -> list[int]:
        """The files that are not there, or not whole."""
        return [k for k in range(len(self)) if self.read(k) is None]

    def write(self, k: int, tensors: dict[str, Tensor]) -> None:
        """Write file ``k`` under another name and rename it."""
        from safetensors.torch import save_file

        path = self.path(k)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        told = {_RECIPE_KEY: self._stamp, _SUM_KEY: _sum(tensors)}
        try:
            save_file({name: value.contiguous() for name, value in tensors.items()}, draft, told)
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)

    def read(self, k: int) -> "dict[str, Tensor] | None":
        """File ``k``, whole; None if it is missing, damaged or of another recipe."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(self.path(k)), "pt") as file:
                told = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError):
            return None
        return tensors if told.get(_RECIPE_KEY) == self._stamp and told.get(_SUM_KEY) == _sum(tensors) else None

    def clear(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def stored_recipe(folder: Path) -> "dict[str, Any] | None":
    """The recipe that `Shards.begin` left in ``folder``; None if there is none to be read."""
    try:
        found = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def weights_of(run: "Run") -> str:
    """SHA-256 of the file with the averaged weights of a run, which tells it from any other."""
    manifest = run.path / CHECKPOINTS / f"{checkpoint.PREFIX}{run.step:09d}" / checkpoint.MANIFEST
    return json.loads(manifest.read_text(encoding="utf-8"))["files"]["ema.safetensors"]["sha256"]


def digest_tensor(value: "Tensor | None") -> "str | None":
    """SHA-256 of the numbers of a tensor; None of none."""
    return None if value is None else _digest(value.detach().cpu().contiguous().numpy().tobytes())


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _sum(tensors: dict[str, Tensor]) -> str:
    return _digest(*(tensors[name].contiguous().numpy().tobytes() for name in sorted(tensors)))

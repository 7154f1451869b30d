"""Checkpoints: safetensors plus one JSON manifest, written so that a reader sees a whole checkpoint or none.

A checkpoint is a folder ``step-000001000`` of ``*.safetensors`` files and ``manifest.json``, which holds plain values and
the size and SHA-256 of every file, and a SHA-256 of itself. It is written under another name, flushed to the disk, and
renamed. Nothing that is read can run code.
"""

import errno
import json
import os
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pathline.train.disk import digest as _digest
from pathline.train.disk import digest_of as _digest_of
from pathline.train.disk import discard as _discard
from pathline.train.disk import separate as _separate
from pathline.train.disk import sweep as _sweep
from pathline.train.disk import sync as _sync
from pathline.train.parallel import like

FORMAT = "pathline-checkpoint"
VERSION = 1
MANIFEST = "manifest.json"
PREFIX = "step-"

Tensors = Mapping[str, Mapping[str, Tensor]]


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What was read: tensors by file and name, and the plain values beside them."""

    path: Path
    step: int
    tensors: dict[str, dict[str, Tensor]]
    facts: dict[str, Any]


def save(
    folder: Path,
    step: int,
    tensors: Tensors,
    facts: Mapping[str, Any],
    *,
    keep: "int | None",
    score: "float | None" = None,
    keep_best: int = 0,
) -> Path:
    """Write checkpoint ``step`` into ``folder`` and delete all but the newest ``keep`` and the best ``keep_best``.

    ``tensors`` maps a file's stem to its tensors by name; ``facts`` are values that JSON holds. The best have the
    lowest ``score``. ``keep`` None deletes nothing.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written; what was there before is as it was.
    """
    final, draft = folder / f"{PREFIX}{step:09d}", folder / f".{PREFIX}{step:09d}.writing"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder, PREFIX)
        _write(draft, step, tensors, {**facts, "score": score})
        if final.exists():  # a damaged one of the same step, which this run has overtaken
            _discard(final)
        os.replace(draft, final)
        _sync(folder)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise _cannot_write(folder, step, error) from error
    _prune(folder, final, keep, keep_best)
    return final


def _write(draft: Path, step: int, tensors: Tensors, facts: dict[str, Any]) -> None:
    """All files of a checkpoint, flushed to the disk."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    needed = sum(value.numel() * value.element_size() for content in tensors.values() for value in content.values())
    free = shutil.disk_usage(draft.parent).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed / 2**20:.0f} MiB are needed and {free / 2**20:.0f} MiB are free")
    draft.mkdir()
    files = {}
    for stem, content in tensors.items():
        path = draft / f"{stem}.safetensors"
        try:
            save_file(_separate(content), path)
        except SafetensorError as error:  # hides the OSError
            raise OSError(errno.EIO, str(error)) from error
        files[path.name] = {"bytes": path.stat().st_size, "sha256": _digest(path)}
        _sync(path)
    body = {"format": FORMAT, "version": VERSION, "step": step, "files": files, "facts": facts}
    text = json.dumps({"sha256": _digest_of(body), **body}, indent=1, allow_nan=False)
    (draft / MANIFEST).write_text(text, encoding="utf-8")
    _sync(draft / MANIFEST)
    _sync(draft)


def _cannot_write(folder: Path, step: int, error: OSError) -> CheckpointError:
    kept = list_checkpoints(folder) if folder.is_dir() else []
    remedy = {
        errno.ENOSPC: "the disk is full: free some space",
        errno.EDQUOT: "your quota is used up: free some space",
        errno.EROFS: "the file system is read-only: give another folder",
        errno.EACCES: "the folder may not be written: change its permissions, or give another folder",
        errno.EPERM: "the folder may not be written: change its permissions, or give another folder",
    }.get(error.errno or 0, "look at the disk")
    left = f"the last good checkpoint is {kept[0]}, --resume goes on from there" if kept else "none was written before"
    return CheckpointError(f"checkpoint of step {step} cannot be written to {folder} ({error}); {remedy}; {left}")


def _prune(folder: Path, new: Path, keep: "int | None", keep_best: int) -> None:
    """Delete what is neither among the newest nor among the best."""
    if keep is None:
        return
    found = list_checkpoints(folder)
    kept = {new, *found[:keep]}
    if keep_best:
        scores = {path: _score(path) for path in found}
        ranked = sorted(
            (path for path in found if scores[path] is not None), key=lambda path: (scores[path], path.name)
        )
        kept |= set(ranked[:keep_best])
    for path in found:
        if path not in kept:
            _discard(path)


def _score(path: Path) -> "float | None":
    try:
        return _read_manifest(path / MANIFEST)["facts"].get("score")
    except CheckpointError:
        return None


def best(folder: Path) -> Path:
    """The checkpoint of the lowest score.

    Raises:
        CheckpointError: none has a score.
    """
    scored = [(score, path.name, path) for path in list_checkpoints(folder) if (score := _score(path)) is not None]
    if not scored:
        raise CheckpointError(f"no checkpoint in {folder} has a score: train with held_out > 0 and keep_best > 0")
    return min(scored)[2]


def load(path: Path, only: "tuple[str, ...] | None" = None) -> Checkpoint:
    """Read and verify the checkpoint in the folder ``path``; ``only`` some of its files (all are verified).

    Raises:
        CheckpointError: a file is missing, cut short, altered, or not ours.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    manifest = _read_manifest(path / MANIFEST)
    tensors = {}
    for name, known in manifest["files"].items():
        file = path / name
        if Path(name).name != name:
            raise CheckpointError(f"{path / MANIFEST} names a file outside its checkpoint: {name}")
        if not file.is_file():
            raise CheckpointError(f"{file} is missing from its checkpoint")
        if file.stat().st_size != known["bytes"]:
            raise CheckpointError(f"{file} is damaged: it has {file.stat().st_size} bytes instead of {known['bytes']}")
        if _digest(file) != known["sha256"]:
            raise CheckpointError(f"{file} is damaged: its checksum is not that of the manifest")
        if only is None or file.stem in only:
            try:
                tensors[file.stem] = load_file(file)
            except (SafetensorError, OSError, ValueError) as error:
                raise CheckpointError(f"{file} cannot be read: {error}") from None
    return Checkpoint(path=path, step=manifest["step"], tensors=tensors, facts=manifest["facts"])


def load_latest(folder: Path, only: "tuple[str, ...] | None" = None) -> Checkpoint:
    """The newest checkpoint of ``folder`` that is whole; a warning tells of each newer one that is not.

    Raises:
        CheckpointError: there is none.
    """
    errors = []
    for path in list_checkpoints(folder):
        try:
            found = load(path, only)
        except CheckpointError as error:
            errors.append(str(error))
            continue
        for told in errors:
            warnings.warn(f"{told}; going back to {found.path.name}", stacklevel=3)
        return found
    if errors:
        raise CheckpointError(f"{errors[0]}; no other checkpoint is left in {folder}")
    raise CheckpointError(f"no checkpoint in {folder}: the run ended before it saved one, or this is no run folder")


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in ``folder``, the newest first."""
    found = folder.glob(f"{PREFIX}*") if folder.is_dir() else []
    return sorted((p for p in found if p.name.removeprefix(PREFIX).isdigit()), reverse=True)


def copy_state(target: Mapping[str, Tensor], saved: Mapping[str, Tensor], file: Path) -> None:
    """Copy ``saved`` tensors into those of ``target``, in place, or say in which way the two differ."""
    compare_states(target, saved, file)
    with torch.no_grad():
        for name, value in target.items():
            value.copy_(like(value, saved[name]))


def compare_states(target: Mapping[str, Tensor], saved: Mapping[str, Tensor], file: Path) -> None:
    """Say in which way ``saved`` tensors are not those of a net with the state ``target``.

    Raises:
        CheckpointError: names or shapes differ.
    """
    for kind, names in (("lacks", set(target) - set(saved)), ("has the unknown", set(saved) - set(target))):
        if names:
            raise CheckpointError(f"{file} is of another net: it {kind} {', '.join(sorted(names)[:3])}")
    for name, value in target.items():
        if saved[name].shape != value.shape:
            raise CheckpointError(
                f"{file} is of another net: {name} has shape {tuple(saved[name].shape)} instead of {tuple(value.shape)}"
            )


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing: {path.parent} is no checkpoint of pathline") from None
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no manifest of a pathline checkpoint")
    if manifest.get("version") != VERSION:
        raise CheckpointError(f"{path} has checkpoint version {manifest.get('version')}, this pathline reads {VERSION}")
    body = {key: value for key, value in manifest.items() if key != "sha256"}
    if manifest.get("sha256") != _digest_of(body):
        raise CheckpointError(f"{path} is damaged: its checksum is wrong")
    return manifest

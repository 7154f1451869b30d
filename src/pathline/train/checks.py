"""What is looked at before any work starts."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pathline.objectives import BridgeMatching, Matching
from pathline.train.checkpoint import list_checkpoints
from pathline.train.lock import LOCK
from pathline.train.names import CHECKPOINTS, LOG, PAIRS, PRODUCTS

FREE = (
    "out", "steps", "checkpoint_every", "keep", "keep_best", "skip_limit", "sampling", "cpu",
    "accumulate", "shard", "recompute", "compile", "channels_last",
    "eval_every", "stop_after", "stop_on", "track",
)  # fmt: skip
"""Settings that a resumed run may change; any other would make it another run."""


def check_folder(out: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse to write into a folder that holds something, and to resume or overwrite what is no run."""
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"out {out} is a file: give the path of a folder")
    if resume and overwrite:
        raise ValueError("give resume or overwrite, not both")
    taken = out.is_dir() and any(path.name not in (PAIRS, LOCK) for path in out.iterdir())
    if resume:
        if not list_checkpoints(out / CHECKPOINTS):
            raise FileNotFoundError(f"nothing to resume: {out} holds no checkpoint")
    elif taken and not overwrite:
        raise FileExistsError(
            f"{out} exists and is not empty: --resume goes on with the run in it, --overwrite starts it anew, "
            "--out names another folder"
        )
    elif taken and not (out / LOG).is_file():
        raise FileExistsError(f"{out} holds no run, so nothing in it is overwritten: give another folder with --out")


def make_folder(out: Path) -> None:
    """The run folder, made if need be.

    Raises:
        PermissionError: it cannot be written to.
        ValueError: something in it is a link to elsewhere, which a run of strangers may bring along.
    """
    for path in out.rglob("*"):
        if path.is_symlink() and not path.resolve().is_relative_to(out.resolve()):
            raise ValueError(
                f"{path} is a link out of the run folder, through which files elsewhere would be written: remove it, "
                "or make the run folder itself the link"
            )
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise PermissionError(
            f"the run folder {out} cannot be written ({error}): give another one with --out"
        ) from None


def clear_run(out: Path) -> None:
    """Delete what a run writes, and nothing else, from a folder that passed `check_folder`."""
    for name in PRODUCTS:
        path = out / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def check_first_batch(
    net: nn.Module,
    objective: Callable[..., Tensor],
    given: tuple[Tensor, dict[str, Tensor]],
    classes: "int | None",
) -> None:
    """One loss without a gradient, so that a net that does not fit the data fails before a folder is made.

    Raises:
        ValueError, TypeError: the net knows fewer classes, takes no labels, or fails; the loss is no finite scalar.
    """
    config = getattr(net, "config", None)
    known = config.get("num_classes") if isinstance(config, dict) else None
    if classes is not None and known is not None and classes > known:
        raise ValueError(f"the labels go up to {classes - 1}, but the net has num_classes={known}")
    x, rest = given
    labelled = {"y": rest["y"]} if "y" in rest else {}
    if isinstance(objective, Matching | BridgeMatching):
        objective.field(net).check_conditions(labelled)
    was = net.training
    net.eval()
    try:
        with torch.no_grad(), own_randomness(0):
            loss = objective(net, x, generator=torch.Generator(x.device).manual_seed(0), **rest)
    except (RuntimeError, IndexError) as error:
        told = str(error).splitlines()[0]
        hint = "" if not labelled else " (dropped labels are -1: give the net a class for them, or label_dropout=0)"
        raise ValueError(f"the net fails on a first batch of shape {tuple(x.shape)}: {told}{hint}") from error
    finally:
        net.train(was)
    if not isinstance(loss, Tensor) or loss.ndim:
        raise TypeError(f"objective must return a scalar tensor, got {getattr(loss, 'shape', loss)}")
    if not bool(loss.isfinite()):
        raise ValueError(f"the loss of a first batch is {loss.item()} before any training: look at net and objective")


def refuse_changes(before: dict[str, Any], now: dict[str, Any]) -> None:
    """A resumed run keeps its settings, all but `FREE`."""
    for key in sorted(set(before) | set(now)):
        if key not in FREE and before.get(key) != now.get(key):
            raise ValueError(
                f"resume cannot change {key} from {before.get(key)!r} to {now.get(key)!r}: keep it, or train anew "
                "in another folder"
            )


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """The global generators, which dropout draws from, seeded here and left outside as they were."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield

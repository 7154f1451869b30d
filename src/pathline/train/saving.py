"""A trainer to disk and back: what is worth a checkpoint, what is refused, and who of several processes writes."""

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pathline.train import checkpoint
from pathline.train.checks import check_folder, refuse_changes
from pathline.train.config import plain
from pathline.train.log import Log, last_job
from pathline.train.names import CHECKPOINTS, LOG
from pathline.train.parallel import whole
from pathline.train.processes import job, restarts
from pathline.train.state import pack, restore
from pathline.train.told import settings_told

if TYPE_CHECKING:
    from pathline.train.loop import Trainer


class DivergedError(RuntimeError):
    """The loss or the weights stopped being finite; the last good checkpoint is kept."""


def claim(out: Path, *, resume: bool, overwrite: bool) -> dict[str, bool]:
    """What is to be done with the run folder: resume or overwrite what is there; refused as in `check_folder`.

    A launcher that starts a run again after a process was killed means it to go on, whatever its command line says.
    """
    again = restarts() > 0 and last_job(out / LOG) == job() is not None
    if again:
        resume = bool(checkpoint.list_checkpoints(out / CHECKPOINTS))
        overwrite = not resume  # it was killed before there was anything to keep
    check_folder(out, resume=resume, overwrite=overwrite)
    return {"resume": resume, "overwrite": overwrite}


def save(trainer: "Trainer", log: Log) -> Path:
    """Write a checkpoint of the state after ``trainer.step`` steps, unless there is one or it is not worth keeping."""
    final = trainer.out / CHECKPOINTS / f"{checkpoint.PREFIX}{trainer.step:09d}"
    if trainer.saved == final:
        return final
    if trainer.stepper.stuck:
        give_up(trainer, log, trainer.stepper.stuck)
    total = trainer.processes.pool(trainer.loss_sum).item()
    trainer.processes.pool(trainer.bins.sums)
    if not math.isfinite(total):
        give_up(trainer, log, f"the loss is {total}")
    sizes = [whole(size) for size in torch._foreach_norm([p.detach() for p in trainer.net.parameters()])]
    if not bool(torch.stack(sizes).isfinite().all()):
        give_up(trainer, log, "the weights are not finite")
    tensors, facts = pack(trainer)
    trainer.gather()
    trainer.processes.once(lambda: _write(trainer, log, tensors, facts))
    return final


def _write(trainer: "Trainer", log: Log, tensors: Any, facts: dict[str, Any]) -> None:
    score, by_metric = trainer.watch.score(), trainer.settings.stop_after > 0
    if score is not None and not by_metric:
        log.write(event="held_out", step=trainer.step, held_out_loss=score, time=time.time())
    checkpoint.save(
        trainer.out / CHECKPOINTS, trainer.step, tensors, facts,
        keep=trainer.settings.keep, score=score, keep_best=max(trainer.settings.keep_best, by_metric),
    )  # fmt: skip


def give_up(trainer: "Trainer", log: Log, what: str) -> None:
    """End the run; the last good checkpoint stays.

    Raises:
        DivergedError: always; it says what to try.
    """
    log.write(event="diverged", step=trainer.step, what=what, time=time.time())
    kept = checkpoint.list_checkpoints(trainer.out / CHECKPOINTS)
    settings = trainer.settings
    since = max(0, trainer.step - settings.log_every) + 1
    raise DivergedError(
        f"{what} at step {trainer.step} (looked at since step {since}); "
        + (f"the last good checkpoint is {kept[0]}" if kept else "no checkpoint was written yet")
        + f"; try a lower lr than {settings.lr:g} or a longer warmup than {settings.warmup}"
    )


def reload(trainer: "Trainer") -> Path:
    """Go on from the newest whole checkpoint in the run folder, the one that the first process chooses; its path."""
    folder = trainer.out / CHECKPOINTS
    found: checkpoint.Checkpoint | None = None

    def choose() -> str:
        nonlocal found
        found = checkpoint.load_latest(folder)
        refuse_changes(plain(settings_told(found.facts["settings"])), plain(trainer.settings))
        return found.path.name

    name = trainer.processes.once(choose)
    found = checkpoint.load(folder / name) if found is None else found
    if found.facts["data"]["sha256"] != trainer.data.fingerprint:
        raise ValueError(f"the data are not those that {trainer.out} was trained on: resume with the same data")
    if trainer.describe().get("source") != found.facts["data"].get("source"):
        raise ValueError(f"the source is not that of {trainer.out}: resume with the same source")
    restore(trainer, found)
    return found.path

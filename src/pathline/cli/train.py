"""``pathline train``."""

import dataclasses
import json
import shlex
import tempfile
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

from pathline._errors import nearest
from pathline.cli.parsing import UsageError, parse
from pathline.data import DATASETS
from pathline.train import RECIPES, Run, TrainConfig, assess, pictures
from pathline.train.loop import Trainer, trainer_of
from pathline.train.names import CHECKPOINTS, METRICS_FILE, PICTURE, SAMPLES
from pathline.train.preflight import checkup, suggestions_for
from pathline.train.told import stored_settings

ABOUT = f"""\
Train a generator, then draw samples, measure them and write a report.

  pathline train NAME           a recipe that was tried and measured:
{textwrap.fill(", ".join(RECIPES), 78, initial_indent=" " * 32, subsequent_indent=" " * 32)}
  pathline train --data PATH    your data: .npz or .npy arrays x (N, ...) and labels y (N,) at will, a .csv or .parquet
                                table, a folder of images, .tar shards
  pathline train --config FILE  a YAML config, such as the config.yaml of a run

examples:
  pathline train moons
  pathline train digits --steps 5000 --out runs/longer
  pathline train --data mine.npz --net "mlp(width=256, depth=4)" --steps 20000
  pathline train digits --data mine.npz     the settings of a recipe, your data
  pathline train moons --resume             go on after an interruption, bit for bit
  torchrun --standalone --nproc_per_node 4 -m pathline train moons    the same run by several processes
  pathline train --data mine.npz --dry-run  look at data, network, memory and time, suggest settings, and stop
  pathline train digits --eval-every 500 --track tensorboard

Every option below has a default; recipes bring their own. Names take options as in Python:
--times "logit_normal(-0.4, 1)", --net "dit(width=128)"."""


DATA_SUFFIXES = (".npz", ".npy", ".csv", ".parquet", ".tar")


@dataclass(frozen=True, kw_only=True)
class Actions:
    """What to do around the training."""

    config: str | None = None
    """YAML file with settings; options on the command line count more."""
    resume: bool = False
    """Go on from the last checkpoint in the run folder, with its settings."""
    overwrite: bool = False
    """Delete the run that the folder holds, and start anew."""
    check: bool = True
    """Look at data, network, objective and cost before training; errors stop it. Training is the same with and without."""
    dry_run: bool = False
    """Stop after the check, with settings that the data suggest; nothing is written."""
    samples: bool = True
    """Write samples.npz and samples.png after training."""
    evaluate: bool = True
    """Measure the run after training."""
    report: bool = True
    """Write report.html after training; it shows the samples."""


@dataclass(frozen=True, kw_only=True)
class Arguments(TrainConfig, Actions):
    """Arguments of ``pathline train``."""


def main(words: list[str]) -> None:
    """Run the command."""
    name, rest = (words[0], words[1:]) if words and not words[0].startswith("-") else (None, words)
    base = _base(name, rest)
    own = {field.name: getattr(base, field.name) for field in dataclasses.fields(base)}
    arguments = parse(
        Arguments,
        rest,
        prog=f"pathline train {name or 'NAME'}",
        about=ABOUT,
        default=Arguments(**own, resume="--resume" in rest),
    )
    config = TrainConfig(**{field.name: getattr(arguments, field.name) for field in dataclasses.fields(TrainConfig)})
    if not name and not {"--data", "--config", "--resume"} & {word.split("=")[0] for word in rest}:
        raise UsageError("say what to train: a name such as moons, --data FILE or --config FILE (see --help)")
    if arguments.dry_run:
        _dry_run(config, arguments)
        return
    trainer = trainer_of(config, resume=arguments.resume, overwrite=arguments.overwrite)
    first = trainer.processes.first
    if first:
        _announce(trainer, config)
    if arguments.check and not trainer.resume and not config.shard:  # which looks at a whole net
        trainer.processes.once(lambda: _check(trainer))
    begin = time.perf_counter()
    run = trainer.fit()
    trainer.processes.leave()
    if not first:
        return
    print(f"trained to step {trainer.step} in {time.perf_counter() - begin:.0f} s: {run.path}")
    if trainer.watch.over:
        print(f"stopped early, as {trainer.watch.told()}; what follows is of step {run.step}")
    elif run.step != trainer.step:
        print(f"the best by {config.stop_on} is step {run.step}, which what follows is of")
    _finish(run, arguments, shlex.join(["pathline", "train", *words]))


def _base(name: "str | None", words: list[str]) -> TrainConfig:
    """The config that options change: that of a run to resume, of a file, of a recipe, or the defaults."""
    out, file = _value(words, "--out"), _value(words, "--config")
    if name is not None and file is not None:
        raise UsageError(f"give a name ({name}) or --config {file}, not both")
    if name is not None and name not in RECIPES:
        if Path(name).suffix in (".yaml", ".yml") or Path(name).suffix in DATA_SUFFIXES or Path(name).is_dir():
            option = "--config" if Path(name).suffix in (".yaml", ".yml") else "--data"
            raise UsageError(f"{name} is a file: pathline train {option} {name}")
        raise UsageError(f"unknown recipe {name!r}: {nearest(name, {**RECIPES, **DATASETS})}; or give --data FILE")
    base = TrainConfig.load(file) if file is not None else RECIPES[name]() if name is not None else TrainConfig()
    if name is not None and _value(words, "--data") is not None:
        base = base.replace(out="")  # the recipe on other data: the folder is named after those
    if "--resume" not in words:
        return base
    folder = Path(out or base.out or "runs")
    if not folder.is_dir():
        raise FileNotFoundError(f"nothing to resume: there is no folder {folder}")
    stored = stored_settings(folder / CHECKPOINTS)
    if not isinstance(stored, TrainConfig):
        raise UsageError(f"{folder} was trained from Python objects: resume it there, with Trainer(resume=True)")
    return dataclasses.replace(stored, out=str(folder))


def _value(words: list[str], option: str) -> "str | None":
    """What is given for ``option``, before everything is parsed."""
    for place, word in enumerate(words):
        if word.startswith(f"{option}="):
            return word.split("=", 1)[1]
        if word == option and place + 1 < len(words):
            return words[place + 1]
    return None


def _check(trainer: Trainer) -> None:
    found = checkup(trainer)
    print(f"{found}\n", flush=True)
    found.refuse()


def _dry_run(config: TrainConfig, arguments: Arguments) -> None:
    """The check, and what the data suggest. A folder that is taken is no hindrance: nothing is written."""
    with tempfile.TemporaryDirectory() as folder:
        if not arguments.resume:
            config = config.replace(out=f"{folder}/run", shard=False)
        trainer = trainer_of(config, resume=arguments.resume)
        if not trainer.processes.first:
            return
        _announce(trainer, config)
        found = checkup(trainer)
        print(f"{found}\n\nchecked in {found.seconds:.1f} s; the data suggest:\n", flush=True)
        told = suggestions_for(trainer)
        print(f"{told}\n\nto take these: {told.flags}")
        found.refuse()


def _announce(trainer: Trainer, config: TrainConfig) -> None:
    train, held_out = trainer.parts.train, trainer.parts.held_out
    classes = f", {train.num_classes} classes" if train.num_classes else ""
    weights = sum(p.numel() for p in trainer.net.parameters())
    print(
        f"{train.name}: {len(train)} samples of shape {train.shape} to train on, "
        f"{0 if held_out is None else len(held_out)} held out{classes}\n"
        f"{config.net}: {weights:,} weights, {config.prediction} prediction, {config.schedule} path, "
        f"{config.steps} steps of {config.batch_size} on {trainer.loss_sum.device}"
        + (f" of {trainer.processes.count} processes" if trainer.processes.count > 1 else ""),
        flush=True,
    )


def _finish(run: Run, arguments: Arguments, command: str) -> None:
    """Samples, metrics and report, as far as they are asked for and can be had."""
    from pathline.cli.output import write_samples
    from pathline.train.summary import write_summary
    from pathline.viz import save

    found = None
    places: dict[str, Path] = {}
    if arguments.evaluate and run.data.held_out is not None:
        begin = time.perf_counter()
        found = assess(run, progress=True)
        places["metrics"] = run.path / METRICS_FILE
        places["metrics"].write_text(json.dumps(found.report.to_dict(), indent=1) + "\n", encoding="utf-8")
        print(f"\n{found.report}\n\nmeasured in {time.perf_counter() - begin:.0f} s")
    if arguments.samples:
        n = len(found.samples) if found else 100 if run.about["image"] else 1000
        x = found.samples if found else run.sample(n, progress=True)
        y = found.labels if found else run.labels(n)
        places["samples"], places["picture"] = run.path / SAMPLES, run.path / PICTURE
        write_samples(places["samples"], run, x, y, 0)
        save(pictures.samples(run, x, y), places["picture"])
        if arguments.report:
            places["report"] = write_summary(run, found, x, y, command=command)
    for what, path in places.items():
        print(f"{what:<9}{path}")

"""The command line: ``pathline COMMAND …``. A command is imported when it is called."""

import importlib
import os
import sys
import warnings
from collections.abc import Sequence

from pathline._errors import nearest
from pathline.cli.parsing import UsageError

COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("pathline.cli.train", "train a generator on a named data set or on your file"),
    "sample": ("pathline.cli.sample", "draw samples from a run: an .npz file and a picture"),
    "evaluate": ("pathline.cli.evaluate", "measure a run against data it has not seen"),
    "reflow": ("pathline.cli.reflow", "straighten the paths of a run, so that few steps draw as well as many"),
    "tune": ("pathline.cli.tune", "fit a solver to a run: the same quality in fewer evaluations"),
    "compare": ("pathline.cli.compare", "which solver for which budget of evaluations, on a run"),
    "plot": ("pathline.cli.plot", "pictures of a run: samples, trajectories, field, loss"),
    "verify": ("pathline.cli.verify", "check the theory by numbers, or where in time a run is wrong"),
    "experiment": (
        "pathline.cli.experiment",
        "an ablation with table and picture: predictions, times, solvers, guidance",
    ),
    "animate": ("pathline.cli.animate", "a film of a run: samples on their way from noise to data"),
    "play": ("pathline.cli.play", "see flows move: a playground in your browser, on this machine alone"),
}
"""Command -> the module whose ``main(arguments)`` runs it, and its line in the help."""

HELP = """\
pathline trains, samples and measures flow-matching and diffusion models.

usage: pathline COMMAND [options]

{commands}

start here:
  pathline train moons              a toy in the plane, about a minute on a laptop
  pathline train digits             handwritten digits by class, a few minutes
  pathline train --data mine.npz    your own data: an array x, and labels y if there are any
  pathline sample runs/moons --n 1000

  pathline COMMAND --help           what a command takes
  pathline --version
  --debug, after any command, shows the traceback of an error"""


def main(argv: "Sequence[str] | None" = None) -> int:
    """Run the command line; the exit status is 0, 1 for a failure, 2 for a mistake in the call."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [word for word in arguments if word != "--debug"]
    warnings.showwarning = _show_warning
    try:
        return _run(arguments)
    except KeyboardInterrupt as error:  # Interrupted carries its message and code
        _say(str(error) or "stopped")
        return getattr(error, "code", 130)
    except BrokenPipeError:  # the reader of a pipe has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if debug:
            raise
        _say(f"error: {_one_line(error)}")
        return 2 if isinstance(error, UsageError) else 1


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        lines = [f"  {name:<10} {told}" for name, (_, told) in COMMANDS.items()]
        print(HELP.format(commands="\n".join(lines)))
        return 0
    if arguments[0] in ("-V", "--version"):
        from pathline._version import __version__

        print(f"pathline {__version__}")
        return 0
    command, rest = arguments[0], arguments[1:]
    if command not in COMMANDS:
        kind = "option" if command.startswith("-") else "command"
        raise UsageError(f"unknown {kind} {command!r}: {nearest(command, COMMANDS)}")
    importlib.import_module(COMMANDS[command][0]).main(rest)
    return 0


def _one_line(error: Exception) -> str:
    told = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, ValueError | TypeError | OSError | RuntimeError | ImportError):
        return told
    return f"{type(error).__name__}: {told} (--debug shows where)"


def _say(text: str) -> None:
    print(f"pathline: {text}", file=sys.stderr, flush=True)


def _show_warning(message: "Warning | str", *where: object, **more: object) -> None:
    _say(f"warning: {' '.join(str(message).split())}")

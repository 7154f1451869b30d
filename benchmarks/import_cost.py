"""What `import` costs beyond `import torch`, and how many distributions a plain install brings beyond torch's own.

Import: a fresh interpreter per measurement imports torch, then the contender, and reports wall and CPU time of the latter;
contenders alternate over the rounds, after one unmeasured round that fills the file caches and compiles bytecode.
Each is imported as its first example does; packages whose top level is empty are entered through the modules of that
example, and the heavier of two is named.

Dependencies: one dry run of pip's resolver into an empty environment chooses versions that suit all contenders; from
their metadata, markers evaluated for this interpreter, the distributions that a package brings are followed down to the
last one, minus those of torch and the package itself. Needs the package index.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import tomllib
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import _bench

ROOT = Path(__file__).resolve().parent.parent

STATEMENTS = {
    "pathline": "import pathline",
    "azula": "import azula.denoise, azula.noise, azula.sample",
    "flow_matching": "import flow_matching.path, flow_matching.solver",
    "torchcfm": "import torchcfm",
    "torchdyn": "import torchdyn.core",
    "diffusers": "from diffusers import FlowMatchEulerDiscreteScheduler",
}
PROGRAM = """
import time
import torch
begin, worked = time.perf_counter(), time.process_time()
{statement}
print(time.perf_counter() - begin, time.process_time() - worked)
"""

PEERS = ("azula", "flow_matching", "torchcfm", "torchdyn", "diffusers")
OURS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]


def seconds(statement: str) -> tuple[float, float]:
    """Wall and CPU seconds of ``statement`` after `import torch`, in a fresh process; RuntimeError if it fails there."""
    program = PROGRAM.format(statement=statement)
    # bytecode is kept, as an installed package has it
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    wall, cpu = done.stdout.split()[-2:]
    return float(wall), float(cpu)


def attempt(statement: str) -> str | None:
    """Why ``statement`` cannot run, or None."""
    try:
        seconds(statement)
    except RuntimeError as error:
        return str(error)
    return None


def imports(rounds: int) -> tuple[dict[str, list[tuple[float, float]]], dict[str, str]]:
    """((wall, CPU) seconds of each round by name, why the others are missing)."""
    failures = {name: attempt(statement) for name, statement in STATEMENTS.items()}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name, failure in failures.items() if failure is None}
    for _ in range(rounds):
        for name, values in taken.items():
            values.append(seconds(STATEMENTS[name]))
    return taken, {name: failure for name, failure in failures.items() if failure is not None}


def resolve() -> dict[str, list[Requirement]]:
    """What each distribution of a plain install of us and our peers asks for: one dry run into an empty environment."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        pin = f"torch=={torch.__version__}"
        done = subprocess.run([*command, "--report", str(report), *OURS, *PEERS, pin], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        entries = [entry["metadata"] for entry in json.loads(report.read_text())["install"]]
    asks = {canonicalize_name(e["name"]): [Requirement(text) for text in e.get("requires_dist", [])] for e in entries}
    return asks | {"pathline": [Requirement(text) for text in OURS]}


def closure(root: str, asks: dict[str, list[Requirement]]) -> set[str]:
    """Every distribution that ``root`` brings for this interpreter and system, itself included."""
    seen: set[tuple[str, str]] = set()
    waiting = [(canonicalize_name(root), "")]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for requirement in asks[name]:
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting += [(canonicalize_name(requirement.name), e) for e in ("", *requirement.extras)]
    return {name for name, _ in seen}


def dependencies() -> dict[str, list[str]]:
    """Distributions beyond torch's own and the package itself, by name."""
    asks = resolve()
    base = closure("torch", asks)
    return {name: sorted(closure(name, asks) - base - {canonicalize_name(name)}) for name in ("pathline", *PEERS)}


def main() -> None:
    options = _bench.parser(__doc__)
    options.add_argument("--no-index", action="store_true", help="leave the dependencies out")
    args = options.parse_args()
    _bench.setup(args.threads)
    taken, missing = imports(2 if args.quick else args.rounds)
    medians = {name: [statistics.median(column) for column in zip(*values)] for name, values in taken.items()}
    rows = [
        [name, wall, min(values)[0], cpu, STATEMENTS[name]]
        for (name, values), (wall, cpu) in zip(taken.items(), medians.values())
    ]
    columns = ["", "wall s", "wall s at best", "CPU s", "imported"]
    sections = [("Beyond `import torch`", _bench.table(columns, rows))]
    data: dict[str, object] = {"import_wall_and_cpu_s": medians}
    if not args.no_index:
        found = dependencies()
        counts = [[name, len(names), ", ".join(names)] for name, names in found.items()]
        sections.append(("Distributions beyond torch's own", _bench.table(["", "count", "names"], counts)))
        data["distributions"] = found
    if missing:
        sections.append(("Left out", "\n".join(f"- {name}: {reason}" for name, reason in missing.items())))
    if args.quick:
        print("\n\n".join(f"## {heading}\n\n{text}" for heading, text in sections))
        return
    _bench.write("import_cost", "What an import and an install cost", sections, data)


if __name__ == "__main__":
    main()

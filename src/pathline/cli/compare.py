"""``pathline compare RUN``."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
import tyro
from torch import Tensor

from pathline.cli.parsing import parse

ABOUT = """\
Which solver for which budget? Every deterministic solver on every built-in grid, and the run's tuned solvers, against
converged samples from the same noise: a table with the error and the metrics of the run (FD where it has labelled images,
else W2, and sliced W2), RUN/compare.json and RUN/compare.png, and a recommendation per budget.

examples:
  pathline compare runs/moons
  pathline compare runs/digits --budgets 4 8 16 --samples 128 --solvers euler heun ab2 abm2 unipc"""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Arguments of ``pathline compare``."""

    run: Annotated[str, tyro.conf.arg(metavar="RUN"), tyro.conf.Positional]
    """Folder of a run, such as runs/moons."""
    budgets: tuple[int, ...] = (4, 6, 8, 12, 16, 32)
    """Field evaluations per sample."""
    samples: int = 256
    """Samples to compare on."""
    solvers: tuple[str, ...] = ()
    """Solvers of pathline.SOLVERS; all deterministic ones if none is named."""
    guidance: str | None = None
    """Weight of classifier-free guidance, or a method such as "apg(2.0)"; the run's own if not given."""
    seed: int = 0
    """Seed of the noises."""
    cpu: bool = False
    """Stay on the CPU although there is a GPU."""


def main(words: "list[str]") -> None:
    """Run the command."""
    arguments = parse(Arguments, words, prog="pathline compare", about=ABOUT)
    from pathline._errors import lookup
    from pathline.solvers import SOLVERS
    from pathline.train import Run
    from pathline.train.processes import Processes

    for name in arguments.solvers:
        lookup("solver", name, SOLVERS)
    run = Run.open(arguments.run, device=Processes.alone(cpu=arguments.cpu).device)
    found = measure(run, arguments)
    print(table(found))
    (run.path / "compare.json").write_text(json.dumps(found, indent=1) + "\n")
    print(f"picture  {draw(run, found)}")


def measure(run: Any, arguments: Arguments) -> dict[str, Any]:
    """For each budget and solver its best grid: RMS error, and distances of the samples to data that were held out."""
    from pathline.guidance import guide
    from pathline.solvers import Noise, load_solver
    from pathline.solvers.frontier import endpoint, ranking, reference, rms
    from pathline.solvers.integrate import as_cond, bar
    from pathline.solvers.sampling import draw_source, evaluating
    from pathline.train.names import SOLVER_FILES

    field, n = run.field, arguments.samples
    weight = run.arguments(guidance=arguments.guidance)["guidance"]
    field = guide(field, weight)
    labels = run.labels(n)
    cond = as_cond({} if labels is None else {"y": labels}, n, run.device)
    distances = distances_of(run, n)
    rows: list[dict[str, Any]] = []
    with evaluating(field), torch.inference_mode():
        if run.origin is None:
            x_0 = draw_source(field, (n, *run.shape), Noise(seeds=list(range(arguments.seed, arguments.seed + n))))
        else:
            x_0 = run.origin.points(arguments.seed, n).to(run.device)
        target, moved = reference(field, x_0, cond, tolerance=1e-3)

        def add(budget: int, solver: str, grid: str, ends: Tensor) -> None:
            named = {"evaluations": budget, "solver": solver, "grid": grid}
            rows.append({**named, "error": rms(ends - target), **distances(run.decode(ends.cpu()))})

        for budget in bar(arguments.budgets, True, "budgets"):
            seen: set[str] = set()
            for _, c in ranking(field, x_0, target, cond, budget, solvers=arguments.solvers or None, keep=24, pilot=32):
                if c.solver_name not in seen:
                    seen.add(c.solver_name)
                    add(budget, c.solver_name, c.grid_name, endpoint(field, x_0, c.solver, c.grid, cond))
        for path in sorted((run.path / SOLVER_FILES).glob("*.json")):
            tuned = load_solver(path)
            add(len(tuned.clock), path.stem, "its own", endpoint(field, x_0, tuned, tuned.own_grid(field.path), cond))
        converged = {"uncertainty": moved, **distances(run.decode(target.cpu()))}
    return {"rows": rows, "converged": converged, "samples": n, "guidance": str(weight)}


def distances_of(run: Any, n: int) -> Callable[[Tensor], dict[str, float]]:
    """A function of ``n`` samples in the units of the data: their distances to as many held-out data, by name."""
    from pathline.metrics import frechet_distance, sliced_wasserstein2, wasserstein2
    from pathline.train.assess import classifier

    part = run.data.held_out or run.data.train
    judge = classifier(run) if part.image and run.data.train.y is not None else None
    real = part.x[:n]
    features = None if judge is None else judge.features(part.x)

    def distances(made: Tensor) -> dict[str, float]:
        made = made[: len(real)]
        flat, target = made.flatten(1), real[: len(made)].flatten(1)
        found = {}
        if judge is not None and features is not None:
            found["FD"] = frechet_distance(judge.features(made), features)
        else:
            found["W2"] = wasserstein2(flat, target)
        return found | {"sliced W2": sliced_wasserstein2(flat, target, generator=torch.Generator().manual_seed(0))}

    return distances


def table(found: dict[str, Any], most: int = 5) -> str:
    """The best ``most`` solvers per budget, and what to use."""
    converged = found["converged"]
    metrics = [name for name in converged if name != "uncertainty"]

    def line(evaluations: Any, solver: str, grid: str, error: str, row: dict[str, Any]) -> str:
        return f"{evaluations:>11}  {solver:<16} {grid:<16} {error:>10}" + "".join(
            f" {row[name]:>10.4g}" if row else f" {name:>10}" for name in metrics
        )

    lines = [line("evaluations", "solver", "grid", "RMS error", {})]
    advice = []
    rows = found["rows"]
    for budget in sorted({row["evaluations"] for row in rows}):
        here = sorted((row for row in rows if row["evaluations"] == budget), key=lambda row: row["error"])
        lines += [line(budget, row["solver"], row["grid"], f"{row['error']:.4g}", row) for row in here[:most]]
        best = here[0]
        grid = "" if best["grid"] == "its own" else f" on the {best['grid']} grid"
        advice.append(f"at {budget} evaluations use {best['solver']}{grid}")
    lines.append(line("converged", "", "", f"{converged['uncertainty']:.2g}", converged))
    lines.append("RMS error: distance to converged samples of the same noise, in standardised units;")
    lines.append(f"{', '.join(metrics)}: distances of the samples to held-out data, in the units of the data.")
    return "\n".join([*lines, "", *advice])


def draw(run: Any, found: dict[str, Any]) -> Any:
    """Error against evaluations of the solvers that are best somewhere, and of a few that everybody knows."""
    from pathline.viz import error_curve, save

    best = {min((r for r in found["rows"] if r["evaluations"] == b), key=lambda r: r["error"])["solver"]
            for b in {row["evaluations"] for row in found["rows"]}}  # fmt: skip
    shown = best | {"euler", "heun", "rk4", "ab2", "abm2", "dpmpp_2m", "unipc"}
    series: dict[str, dict[float, float]] = {}
    for row in found["rows"]:
        if row["solver"] in shown and row["error"] > 0.0:
            name = "tuned" if row["grid"] == "its own" else row["solver"]
            series.setdefault(name, {})[row["evaluations"]] = row["error"]
    ax = error_curve(series, ylabel="RMS distance to converged samples", title="Error against evaluations")
    return save(ax, run.path / "compare.png")

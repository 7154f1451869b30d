"""Pictures of what is measured on a run: error against evaluations, straightness, loss by time, and the check of its field."""

import json
import math
from typing import TYPE_CHECKING, Any

import torch

from pathline.train.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COMPARED = "compare.json"
"""What `pathline compare` leaves in the folder of a run."""
NFE_SOLVERS, NFE_BUDGETS = ("euler", "heun", "rk4", "abm2", "dpmpp_2m"), (4, 6, 8, 12, 16, 24, 32)
BINS = 10


def nfe(run: Run, n: "int | None" = None) -> "Axes":
    """RMS distance to converged samples against evaluations: of `pathline compare` if it has run, else measured here."""
    from pathline import viz

    n = 64 if n is None else n
    if (run.path / COMPARED).is_file():
        series, note = _compared(run), "best grid of each solver"
    else:
        series, note = _measured(run, n), f"uniform grid, {n} samples"
    return viz.error_curve(series, ylabel="RMS distance to converged samples", title=f"{run.path.name}: {note}")


def _compared(run: Run, most: int = 6) -> dict[str, dict[float, float]]:
    """The solvers of `pathline compare` that are best at some budget, then those that are best of the others."""
    rows = json.loads((run.path / COMPARED).read_text(encoding="utf-8"))["rows"]
    series: dict[str, dict[float, float]] = {}
    for row in rows:
        line, cost, error = series.setdefault(row["solver"], {}), float(row["evaluations"]), float(row["error"])
        if 0.0 < error < math.inf:
            line[cost] = min(error, line.get(cost, math.inf))
    budgets = sorted({cost for line in series.values() for cost in line})
    best = [min((s for s in series if cost in series[s]), key=lambda s: series[s][cost]) for cost in budgets]
    rest = sorted((s for s in series if len(series[s]) > 1), key=lambda s: min(series[s].values()))
    return {name: series[name] for name in list(dict.fromkeys([*best, *rest]))[:most]}


def _measured(run: Run, n: int) -> dict[str, dict[float, float]]:
    from pathline.guidance import guide
    from pathline.solvers import Noise
    from pathline.solvers.frontier import contenders, endpoint, reference, rms
    from pathline.solvers.sampling import draw_source, evaluating

    field = guide(run.field, run.arguments()["guidance"])
    labels = run.labels(n)
    cond: dict[str, Any] = {} if labels is None else {"y": labels}
    series: dict[str, dict[float, float]] = {}
    with evaluating(field), torch.inference_mode():
        x_0 = (
            draw_source(field, (n, *run.shape), Noise(seeds=list(range(n))))
            if run.origin is None
            else run.origin.points(0, n)
        )
        target, moved = reference(field, x_0, cond, tolerance=1e-3, most=256)
        for budget in NFE_BUDGETS:
            for c in contenders(field, budget, NFE_SOLVERS, ["uniform"]):
                error = rms(endpoint(field, x_0, c.solver, c.grid, cond) - target)
                if math.isfinite(error) and error > 2.0 * moved:
                    series.setdefault(c.solver_name, {})[c.evaluations] = error
    if not series:
        raise ValueError(f"no solver leaves an error on {run.path} that can be told from that of the reference")
    return series


def straightness(run: Run, n: "int | None" = None) -> "Axes":
    """How much paths bend at each time, E|dx/dt - (x_1 - x_0)|²/E|x_1 - x_0|² (T12): 0 where they are straight."""
    from pathline import viz
    from pathline.verify.trajectories import Paths, bend

    n = 256 if n is None else n
    solution = run.trajectory(n, solver="heun", evaluations=8 * BINS)
    paths = Paths(times=solution.times, states=torch.as_tensor(solution.trajectory), evaluations=solution.evaluations)
    values = [bend(paths, k / BINS, (k + 1) / BINS) for k in range(BINS)]
    whole = bend(paths, 0.0, 1.0)
    return viz.over_time(
        {run.path.name: values}, level=whole, level_label=f"all times: {whole:.3g}", ylabel="bend (0 is straight)",
        title=f"{run.path.name}: how much {n} paths bend",
    )  # fmt: skip


def bins(run: Run, n: "int | None" = None) -> "Axes":
    """The loss by time over the training."""
    from pathline import viz

    return viz.loss_by_time(run.log, title=f"{run.path.name}: loss by time")


def verify(run: Run, n: "int | None" = None) -> "Axes":
    """The loss at each time beside the least that any network can have, on data seen and unseen (`pathline verify RUN`)."""
    from pathline import viz
    from pathline.verify import verify_model

    run.need_noise("verify")
    parts = []
    for part in (run.data.train, run.data.held_out):
        labelled = part is not None and part.y is not None and bool(run.class_names)
        parts.append(
            (None, None) if part is None else (run.standardizer.transform(part.x), part.y if labelled else None)
        )
    (train, y_train), (fresh, y_fresh) = parts
    found = verify_model(
        run.field,
        train,
        fresh,
        y_train=y_train,
        y_held_out=y_fresh,
        bins=BINS,
        n=256 if n is None else n,
        steps=2 * BINS,
    )
    names = {"train": "training data", "held_out": "held-out data", "bayes": "least possible (training data)"}
    series = {told: [getattr(row, name) for row in found.bins] for name, told in names.items()}
    known = {name: line for name, line in series.items() if any(math.isfinite(v) for v in line)}
    edges = [found.bins[0].low, *(row.high for row in found.bins)]
    title = f"{run.path.name}: loss of the {found.prediction} by time"
    return viz.over_time(known, edges=edges, ylabel=f"squared error of the {found.prediction}", title=title)

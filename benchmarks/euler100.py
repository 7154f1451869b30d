"""How many evaluations does each solver need for the quality of 100 Euler steps?

On exact fields quality is the RMS distance of the endpoints to a converged solve of the same noise. On a trained model of images
it is also the Fréchet distance in the features of a classifier and the sliced W2, both to real data: the fewest
evaluations whose FD and sliced W2 are at most 5 % above those of 100 Euler steps from the same noise, which is what other
noise does to them.

    python benchmarks/euler100.py --run runs/digits

Columns that a run does not measure are kept from the results of an earlier one.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

import _bench
import pathline as pl
from frontier import Subject, converged, eight_gaussians, first_rows, moons, trained
from pathline.solvers import grids
from pathline.solvers.base import Solver
from pathline.solvers.frontier import endpoint, reference, rms
from pathline.solvers.sampling import start_where_defined

BUDGETS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 18, 20, 24, 28, 32, 40, 48, 64, 80, 100)
SOLVERS = (
    "euler", "ddim", "midpoint", "heun", "ralston3", "ssprk3", "rk4", "ab2", "ab3", "abm1", "abm2", "abm3", "abm4", "lms", "deis2",
    "deis3", "dpm2", "dpm3", "dpmpp_2m", "dpmpp_3m", "unipc2", "unipc3",
)  # fmt: skip
FITTED = ("abm1", "abm2", "ab2")
ON_A_MODEL = ("midpoint", "heun", "ab2", "abm1", "dpmpp_2m", "unipc2")
"""Solvers that run on a trained model, where every evaluation costs a network."""
FITTED_TO, HELD_OUT, ITERATIONS = 320, 192, 100
"""Noises that a solver is fitted to and judged on, and the steps of the fit."""
FAIR = 1.05  # other noise moves the FD of 100 Euler steps by 4 %, their sliced W2 by 5 %

Quality = Callable[[Tensor], tuple[float, ...]]


def fewest(
    solver: Solver, target: tuple[float, ...], ends: Callable[[int], Tensor | None], quality: Quality
) -> int | None:
    """The smallest budget from which on three in a row reach ``target``; None if none does."""
    target = tuple(most * (1.0 + 1e-6) for most in target)  # DDIM on the linear path is Euler to rounding
    run_of: list[int] = []
    for budget in BUDGETS:
        x = ends(budget)
        good = x is not None and all(found <= most for found, most in zip(quality(x), target, strict=True))
        run_of = [*run_of, budget] if good else []
        if len(run_of) == 3 or (run_of and budget == BUDGETS[-1]):
            return run_of[0]
    return None


def measure(
    subject: Subject,
    quality: Quality,
    fair: float,
    solvers: tuple[str, ...] = SOLVERS,
    fitted_too: tuple[str, ...] = FITTED,
) -> dict[str, int | None]:
    """Evaluations by solver, on the uniform grid and, for a few, on a fitted one."""
    x_0 = subject.noise(subject.test, 0)
    field, cond = subject.field, subject.cond
    uniform = pl.times.uniform()
    with torch.inference_mode():
        target = tuple(
            fair * value for value in quality(endpoint(field, x_0, pl.SOLVERS["euler"], uniform.grid(100), cond))
        )
        found = {}
        for name in solvers:
            solver = pl.SOLVERS[name]

            def ends(budget: int, solver: Solver = solver, fitted: bool = False, name: str = name) -> Tensor | None:
                if solver.evaluations(1) > budget:
                    return None
                steps = max(n for n in range(1, budget + 1) if solver.evaluations(n) <= budget)
                grid = start_where_defined(field, uniform.grid(steps))
                if fitted:
                    pilot: dict[str, Any] = {key: value[: subject.pilot] for key, value in cond.items()}
                    grid = grids.fit(field, steps, subject.noise(subject.pilot, 7), solver=name, **pilot)
                x = endpoint(field, x_0, solver, grid, cond)
                return x if bool(x.isfinite().all()) else None

            found[name] = fewest(solver, target, ends, quality)
            if name in fitted_too:
                found[f"{name}, fitted grid"] = fewest(
                    solver, target, lambda budget, ends=ends: ends(budget, fitted=True), quality
                )
            print(name, found[name], found.get(f"{name}, fitted grid"), flush=True)
    return found


def exact(subject: Subject) -> Quality:
    truth = converged(subject.field, subject.noise(subject.test, 0), subject.cond)
    return lambda x: (rms(x - truth),)


def images(path: str, subject: Subject) -> tuple[Quality, float]:
    """(FD, sliced W2) of decoded samples against all real data, and the real-vs-real FD for scale."""
    from pathline.metrics import frechet_distance, sliced_wasserstein2
    from pathline.train import Run
    from pathline.train.assess import classifier

    run = Run.open(path)
    judge = classifier(run)
    real = torch.cat([run.data.train.x, run.data.held_out.x]) if run.data.held_out is not None else run.data.train.x
    features = judge.features(real)

    def quality(x: Tensor) -> tuple[float, float]:
        made = run.decode(x)
        flat = sliced_wasserstein2(made.flatten(1), real.flatten(1), generator=torch.Generator().manual_seed(0))
        return frechet_distance(judge.features(made), features), flat

    half = len(features) // 2
    return quality, frechet_distance(features[:half], features[half:])


def tuned_quality(subject: Subject, quality: Quality, budgets: tuple[int, ...]) -> dict[str, list[float]]:
    """Quality of solvers fitted on other noise, their times alone and with all coefficients."""
    total = FITTED_TO + HELD_OUT
    x_0 = subject.noise(total, 3)
    cond = first_rows(subject.cond, total)
    with torch.inference_mode():
        ends = reference(subject.field, x_0, cond, tolerance=subject.tolerance)[0]
    ends, found = ends.clone(), {}  # what inference mode made cannot be trained on
    for budget in budgets:
        for what, name in (("times", "times"), ("all", "times and coefficients")):
            tuned = pl.tune(
                subject.field, budget, target=(x_0, ends), samples=FITTED_TO, what=what, method="adam",
                iterations=ITERATIONS, **cond,
            )  # fmt: skip
            grid = tuned.own_grid(subject.field.path)
            x = endpoint(subject.field, subject.noise(subject.test, 0), tuned, grid, subject.cond)
            found[f"{budget}, {name}"] = [*quality(x), tuned.info["error"]]
            print(budget, name, found[f"{budget}, {name}"], tuned.info["seconds"], flush=True)
    return found


def main() -> None:
    """Measure and write the results."""
    options = _bench.parser(__doc__)
    options.add_argument("--fields", nargs="*", default=["8gaussians", "moons"])
    options.add_argument("--run", help="a trained run of labelled images, such as runs/digits")
    options.add_argument(
        "--parts", nargs="+", choices=("untuned", "tuned"), default=["untuned", "tuned"], help="of a run"
    )
    given = options.parse_args()
    _bench.setup(given.threads)
    makers = {"8gaussians": eight_gaussians, "moons": moons}
    path = _bench.RESULTS / "euler100.json"
    record: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    columns: dict[str, Mapping[str, int | None]] = record.get("evaluations", {})
    for name in given.fields:
        subject = makers[name]()
        columns[name] = measure(subject, exact(subject), 1.0)
    notes: list[str] = record.get("notes", [])
    if given.run:
        subject = trained(given.run)
        subject = Subject(**{**vars(subject), "test": 500, "cond": {"y": torch.arange(500) % 10}})
        quality, floor = images(given.run, subject)
        if "untuned" in given.parts:
            columns["trained digits, FD and sliced W2"] = measure(subject, quality, FAIR, ON_A_MODEL, ("ab2",))
        x_0 = subject.noise(500, 0)
        with torch.inference_mode():
            euler = quality(
                endpoint(subject.field, x_0, pl.SOLVERS["euler"], pl.times.uniform().grid(100), subject.cond)
            )
        if "tuned" in given.parts:
            record["tuned"] = tuned_quality(subject, quality, (5, 4))
        tuned: dict[str, list[float]] = record.get("tuned", {})
        record["euler"], record["floor"] = list(euler), floor
        notes = [
            f"Trained digits, 500 samples against all 1,797 images: 100 Euler steps FD {euler[0]:.3f}, sliced W2 {euler[1]:.4f} (two halves of "
            f"the real data: FD {floor:.3f}); solvers fitted to converged endpoints: "
            + "; ".join(
                f"{name} FD {fd:.3f}, sliced W2 {w2:.4f}, RMS {off:.3f}" for name, (fd, w2, off) in tuned.items()
            )
            + "."
        ]
    names = [*next(iter(columns.values()))]
    rows = [
        [name, *("" if name not in column else str(column[name] or "> 100") for column in columns.values())]
        for name in names
    ]
    text = (
        "Fewest network evaluations that reach 100 Euler steps on the uniform grid, for that and the next two budgets of "
        f"{', '.join(map(str, BUDGETS))}. Uniform grid unless told otherwise. RMS: distance to converged endpoints of the same noise; FD and "
        f"sliced W2 at most {FAIR:g} times those of Euler.\n\n"
    )
    record["evaluations"], record["notes"] = {name: dict(column) for name, column in columns.items()}, notes
    body = text + _bench.table(["solver", *columns], rows) + "\n\n" + "\n\n".join(notes)
    if given.quick:
        print(body)
        return
    _bench.write("euler100", "The quality of 100 Euler steps", [("", body)], record)


if __name__ == "__main__":
    main()

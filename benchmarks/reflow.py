"""Reflow on moons and digits: straightness and one-step samples before, after one and two reflows, and distilled.

Runs lie in results/.cache/reflow and are not trained again. W2 (moons, 1,000 held-out points) or FD in the features of a small
classifier (digits) of one Euler step, beside the best of 32 Heun steps; real against real is the floor of the metric.

    OMP_NUM_THREADS=1 python benchmarks/reflow.py --sets moons digits
"""

from pathlib import Path
from typing import Any

import _bench
import pathline as pl
from pathline.train import RECIPES, Run, assess, reflow
from pathline.train.reflow import measured

FOLDER = _bench.RESULTS / ".cache" / "reflow"
SETS: dict[str, dict[str, Any]] = {
    "moons": {"base": {"steps": 6000}, "training": {"steps": 4000, "lr": 5e-3}, "pairs": 50_000},
    "digits": {"base": {}, "training": {"steps": 2500, "lr": 1e-3}, "pairs": 20_000, "guidance": 1.5},
}


def opened(folder: Path, make: Any) -> Run:
    """The run in ``folder``, trained by ``make`` if it is not there yet."""
    if (folder / "done").exists():
        return Run.open(folder)
    run = make()
    (folder / "done").touch()
    return run


def rounds(name: str) -> list[dict[str, Any]]:
    """What is measured of the base run, after one and two reflows, and distilled."""
    told = SETS[name]
    base = FOLDER / name

    def start() -> Run:
        return pl.fit(RECIPES[name](out=str(base), **told["base"]), overwrite=base.exists(), progress=False)

    runs = {"before": opened(base, start)}
    for title, place, distill in (
        ("1 reflow", "1", False),
        ("2 reflows", "2", False),
        ("2 reflows, distilled", "one", True),
    ):
        parent = runs["1 reflow" if place == "2" else "2 reflows" if distill else "before"]
        out = FOLDER / f"{name}-{place}"

        def again(parent: Run = parent, out: Path = out, distill: bool = distill) -> Run:
            guided = told.get("guidance") if out.name.endswith("-1") else None
            return reflow(
                parent, out=out, pairs=told["pairs"], seed=len(out.name), distill=distill, guidance=guided,
                training=told["training"], measure=False, overwrite=out.exists(), progress=False,
            ).run  # fmt: skip

        runs[title] = opened(out, again)
    found = []
    for title, run in runs.items():
        row: dict[str, Any] = {"run": title, **measured(run, distilled="distilled" in title)}
        metric = "fd" if run.about["image"] else "w2"
        if "distilled" not in title:
            best = assess(run, metrics=(metric,), solver="heun", steps=32, guidance=1.0).report.rows[0]
            row |= {f"{best.name}, 32 Heun steps": best.value, "real against real": best.floor}
        found.append(row)
        print(name, row, flush=True)
    return found


def main() -> None:
    """Train what is missing, measure, and write the tables."""
    options = _bench.parser(__doc__)
    options.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    args = options.parse_args()
    _bench.setup(args.threads)
    if args.quick:
        for told in SETS.values():
            told |= {"base": {"steps": 20}, "training": {"steps": 10}, "pairs": 100}
        global FOLDER
        import tempfile

        FOLDER = Path(tempfile.mkdtemp())
    data = {name: rounds(name) for name in args.sets}
    if args.quick:
        return
    sections = []
    for name, rows in data.items():
        columns = list(dict.fromkeys(key for row in rows for key in row))
        sections.append((name, _bench.table(columns, [[row.get(key) for key in columns] for row in rows])))
    _bench.write("reflow", "Reflow", sections, {"sets": data})


if __name__ == "__main__":
    main()

"""Where in time to train, and along which schedule (theory T20-T26)."""

from collections.abc import Iterator

from pathline.experiments.base import Experiment, Options, Record
from pathline.experiments.subjects import recipe
from pathline.experiments.training import Yardstick, trained_config
from pathline.train import Run, TrainConfig

TIMES = ("uniform", "logit_normal(0.0, 1.0)", "mode(1.29)", "cosmap", "shifted(0.5)", "shifted(2)")
SCHEDULES = ("linear", "vp", "cosine", "trig", "edm")
SHARED = "log_snr_normal(mean=0.5, std=1.2)"
"""EDM's law of training noise for data of unit variance, the same for every schedule."""


def distances(run: Run, yardstick: Yardstick, evaluations: int, seed: int, **cost: float) -> Record:
    """What samples of ``run`` at so many evaluations are like, under the names that every subject has."""
    labels = yardstick.real.y
    x = run.sample(yardstick.n, y=labels, seed=seed, solver="ab2", guidance=1, evaluations=evaluations)
    found = yardstick(x, labels)
    main = found[yardstick.main]
    return {
        "distance": main,
        "real vs real": yardstick.floor()[yardstick.main],
        "sliced W2": found["sliced W2"],
        **cost,
    }


def begin(options: Options, default: str) -> tuple[TrainConfig, Yardstick]:
    """The recipe and its yardstick."""
    config = recipe(options.subject or default, quick=options.quick)
    return config, Yardstick.of(config, quick=options.quick)


def measure_times(options: Options) -> Iterator[Record]:
    """Train under each law, sample with few evaluations and with many."""
    config, yardstick = begin(options, "digits")
    for law in TIMES[:2] if options.quick else TIMES:
        for seed in options.seeds:
            run, seconds = trained_config(config.replace(times=law), yardstick.train, seed)
            for evaluations in (5,) if options.quick else (5, 50):
                yield {
                    "times": law, "evaluations": evaluations, "seed": seed,
                    **distances(run, yardstick, evaluations, seed, seconds=seconds),
                }  # fmt: skip


def measure_schedules(options: Options) -> Iterator[Record]:
    """Train along each schedule, with times uniform in its own clock and with the same law of the noise for all."""
    config, yardstick = begin(options, "digits")
    config = config.replace(prediction="edm_f(1.0)", loss_in=None)
    for schedule in SCHEDULES[:1] if options.quick else SCHEDULES:
        for told, law in (("own clock", "uniform"), ("shared noise", SHARED)):
            for seed in options.seeds:
                run, seconds = trained_config(config.replace(schedule=schedule, times=law), yardstick.train, seed)
                for evaluations in (5,) if options.quick else (5, 20, 50):
                    yield {
                        "schedule": schedule, "training": told, "evaluations": evaluations, "seed": seed,
                        **distances(run, yardstick, evaluations, seed, seconds=seconds),
                    }  # fmt: skip


VALUES = ("distance", "real vs real", "sliced W2", "seconds")

EXPERIMENTS = (
    Experiment(
        name="times",
        question="Which law of the training times draws best with 5 evaluations, and with 50? Distance is FD for images, W2 for points.",
        measure=measure_times,
        by=("times", "evaluations"),
        values=VALUES,
        x="times",
        y="distance",
        log="y",
        floor="real vs real",
        source="The laws of Esser et al. (arXiv 2403.03206), section 3.1; T26.",
        subject="digits",
    ),
    Experiment(
        name="schedules",
        question="Equal training along five schedules: what does the schedule change? Distance is FD for images, W2 for points.",
        measure=measure_schedules,
        by=("schedule", "training", "evaluations"),
        values=VALUES,
        x="evaluations",
        y="distance",
        log="xy",
        floor="real vs real",
        source="The network predicts EDM's F, so that with the same law of the noise all schedules train alike; T20-T24.",
        subject="digits",
    ),
)

"""`pathline verify`: every statement holds, every deliberate mistake is caught, and a model's faults are found where they are."""

import dataclasses
import math
import re

import pytest
import torch

import pathline as pl
from pathline import cli, verify
from pathline.field import Field
from pathline.objectives import Matching
from pathline.paths import AffinePath
from pathline.predictions import DATA, NOISE, VELOCITY, Prediction
from pathline.schedules import Coefs, Linear, Trig
from pathline.testing import oracles
from pathline.train import TrainConfig
from pathline.verify import CHECKS, Outcome, bayes_loss, bayes_objective, report, verify_model
from pathline.verify.base import Check, Mistake, bound, slope, value
from pathline.verify.model_report import COLUMNS, text_table
from pathline.verify.model_report import to_html as model_html

LINEAR = AffinePath(Linear())


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# -- the checks of the theory ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHECKS)
def test_the_statement_holds_and_every_mistake_is_caught(name: str) -> None:
    (result,) = verify.run([name], controls=True)
    failed = [f"{r.name}: {r.measured}, expected {r.expected}" for r in result.outcome.readings if not r.passed]
    assert not failed, failed
    missed = [mistake.name for mistake, outcome in result.controls if outcome.passed]
    assert not missed, missed
    assert len(result.controls) == len(result.check.wrong) >= 1
    axes = report.blank_figure(4.0, 3.0).subplots()
    result.check.draw(axes, result.outcome)
    assert axes.has_data()


def test_every_statement_that_was_promised_has_a_check() -> None:
    promised = [f"T{n}" for n in (*range(1, 27), *range(28, 38), 39)]
    assert list(CHECKS) == promised
    assert all(name == check.id for name, check in CHECKS.items())


def test_every_formula_is_valid_mathtext() -> None:
    from matplotlib.mathtext import MathTextParser

    parser = MathTextParser("path")
    for check in CHECKS.values():
        assert check.formulas
        for line in check.formulas:
            width, height, *_ = parser.parse(f"${line}$")
            assert width > 0
            assert height > 0


def test_checks_repeat_themselves_and_leave_the_global_state_alone() -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    first, second = (verify.run(["T8"])[0].outcome for _ in range(2))
    assert [r.error for r in first.readings] == [r.error for r in second.readings]
    assert torch.equal(state, torch.get_rng_state())
    assert torch.get_num_threads() == threads


def test_readings_fail_on_nan_and_beyond_their_tolerance() -> None:
    assert bound("x", 0.1, 0.1).passed
    assert not bound("x", 0.11, 0.1).passed
    assert not bound("x", math.nan, 0.1).passed
    assert not value("x", math.nan, 1.0, 0.1).passed
    assert not bound("x", 1e-30, 0.0).passed
    outcome = Outcome(readings=(bound("good", 0.0, 1.0), bound("bad", math.nan, 1.0), bound("close", 0.9, 1.0)))
    assert not outcome.passed
    assert outcome.worst.name == "bad"


def test_slope_is_the_power_of_a_power_law() -> None:
    assert slope([0.1, 0.2, 0.4], [3 * h**2.5 for h in (0.1, 0.2, 0.4)]) == pytest.approx(2.5)


def test_an_unknown_id_is_told_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown check 'T144'.*T14"):
        verify.run(["T12", "T144"])


# -- table, page, picture -------------------------------------------------------------------------------------------------------


def broken(name: str = "T12") -> Check:
    """A check whose formula under test is one of its mistakes, and whose only mistake is right."""
    check = CHECKS[name]
    return dataclasses.replace(check, right=check.wrong[0].formula, wrong=(Mistake(name="none", formula=check.right),))


def test_the_table_names_failed_readings_and_missed_mistakes() -> None:
    good, bad = verify.run(["T17"])[0], verify.run_check(broken(), controls=True)
    assert good.passed
    assert not bad.passed
    assert not bad.caught
    text = report.table([good, bad], width=140)
    assert "1 of 2 checks passed" in text
    assert "0 of 1 deliberate mistakes caught" in text
    assert "FAIL" in text
    assert "! u_t(x_t|z) = x_1 - x_0 at every t" in text
    assert "! not caught: none" in text
    assert max(map(len, report.table([good], width=140).splitlines())) <= 140


def test_the_page_carries_everything_within(tmp_path) -> None:
    results = verify.run(["T17", "T11"], controls=True)
    page = report.to_html(results)
    sources = re.findall(r'src="([^"]{5})', page)
    assert sources
    assert set(sources) == {"data:"}
    assert "http" not in re.sub(r'src="[^"]*"', "", page)
    for result in results:
        assert f'id="{result.check.id}"' in page
        assert page.count(f'alt="{result.check.formulas[0][:20]}'.replace("&", "&amp;")) == 1
        for mistake in result.check.wrong:
            assert mistake.name.split(",")[0].split("'")[0] in page
    saved = report.save_picture(results[0], tmp_path / "new" / "t17.png")
    assert saved.read_bytes()[:4] == b"\x89PNG"


# -- the Bayes-optimal loss ---------------------------------------------------------------------------------------------------------


def gaussian_loss(prediction: Prediction, std: float, t: torch.Tensor, schedule: Linear | Trig) -> torch.Tensor:
    """Var[a x_1 + b x_0 | x_t] per dimension: the determinant of the joint covariance of (p, x_t) over the variance of x_t."""
    c = Coefs(*(torch.as_tensor(k, dtype=t.dtype) for k in schedule(t)))
    a, b = prediction.row(c)
    covariance = (a * std**2 * c.alpha + b * c.sigma) ** 2
    spread = c.alpha**2 * std**2 + c.sigma**2
    return (torch.as_tensor(a**2 * std**2 + b**2) * spread - covariance) / spread


@pytest.mark.parametrize("schedule", [Linear(), Trig()])
@pytest.mark.parametrize("prediction", [DATA, NOISE, VELOCITY])
def test_bayes_loss_of_a_gaussian_in_closed_form(prediction: Prediction, schedule: Linear | Trig) -> None:
    std, size = 0.7, 3
    oracle = oracles.gaussian(torch.ones(size).double(), std**2 * torch.eye(size).double(), AffinePath(schedule))
    found = bayes_loss(oracle, prediction, bins=torch.tensor([0.05, 0.3, 0.7, 0.95]), n=400, generator=generator())
    for k in range(3):
        t = torch.linspace(float(found.edges[k]), float(found.edges[k + 1]), 4001, dtype=torch.float64)
        truth = float(gaussian_loss(prediction, std, t, schedule).mean())
        assert float(found.loss[k]) == pytest.approx(truth, rel=2e-3)


def test_bayes_loss_is_the_loss_of_the_exact_field_with_and_without_labels() -> None:
    oracle = oracles.eight_gaussians(LINEAR, radius=1.5, variance=0.05)
    objective, n = Matching(LINEAR, VELOCITY, label_dropout=0.0), 20_000
    y = torch.arange(n) % 8
    x_1 = oracle.sample_data(n, generator(1), y=y)
    t = 0.3 + 0.4 * torch.rand(n, generator=generator(2))
    for dropout, labels in ((1.0, None), (0.0, y)):
        losses = objective.per_sample(oracle, x_1, y=labels, t=t, generator=generator(3))
        edges = torch.tensor([0.3, 0.7])
        least = bayes_loss(oracle, VELOCITY, bins=edges, n=8000, label_dropout=dropout, generator=generator(4))
        error = math.hypot(float(losses.std()) / n**0.5, float(least.error))
        assert abs(float(losses.mean()) - float(least.loss)) < 4.0 * error
    conditional = bayes_loss(oracle, VELOCITY, bins=1, n=2000, label_dropout=0.0, generator=generator(4))
    assert float(conditional.loss) < 0.6 * float(
        bayes_loss(oracle, VELOCITY, bins=1, n=2000, generator=generator(4)).loss
    )


def test_bayes_loss_of_data_bounds_a_network_and_falls_on_average_with_fewer_points() -> None:
    points = torch.randn(600, 2, generator=generator(5))
    many = bayes_loss(points, DATA, path=LINEAR, bins=4, n=4000, generator=generator(6))
    parts = [bayes_loss(part, DATA, path=LINEAR, bins=4, n=400, generator=generator(6)) for part in points.split(60)]
    few = torch.stack([part.loss for part in parts]).mean(
        0
    )  # concave in the distribution, of which parts are a partition
    assert bool((few < many.loss + 3.0 * many.error).all())
    assert float(few[3]) < 0.9 * float(many.loss[3])
    population = oracles.gaussian(torch.zeros(2), torch.eye(2), LINEAR)
    x_1 = points[torch.randint(600, (20_000,), generator=generator(7))]
    t = 0.5 + 0.25 * torch.rand(len(x_1), generator=generator(8))
    losses = Matching(LINEAR, DATA).per_sample(population, x_1, t=t, generator=generator(9))
    assert float(losses.mean()) > float(many.loss[2])


def test_bayes_objective_includes_weights_times_and_labels() -> None:
    points, labels = torch.randn(300, 2, generator=generator(10)), torch.arange(300) % 3
    points = points + 3.0 * labels[:, None]
    objective = Matching(LINEAR, DATA, VELOCITY, times=pl.times.logit_normal(-0.5, 0.8), label_dropout=0.25)
    exact = oracles.empirical(points, LINEAR, labels)
    rows = torch.randint(300, (40_000,), generator=generator(11))
    losses = objective.per_sample(exact, points[rows], y=labels[rows], generator=generator(12))
    least, error = bayes_objective(points, objective, labels=labels, n=20_000, generator=generator(13))
    assert abs(float(losses.mean()) - least) < 4.0 * math.hypot(error, float(losses.std()) / 200.0)


def test_bayes_loss_refuses_what_it_does_not_know() -> None:
    points = torch.randn(10, 2)
    with pytest.raises(ValueError, match="path is needed"):
        bayes_loss(points, DATA)
    with pytest.raises(ValueError, match="not that of the oracle"):
        bayes_loss(oracles.gaussian(torch.zeros(2), torch.eye(2), LINEAR), DATA, path=AffinePath(Trig()))
    with pytest.raises(ValueError, match="rising edges"):
        bayes_loss(points, DATA, path=LINEAR, bins=torch.tensor([0.5, 0.2]))
    with pytest.raises(ValueError, match="independent coupling"):
        bayes_objective(points, Matching(LINEAR, DATA, coupling=lambda x_0, x_1, y=None, generator=None: y))


# -- a trained model -----------------------------------------------------------------------------------------------------------------


DATA_ORACLE = oracles.gaussian_mixture(
    torch.tensor([[1.2, 0.0], [-0.8, 0.9], [-0.6, -1.1]]), 0.35, None, LINEAR, labels=torch.tensor([0, 1, 2])
)


def measured(field: pl.BaseField, **options) -> verify.ModelReport:
    train, held_out = (DATA_ORACLE.sample_data(800, generator(seed)) for seed in (20, 21))
    return verify_model(field, train, held_out, bins=5, n=800, steps=16, **options)


def test_nothing_is_wrong_with_the_exact_field() -> None:
    found = measured(DATA_ORACLE)
    for row in found.bins[:-1]:
        assert row.excess < 0.02
        assert row.velocity < 0.25
        assert row.asymmetry < 1e-4
        assert row.continuity < 0.2
        assert abs(row.stein) < 0.2
        assert abs(row.divergence - row.exact_divergence) < 0.15
        assert row.distance < 1.8 * row.floor + 0.03
        assert row.train == pytest.approx(row.bayes + row.excess, rel=0.15)
    for row in found.bins:
        assert abs(row.calibration - 1.0) < 4.0 * row.calibration_error


def test_a_fault_is_found_at_its_time() -> None:
    def net(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        data = DATA_ORACLE.evaluate(x, t).data
        bold = torch.where((t > 0.4) & (t < 0.6), 1.5, 1.0).to(x)
        return data * (bold if bold.ndim == 0 else bold[:, None])

    found = measured(Field(net, LINEAR, DATA))
    middle, others = found.bins[2], (*found.bins[:2], found.bins[3])
    assert all(middle.excess > 10.0 * row.excess for row in others)
    assert middle.velocity > 3.0 * max(row.velocity for row in others)
    assert middle.calibration + 4.0 * middle.calibration_error < 1.0
    assert middle.continuity > 0.2
    assert middle.distance > 1.5 * middle.floor
    assert found.bins[1].distance < 1.8 * found.bins[1].floor


def test_a_rotation_keeps_marginals_and_is_seen_by_the_identities() -> None:
    """Isotropic data: a rotation added to the velocity moves no marginal, but no true score is read from it."""
    exact = oracles.gaussian(torch.zeros(2), 0.49 * torch.eye(2), LINEAR)
    turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    turned = Field(lambda x, t: exact.evaluate(x, t).velocity + x @ turn, LINEAR, VELOCITY)
    points = exact.sample_data(1000, generator(22))
    plain, found = (
        verify_model(f, points[:500], points[500:], bins=3, n=500, steps=16).bins[1] for f in (exact, turned)
    )
    assert found.continuity < plain.continuity + 0.1
    assert found.asymmetry > 0.5 > 1e-4 > plain.asymmetry
    assert found.velocity > plain.velocity + 0.5
    assert found.distance < 1.5 * plain.distance + 0.02


def test_labels_are_passed_and_used() -> None:
    y = torch.arange(600) % 3
    train = DATA_ORACLE.sample_data(600, generator(23), y=y)
    conditional = verify_model(DATA_ORACLE, train, y_train=y, bins=3, n=300, steps=8)
    blind = verify_model(DATA_ORACLE, train, bins=3, n=300, steps=8)
    assert conditional.bins[1].bayes < 0.7 * blind.bins[1].bayes
    assert conditional.bins[1].velocity < 0.3
    assert all(math.isnan(row.held_out) for row in conditional.bins)


def test_a_straight_model_has_no_bend() -> None:
    target = torch.tensor([1.0, -1.0])
    field = Field(lambda x, t: target.expand_as(x), LINEAR, DATA)
    found = verify_model(field, target.expand(50, 2).contiguous(), bins=2, n=50, steps=8)
    assert max(row.bend for row in found.bins) < 1e-6
    assert max(row.excess for row in found.bins) < 1e-9


def test_the_report_of_a_model() -> None:
    found = measured(DATA_ORACLE)
    text = text_table(found)
    assert all(name in text for name, _ in COLUMNS)
    assert "furthest from the exact one at t = 0.80 to 1.00" in text
    page = model_html(found, "a <toy>")
    assert "a &lt;toy&gt;" in page
    assert set(re.findall(r'src="([^"]{5})', page)) == {"data:"}


# -- the command line -----------------------------------------------------------------------------------------------------------------


def test_the_command_prints_a_row_and_exits_with_0(capsys, tmp_path) -> None:
    page, picture = tmp_path / "page.html", tmp_path / "t12.png"
    assert cli.main(["verify", "t12", "--html", str(page), "--plot", str(picture)]) == 0
    out = capsys.readouterr().out
    assert "T12" in out
    assert "pass" in out
    assert "1 of 1 checks passed" in out
    assert "1 of 1 deliberate mistakes caught" in out
    assert "Deliberate mistakes" in page.read_text(encoding="utf-8")
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_a_picture_gets_the_name_of_its_check(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["verify", "T12", "--plot"]) == 0
    assert (tmp_path / "T12.png").is_file()


def test_without_an_argument_everything_is_checked(capsys, monkeypatch) -> None:
    monkeypatch.setattr(verify, "CHECKS", {name: CHECKS[name] for name in ("T12", "T21")})
    assert cli.main(["verify"]) == 0
    out = capsys.readouterr().out
    assert "T12" in out
    assert "2 of 2 checks passed" in out


def test_a_failed_check_exits_with_1(capsys, monkeypatch) -> None:
    monkeypatch.setitem(CHECKS, "T12", broken())
    assert cli.main(["verify", "T12", "T17"]) == 1
    told = capsys.readouterr()
    assert "FAIL" in told.out
    assert "1 of 2 checks failed: T12" in told.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["T144"], "did you mean 'T14'"),
        (["runs/nowhere"], "no run folder"),
        (["T12", "T17", "--plot"], "--plot draws one check"),
    ],
)
def test_mistakes_in_the_call_are_told(words, told, capsys) -> None:
    assert cli.main(["verify", *words]) in (1, 2)
    assert told in capsys.readouterr().err


def test_a_run_is_checked_into_its_folder(capsys, tmp_path) -> None:
    out = tmp_path / "moons"
    config = TrainConfig(
        data="moons(n=300)", net="mlp(width=16, depth=2)", steps=20, batch_size=32, log_every=5, warmup=5, out=str(out)
    )
    pl.fit(config, progress=False)
    assert cli.main(["verify", str(out), "--n", "60", "--bins", "3", "--steps", "6", "--plot"]) == 0
    printed = capsys.readouterr().out
    assert "calibration" in printed
    assert "Bayes-optimal" in printed
    assert "Bayes-optimal" in (out / "verify.html").read_text(encoding="utf-8")
    assert (out / "verify.png").is_file()

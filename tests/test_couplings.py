"""Couplings against brute force, closed forms and other solvers."""

import itertools
import math
import warnings

import pytest
import torch
from scipy.optimize import linear_sum_assignment

import pathline as pl
from pathline.couplings import (
    DATASET_COUPLINGS,
    PairSource,
    assignment,
    class_exact_ot,
    conditional_ot,
    exact_ot,
    load_pairs,
    prepared,
    semidiscrete,
    sinkhorn,
    sparse_assignment,
)
from pathline.couplings.assignment import assign, transport_cost
from pathline.couplings.conditional_ot import weight_of_ratio
from pathline.couplings.prices import KEPT, thin_plan
from pathline.couplings.sparse_assignment import certified


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cost_of(x_0: torch.Tensor, x_1: torch.Tensor) -> float:
    return float((x_0.double() - x_1.double()).square().sum())


def batch(n: int, dim: int, kind: str, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A source and data: generic, with many equal points, far from the origin, in classes, or all the same."""
    g = draw(seed)
    x_0, x_1 = torch.randn(n, dim, generator=g), torch.randn(n, dim, generator=g) * 0.2
    if kind == "clusters":
        x_1 += 5.0 * torch.nn.functional.one_hot(torch.randint(dim, (n,), generator=g), dim)
    if kind == "ties":
        return x_0.round(), x_1.round()
    if kind == "far":
        return x_0 + 1000.0, x_1 - 3000.0
    if kind == "one point":
        return torch.ones(n, dim), torch.zeros(n, dim)
    return x_0, x_1


# --- the exact assignment ---


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_exact_ot_is_the_best_of_all_permutations(dim: int) -> None:
    x_0, x_1 = batch(6, dim, "generic", seed=dim)
    best = min(cost_of(x_0[list(order)], x_1) for order in itertools.permutations(range(6)))
    assert cost_of(x_0[exact_ot()(x_0, x_1)], x_1) == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize("kind", ["generic", "clusters", "ties", "far", "one point"])
@pytest.mark.parametrize(("n", "dim"), [(60, 2), (101, 2), (300, 2), (300, 40), (257, 1)])
def test_exact_ot_has_the_cost_of_another_solver(n: int, dim: int, kind: str) -> None:
    """SciPy on the full squared distances, without prices."""
    x_0, x_1 = batch(n, dim, kind)
    full = (x_0.double()[:, None] - x_1.double()).square().sum(-1).numpy()
    optimum = full[linear_sum_assignment(full)].sum()
    found = cost_of(x_0[exact_ot()(x_0, x_1)], x_1)
    assert found == pytest.approx(optimum, rel=2e-6 if dim > 16 else 1e-10)


def test_the_prices_do_not_change_the_assignment_of_any_cost() -> None:
    for scale, dtype in ((1.0, torch.float32), (1e-8, torch.float64), (1e8, torch.float64)):
        cost = scale * torch.rand(200, 200, generator=draw(1), dtype=dtype) ** 4
        rows, columns = linear_sum_assignment(cost.double().numpy())
        optimum = float(cost.double()[rows, columns].sum())
        found = float(cost.double()[assign(cost), torch.arange(200)].sum())
        assert found == pytest.approx(optimum, rel=1e-6)


def costs(kind: str, n: int) -> torch.Tensor:
    """A cost (n, n): of points, of clusters, with ties, or of no points at all."""
    g = draw(n)
    x_0, x_1 = torch.randn(n, 2, generator=g), torch.randn(n, 2, generator=g)
    centres = 5.0 * torch.randn(6, 2, generator=g)
    clusters = [centres[torch.randint(6, (n,), generator=g)] + 1e-3 * x for x in (x_0, x_1)]
    apart = torch.rand(n, n, generator=g).double()
    apart[0] = 1000.0
    return {
        "plane": lambda: transport_cost(x_0, x_1),
        "images": lambda: transport_cost(
            torch.randn(n, 300, generator=g), torch.rand(n, 300, generator=g) * x_1[:, :1]
        ),
        "clusters": lambda: transport_cost(*clusters),
        "one of clusters": lambda: transport_cost(x_0, clusters[1]),
        "duplicates": lambda: transport_cost(x_0[torch.arange(n) // 4], x_1[torch.arange(n) // 3]),
        "rounded": lambda: transport_cost((2 * x_0).round(), (2 * x_1).round()),
        "line": lambda: transport_cost(x_0 * torch.tensor([1.0, 0.0]), x_1 * torch.tensor([3.0, 0.0])),
        "far point": lambda: transport_cost(torch.cat((x_0[1:], x_0[:1] + 1e4)), x_1),
        "few integers": lambda: torch.randint(0, 5, (n, n), generator=g).double() + 1.0,
        "integers": lambda: torch.randint(0, 1000, (n, n), generator=g).double(),
        "equal": lambda: torch.full((n, n), 3.0),
        "columns": lambda: apart[1].repeat(n, 1),
        "one row apart": lambda: apart,
        "offset": lambda: torch.rand(n, n, generator=g).double() + 1e6,
        "heavy": lambda: torch.rand(n, n, generator=g).double() ** -3,
    }[kind]()


KINDS = (
    "plane", "images", "clusters", "one of clusters", "duplicates", "rounded", "line", "far point", "few integers",
    "integers", "equal", "columns", "one row apart", "offset", "heavy",
)  # fmt: skip


def check_optimal(cost: torch.Tensor, rows: torch.Tensor) -> None:
    """A permutation whose total is that of SciPy's search through the whole cost."""
    n = len(cost)
    assert torch.equal(rows.sort().values, torch.arange(n))
    full = cost.double().numpy()
    optimum = full[linear_sum_assignment(full)].sum()
    assert full[rows.numpy(), range(n)].sum() == pytest.approx(optimum, rel=1e-9, abs=1e-12 * n * abs(full).max())


@pytest.mark.parametrize("n", [2, 3, 17, 120, 300])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sparse", [False, True], ids=["all pairs", "few pairs"])
def test_assign_has_the_total_of_scipy(kind: str, n: int, sparse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if sparse:
        monkeypatch.setattr(assignment, "_MANY", 1)
    cost = costs(kind, n)
    before = cost.clone()
    found = assign(cost)
    check_optimal(cost, found)
    assert torch.equal(cost, before)
    assert torch.equal(assign(before, overwrite=True), found)


@pytest.mark.parametrize("kind", ["plane", "images", "one of clusters", "duplicates", "rounded"])
def test_assign_has_the_total_of_scipy_for_many_points(kind: str) -> None:
    cost = costs(kind, 1200)
    check_optimal(cost, assign(cost))


@pytest.mark.parametrize("kind", ["plane", "images", "one row apart"])
def test_few_pairs_prove_the_optimum(kind: str) -> None:
    """The search through few pairs ends with f and g: f_i + g_j <= c_ij everywhere, and equal on the matching."""
    cost = costs(kind, 400).double()
    matching, prices = certified(cost, thin_plan(cost, float(cost.std())))
    assert matching is not None
    f = cost[torch.arange(400), torch.from_numpy(matching)] - prices[torch.from_numpy(matching)]
    slack = cost - f[:, None] - prices
    assert slack.min() >= -1e-12 * cost.abs().max()
    dual = float(f.sum() + prices.sum())
    full = cost.numpy()
    assert dual == pytest.approx(full[linear_sum_assignment(full)].sum(), rel=1e-9)


@pytest.mark.parametrize("kind", ["plane", "images", "clusters", "line"])
def test_pairs_that_are_missing_are_found(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting from the diagonal alone, pairs are added until they hold the optimum."""
    monkeypatch.setattr(sparse_assignment, "_ROUNDS", 200)
    cost = costs(kind, 150)
    plan = thin_plan(cost, float(cost.std()))
    nothing = plan._replace(a=torch.full_like(plan.a, 1e-30))
    assert len(nothing.entries()) == 0
    matching, _ = certified(cost, nothing)
    assert matching is not None
    check_optimal(cost, torch.from_numpy(matching.argsort()))


@pytest.mark.parametrize("limit", ["_ROUNDS", "_CROWDED"])
@pytest.mark.parametrize("kind", ["plane", "clusters"])
def test_without_a_proof_the_search_goes_through_all_pairs(
    kind: str, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assignment, "_MANY", 1)
    monkeypatch.setattr(sparse_assignment, limit, 0)
    cost = costs(kind, 200)
    assert certified(cost, thin_plan(cost, float(cost.std())))[0] is None
    check_optimal(cost, assign(cost))


def test_the_plan_is_doubly_stochastic_and_thin() -> None:
    cost = costs("plane", 500)
    plan = thin_plan(cost, float(cost.std()))
    table = plan.a[:, None] * plan.kernel * plan.b
    assert (table.sum(0) - 1.0).abs().max() < 1e-5
    assert (table.sum(1) - 1.0).abs().mean() < 0.03
    entries = plan.entries()
    assert len(entries) < 40 * 500
    assert torch.equal(torch.from_numpy(entries), (table.flatten() > KEPT).nonzero().flatten())


def test_exact_ot_undoes_a_shuffle_and_a_translation() -> None:
    x_0 = torch.randn(400, 2, generator=draw())
    order = torch.randperm(400, generator=draw(1))
    indices = exact_ot()(x_0, x_0[order] + torch.tensor([30.0, -7.0]))
    assert torch.equal(indices, order)


def test_exact_ot_refuses_what_has_no_optimum() -> None:
    x_0, x_1 = batch(8, 2, "generic")
    for broken in (x_1.index_fill(0, torch.tensor([2]), math.nan), x_1 / 0.0):
        with pytest.raises(ValueError, match="NaN or infinity"):
            exact_ot()(x_0, broken)
        with pytest.raises(ValueError, match="finite"):
            exact_ot()(x_0[:, :1], broken[:, :1])
    with pytest.raises(ValueError, match="as many source points as data points"):
        exact_ot()(x_0[:5], x_1)
    with pytest.raises(TypeError, match="floating"):
        exact_ot()(x_0.long(), x_1)


# --- conditions ---


def test_class_exact_ot_is_the_best_permutation_within_classes() -> None:
    x_0, x_1 = batch(7, 2, "generic")
    y = torch.tensor([0, 1, 0, 2, 1, 0, 1])
    orders = [list(o) for o in itertools.permutations(range(7)) if torch.equal(y[list(o)], y)]
    assert len(orders) == 36
    best = min(cost_of(x_0[o], x_1) for o in orders)
    indices = class_exact_ot()(x_0, x_1, y)
    assert torch.equal(y[indices], y)
    assert cost_of(x_0[indices], x_1) == pytest.approx(best, rel=1e-6)


def test_labels_that_do_not_fit_are_told() -> None:
    x_0, x_1 = batch(8, 2, "generic")
    with pytest.raises(ValueError, match=r"needs labels y .* exact_ot"):
        class_exact_ot()(x_0, x_1)
    with pytest.raises(TypeError, match="conditional_ot"):
        class_exact_ot()(x_0, x_1, torch.randn(8, 3))
    with pytest.raises(ValueError, match="one label per data point"):
        class_exact_ot()(x_0, x_1, torch.arange(7))
    with pytest.raises(ValueError, match="needs conditions y"):
        conditional_ot()(x_0, x_1)
    with pytest.raises(ValueError, match="before conditions are dropped"):
        conditional_ot()(x_0, x_1, torch.full((8, 1), math.nan))
    with pytest.raises(ValueError, match="ratio must lie"):
        conditional_ot(0.0)
    with pytest.raises(ValueError, match="weight must be"):
        conditional_ot(weight=-1.0)
    with pytest.raises(ValueError, match="cost must be"):
        conditional_ot(cost="l1")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("cost", ["l2", "cosine"])
@pytest.mark.parametrize("ratio", [0.01, 0.05, 0.3])
def test_the_weight_gives_the_share_of_candidates_that_was_asked_for(ratio: float, cost: str) -> None:
    x_0, x_1 = batch(120, 2, "clusters")
    y = torch.randn(120, 3, generator=draw(7))
    coupling = conditional_ot(ratio, cost=cost)  # pyright: ignore[reportArgumentType]
    distance, between = coupling.costs(x_0, x_1, y)
    weight = coupling.found_weight(x_0, x_1, y)
    share = float((distance + weight * between <= distance.diagonal()).float().mean())
    assert weight > 0.0
    assert share == pytest.approx(ratio, abs=2 / 120**2 + 1e-4)


def test_a_share_that_cannot_be_reached_ends_in_plain_or_in_class_transport() -> None:
    x_0, x_1 = batch(90, 2, "clusters")
    y = torch.randn(90, 1, generator=draw(7))
    assert conditional_ot(1.0).found_weight(x_0, x_1, y) == 0.0
    assert torch.equal(conditional_ot(1.0)(x_0, x_1, y), exact_ot()(x_0, x_1))
    labels = torch.arange(90) % 2
    within = conditional_ot(0.01)(x_0, x_1, labels.float())  # two values: equal ones fill the share alone
    assert torch.equal(labels[within], labels)
    assert torch.equal(within, class_exact_ot()(x_0, x_1, labels))


def test_conditional_ot_between_its_ends() -> None:
    """The weight trades distance against the change of the condition, and integer labels are classes."""
    x_0, x_1 = batch(200, 2, "clusters")
    y = x_1[:, :1].clone()
    moved, far = [], []
    for weight in (0.0, 1.0, 10.0, 1e6):
        i = conditional_ot(weight=weight)(x_0, x_1, y)
        moved.append(float((y[i] - y).square().mean()))
        far.append(cost_of(x_0[i], x_1))
    assert moved == sorted(moved, reverse=True)
    assert far == sorted(far)
    assert moved[0] > 1.0 > 1e-3 > moved[-1]
    labels = (x_1[:, 0] > 2.0).long()
    assert torch.equal(conditional_ot()(x_0, x_1, labels), class_exact_ot()(x_0, x_1, labels))
    by_weight = conditional_ot(weight=1e4)(x_0, x_1, labels)
    assert torch.equal(labels[by_weight], labels)


def test_the_weight_is_a_quantile() -> None:
    distance = torch.tensor([[4.0, 1.0], [2.0, 5.0]])  # gains: (1, 0) 2, (0, 1) 4
    between = torch.tensor([[0.0, 1.0], [4.0, 0.0]])  # largest weights: 0.5 and 4
    assert weight_of_ratio(distance, between, 0.75) == pytest.approx(4.0)
    assert weight_of_ratio(distance, between, 1.0) == pytest.approx(0.5)
    assert weight_of_ratio(distance, between, 0.5) == pytest.approx(4.004)  # the diagonal fills it: above all


# --- the entropic coupling ---


@pytest.mark.parametrize("dim", [2, 30])
@pytest.mark.parametrize("reg", [0.02, 0.2])
def test_sinkhorn_agrees_with_pot(reg: float, dim: int) -> None:
    pytest.importorskip("ot", reason="POT is an extra")
    x_0, x_1 = batch(80, dim, "clusters")
    ours = sinkhorn(reg, relative=True, tolerance=1e-5).plan(x_0, x_1)
    theirs = sinkhorn(reg, relative=True, tolerance=1e-6, backend="pot").plan(x_0, x_1)
    assert ours.marginal_error <= 1e-5
    assert ours.cost == pytest.approx(theirs.cost, rel=1e-4)
    assert ours.entropy == pytest.approx(theirs.entropy, rel=1e-4)
    assert (ours.plan - theirs.plan).abs().sum() < 1e-3


def test_the_ends_of_sinkhorn_are_independent_and_exact() -> None:
    x_0, x_1 = batch(50, 2, "clusters")
    blurred = sinkhorn(1e5).plan(x_0, x_1)
    assert blurred.blur == pytest.approx(1.0, abs=1e-3)
    assert (blurred.plan - 1.0 / 2500).abs().max() < 1e-6
    sharp = sinkhorn(1e-4, relative=True, max_iterations=20_000).plan(x_0, x_1)
    assert 0.0 <= sharp.blur < 0.2
    best = cost_of(x_0[exact_ot()(x_0, x_1)], x_1) / 50
    assert best <= sharp.cost * 1.002
    assert sharp.cost == pytest.approx(best, rel=0.01)


def test_sinkhorn_between_two_gaussians_has_the_closed_form() -> None:
    """N(0, 1) to N(0, s²) on the line: the correlation of the plan is known (Mallasto et al. 2021; Janati et al. 2020).

    For min <P, |x − y|²> + reg KL the cross-covariance is c = (sqrt(16 a b + reg²) − reg)/4 with a, b the variances.
    """
    n, s = 1500, 2.0
    levels = (torch.arange(n).double() + 0.5) / n
    x = torch.special.ndtri(levels)[:, None]  # quantiles: nearly the laws themselves
    a, b = float(x.square().mean()), s**2 * float(x.square().mean())
    for reg in (0.5, 4.0):
        plan = sinkhorn(reg, tolerance=1e-6).plan(x, s * x).plan
        cross = float(x.T @ plan @ (s * x))
        assert cross == pytest.approx((math.sqrt(16.0 * a * b + reg**2) - reg) / 4.0, rel=5e-3)


def test_sources_are_drawn_from_the_columns_of_the_plan() -> None:
    x_0, x_1 = batch(6, 2, "generic")
    coupling = sinkhorn(1.0)
    plan = coupling.plan(x_0, x_1).plan
    g = draw(3)
    counts = torch.zeros(6, 6)
    for _ in range(1000):
        counts[coupling(x_0, x_1, None, g), torch.arange(6)] += 1.0
    expected = plan / plan.sum(0)
    error = (expected * (1 - expected) / 1000).sqrt()
    assert ((counts / 1000 - expected).abs() < 5.0 * error + 1e-3).all()


def test_sinkhorn_says_when_it_has_not_converged() -> None:
    x_0, x_1 = batch(64, 2, "clusters")
    with pytest.warns(UserWarning, match="marginal error"):
        sinkhorn(1e-4, relative=True, max_iterations=12).plan(x_0, x_1)
    for options in ({"reg": 0.0}, {"reg": 1.0, "tolerance": -1.0}, {"reg": 1.0, "max_iterations": 0}):
        with pytest.raises(ValueError, match="must be"):
            sinkhorn(**options)
    with pytest.raises(ValueError, match="backend"):
        sinkhorn(1.0, backend="cuda")  # pyright: ignore[reportArgumentType]


def test_sinkhorn_takes_equal_points_and_single_ones() -> None:
    assert sinkhorn(0.1, relative=True)(torch.ones(5, 2), torch.ones(5, 2), None, draw()).shape == (5,)
    assert sinkhorn(0.1)(torch.ones(1, 2), torch.zeros(1, 2)).tolist() == [0]
    assert sinkhorn(0.1).plan(torch.ones(1, 2), torch.zeros(1, 2)).blur == 0.0


# --- couplings of a whole set ---


def test_semidiscrete_on_the_line_is_the_quantile_map() -> None:
    """N(0, 1) to N equally likely points: the point of rank k takes the sources between the quantiles k/N and (k + 1)/N."""
    z = torch.tensor([3.0, -1.0, 0.5, 10.0, 0.6])[:, None]
    pairs = semidiscrete(steps=1500, batch=512).fit(z, generator=draw())
    x_0 = torch.linspace(-3.0, 3.0, 2001)[:, None]
    rank = (torch.special.ndtr(x_0[:, 0]) * 5).long().clamp(max=4)
    truth = z.flatten().argsort()[rank]
    assert (pairs.assign(x_0) == truth).float().mean() > 0.985


def test_semidiscrete_uses_all_points_evenly_and_beats_batches() -> None:
    data = pl.data.toys.eight_gaussians(400, generator=draw()).x / 4.0
    pairs = semidiscrete(steps=400).fit(data, generator=draw(1))
    assert pairs.violation is not None
    assert abs(pairs.violation.chi_square) < 0.08
    assert pairs.violation.unused < 0.01
    x_0, rows = pairs.draw(4000, generator=draw(2))
    whole = cost_of(x_0, data[rows]) / 4000
    g = draw(3)
    of_batches = []
    for _ in range(40):
        noise, x_1 = torch.randn(64, 2, generator=g), data[torch.randint(400, (64,), generator=g)]
        of_batches.append(cost_of(noise[exact_ot()(noise, x_1)], x_1) / 64)
    exact = torch.randn(400, 2, generator=g)
    small = sum(of_batches) / 40
    assert whole < 0.97 * small
    assert whole == pytest.approx(cost_of(exact[exact_ot()(exact, data)], data) / 400, rel=0.1)


def test_semidiscrete_by_class_keeps_the_source_of_a_class() -> None:
    points = pl.data.toys.eight_gaussians(320, generator=draw())
    data, y = points.x / 4.0, points.y
    pairs = semidiscrete(steps=200).fit(data, y, generator=draw(1))
    x_0, rows = pairs.draw(6000, generator=draw(2))
    for label in range(8):
        mean = x_0[y[rows] == label].mean(0)
        assert mean.abs().max() < 5.0 / math.sqrt(6000 / 8)
    plain = semidiscrete(steps=200).fit(data, generator=draw(1))
    x_0, rows = plain.draw(6000, generator=draw(2))
    assert x_0[y[rows] == 0].mean(0).abs().max() > 0.7  # what the classes would get without
    asked = torch.arange(16) % 8
    assert torch.equal(y[pairs.assign(torch.randn(16, 2), asked)], asked)


def test_semidiscrete_from_a_set_of_source_points() -> None:
    moons = pl.data.toys.moons(300, generator=draw()).x
    data = moons + torch.tensor([4.0, -2.0])
    pairs = semidiscrete(steps=800).fit(data, source=moons, generator=draw(1))
    x_0, rows = pairs.draw(500, generator=draw(2))
    assert (x_0[:, None] == moons).all(-1).any(1).all()
    exact = (data[rows] - x_0 - torch.tensor([4.0, -2.0])).square().sum(1).sqrt()
    assert exact.median() < 0.1  # a translation is its own transport


def test_a_fit_that_is_too_short_warns() -> None:
    data = pl.data.toys.moons(600, generator=draw()).x
    with pytest.warns(UserWarning, match="raise steps=2 or batch"):
        semidiscrete(steps=2, batch=8).fit(data, generator=draw())


def test_prepared_pairs_are_exact_blocks_with_every_point_equally_often() -> None:
    data = torch.randn(130, 2, generator=draw()) + 3.0
    pairs = prepared(block=130, rounds=2).fit(data, generator=draw(1))
    assert torch.equal(pairs.rows.bincount(), torch.full((130,), 2))
    first = slice(0, 130)
    x_0, x_1 = pairs.x_0[first], data[pairs.rows[first]]
    assert cost_of(x_0, x_1) == pytest.approx(cost_of(x_0[exact_ot()(x_0, x_1)], x_1), rel=1e-9)
    y = torch.arange(130) % 3
    by_class = prepared(block=20, rounds=3).fit(data, y, generator=draw(1))
    assert torch.equal(by_class.rows.bincount(), torch.full((130,), 3))
    means = torch.stack([by_class.x_0[y[by_class.rows] == label].mean(0) for label in range(3)])
    assert means.abs().max() < 5.0 / math.sqrt(130)
    source = torch.randn(130, 2, generator=draw(5))
    whole = prepared(block=130, rounds=1).fit(data, source=source, generator=draw(1))
    assert torch.equal(whole.x_0.sort(0).values, source.sort(0).values)  # each source point once


@pytest.mark.parametrize("name", DATASET_COUPLINGS)
def test_fitted_pairs_are_saved_repeatable_and_tied_to_their_data(name: str, tmp_path) -> None:
    data, y = torch.randn(40, 1, 3, 2, generator=draw()), torch.arange(40) % 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a short fit
        pairs = DATASET_COUPLINGS[name](**{"semidiscrete": {"steps": 20}}.get(name, {})).fit(data, y, generator=draw())
    assert isinstance(pairs, PairSource)
    x_0, rows = pairs.draw(16, generator=draw(1))
    assert x_0.shape == (16, 1, 3, 2)
    assert x_0.dtype == data.dtype
    assert rows.dtype == torch.int64
    assert int(rows.max()) < 40
    pairs.save(tmp_path / "deep" / "pairs.safetensors")
    back = load_pairs(tmp_path / "deep" / "pairs.safetensors", data, y)
    for ours, theirs in zip(back.draw(16, generator=draw(1)), (x_0, rows), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(pairs.to("cpu").draw(16, generator=draw(1)).rows, rows)
    with pytest.raises(ValueError, match="other data"):
        load_pairs(tmp_path / "deep" / "pairs.safetensors", data + 1.0, y)
    with pytest.raises(ValueError, match="other data"):
        load_pairs(tmp_path / "deep" / "pairs.safetensors", data)
    (tmp_path / "text").write_text("no pairs")
    with pytest.raises(ValueError, match="not a safetensors file"):
        load_pairs(tmp_path / "text", data)
    with pytest.raises(FileNotFoundError, match=r"pairs\.save"):
        load_pairs(tmp_path / "none", data)


@pytest.mark.parametrize("name", DATASET_COUPLINGS)
def test_a_set_that_cannot_be_coupled_is_refused(name: str) -> None:
    make = DATASET_COUPLINGS[name]()
    data = torch.randn(20, 2)
    for arguments, match in (
        ((data / 0.0,), "finite"),
        ((data, torch.arange(19)), "y must be integer labels"),
        ((data, torch.rand(20)), "y must be integer labels"),
    ):
        with pytest.raises(ValueError, match=match):
            make.fit(*arguments)
    with pytest.raises(ValueError, match="source must hold points like data"):
        make.fit(data, source=torch.randn(20, 3))


def test_assign_asks_for_labels_only_where_it_was_fitted_with_them() -> None:
    data, y = torch.randn(30, 2, generator=draw()), torch.arange(30) % 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with_y, without = (semidiscrete(steps=5).fit(data, labels, generator=draw()) for labels in (y, None))
    with pytest.raises(ValueError, match="give the classes"):
        with_y.assign(torch.randn(4, 2))
    with pytest.raises(ValueError, match="without labels"):
        without.assign(torch.randn(4, 2), torch.zeros(4).long())
    with pytest.raises(ValueError, match="class 7"):
        with_y.assign(torch.randn(4, 2), torch.full((4,), 7))
    with pytest.raises(ValueError, match="points of shape"):
        without.assign(torch.randn(4, 3))

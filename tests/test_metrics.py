"""Metrics against closed forms, brute force and exact expectations."""

import itertools
import json
import math
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from pathline import metrics
from pathline.metrics import base
from pathline.metrics._network import shifted
from pathline.metrics.evaluation import ON_FEATURES, ON_POINTS


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Distance matrices in blocks of a few rows, so that streaming itself is what is tested."""
    monkeypatch.setattr(base, "BLOCK_ENTRIES", 40)


# --- exact transport -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [1, 2, 20])
def test_exact_transport_is_the_minimum_over_all_permutations(dim: int) -> None:
    x, y = normal(6, dim), normal(6, dim, seed=1) + 0.5
    costs = [(x - y[list(p)]).norm(dim=1) for p in itertools.permutations(range(6))]
    assert metrics.wasserstein2(x, y) == pytest.approx(min(c.square().mean().sqrt().item() for c in costs))
    assert metrics.wasserstein1(x, y) == pytest.approx(min(c.mean().item() for c in costs))


@pytest.mark.parametrize("shape", [(), (2,), (1, 4, 4)])
def test_translation_costs_its_length(shape: tuple[int, ...]) -> None:
    x = normal(60, *shape)
    shift = normal(*shape, seed=2) if shape else torch.tensor(0.7, dtype=torch.float64)
    y = (x + shift)[torch.randperm(60, generator=generator())]
    length = shift.square().sum().sqrt().item()
    assert metrics.wasserstein2(x, y) == pytest.approx(length, rel=1e-12)
    assert metrics.wasserstein1(x, y) == pytest.approx(length, rel=1e-12)


@pytest.mark.parametrize("dim", [2, 30])
def test_scaling_is_an_optimal_map(dim: int) -> None:
    x = normal(80, dim) + 3.0
    expected = 0.4 * x.square().sum(1).mean().sqrt().item()  # x -> 0.6 x is the gradient of a convex function
    assert metrics.wasserstein2(x, 0.6 * x) == pytest.approx(expected, rel=1e-12)


def test_tiny_translation_of_far_points_keeps_its_digits() -> None:
    x = normal(50, 3) + 1e4
    assert metrics.wasserstein2(x, x + 1e-6) == pytest.approx(1e-6 * 3**0.5, rel=1e-4)


@pytest.mark.parametrize("dim", [1, 2, 15])
def test_unequal_sizes_agree_with_repeated_points(dim: int) -> None:
    if dim > 1:
        pytest.importorskip("ot", reason="unequal sizes off the line need POT")
    x, y = normal(6, dim), normal(4, dim, seed=1)
    many_x, many_y = x.repeat(2, 1), y.repeat(3, 1)  # 12 points each: the same two distributions
    for distance in (metrics.wasserstein1, metrics.wasserstein2):
        expected = distance(many_x, many_y, solver="assignment")
        assert distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_network_simplex_equals_the_assignment() -> None:
    pytest.importorskip("ot", reason="the network simplex is POT's")
    x, y = normal(50, 2), normal(50, 2, seed=1)
    one, other = (metrics.wasserstein2(x, y, solver=s) for s in ("assignment", "network_simplex"))
    assert one == pytest.approx(other, rel=1e-9)


def test_unequal_sizes_without_pot_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(ValueError, match=r"5 samples and 4 real points.*subsample.*pip install pot"):
        metrics.wasserstein2(normal(5, 2), normal(4, 2))
    with pytest.raises(ValueError, match="subsample"):
        metrics.wasserstein2(normal(5, 2), normal(4, 2), solver="assignment")
    with pytest.raises(ValueError, match="solver must be"):
        metrics.wasserstein2(normal(4, 2), normal(4, 2), solver="simplex")  # type: ignore[arg-type]


# --- sliced transport ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [2, 16])
def test_sliced_distance_of_a_translation(dim: int) -> None:
    x, shift = normal(40, dim), normal(dim, seed=3)
    count = 20_000
    value = metrics.sliced_wasserstein2(x, x + shift, projections=count, generator=generator())
    # <θ, v>²/|v|² is Beta(1/2, (D−1)/2): mean 1/D, variance 2(D−1)/(D²(D+2)).
    error = 5 * math.sqrt(2 * (dim - 1) / (dim**2 * (dim + 2)) / count)
    assert value**2 / shift.square().sum().item() == pytest.approx(1 / dim, abs=error)


def test_sliced_distance_on_the_line_is_exact_transport() -> None:
    x, y = normal(30, 1), 2 * normal(30, 1, seed=1)
    assert metrics.sliced_wasserstein2(x, y, projections=3) == pytest.approx(metrics.wasserstein2(x, y))


def test_sliced_distance_of_unequal_sizes_agrees_with_repeated_points() -> None:
    x, y = normal(6, 3), normal(4, 3, seed=1)
    unequal = metrics.sliced_wasserstein2(x, y, generator=generator())
    equal = metrics.sliced_wasserstein2(x.repeat(2, 1), y.repeat(3, 1), generator=generator())
    assert unequal == pytest.approx(equal, rel=1e-12)
    assert metrics.sliced_wasserstein2(x, x.repeat(5, 1)) == pytest.approx(0.0, abs=1e-12)


# --- kernels ---------------------------------------------------------------------------------------------------


def pair_mean(x: Tensor, y: Tensor, f, *, distinct: bool) -> float:
    """The definition, one pair at a time."""
    values = [f(a, b).item() for i, a in enumerate(x) for j, b in enumerate(y) if not (distinct and i == j)]
    return sum(values) / len(values)


@pytest.mark.usefixtures("small_blocks")
def test_kernel_distances_are_their_double_sums() -> None:
    x, y = normal(11, 3), normal(14, 3, seed=1) + 0.3

    def rbf(a: Tensor, b: Tensor) -> Tensor:
        return sum((-((a - b) ** 2).sum() / (2 * (s * 0.9) ** 2)).exp() for s in (0.5, 2.0)) / 2  # type: ignore

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return (a - b).norm()

    def cubic(a: Tensor, b: Tensor) -> Tensor:
        return ((a * b).sum() / 3 + 1) ** 3

    def u_statistic(f) -> float:
        within = pair_mean(x, x, f, distinct=True) + pair_mean(y, y, f, distinct=True)
        return within - 2 * pair_mean(x, y, f, distinct=False)

    assert metrics.mmd(x, y, bandwidth=0.9, scales=(0.5, 2.0)) == pytest.approx(u_statistic(rbf), abs=1e-12)
    assert metrics.energy_distance(x, y) == pytest.approx(-u_statistic(distance), abs=1e-10)
    assert metrics.polynomial_mmd(x, y) == pytest.approx(u_statistic(cubic), abs=1e-10)


@pytest.mark.parametrize(
    "distance",
    [
        lambda x, y: metrics.mmd(x, y, bandwidth=1.0),
        metrics.energy_distance,
        metrics.polynomial_mmd,
        lambda x, y: metrics.kid(x, y, subsets=3, generator=generator()).value,
    ],
    ids=["mmd", "energy", "cubic", "kid"],
)
def test_kernel_distances_are_unbiased(distance) -> None:
    # With 10 points the usual biased estimates would be far above zero compared with this standard error.
    values = torch.tensor([distance(normal(10, 2, seed=2 * s), normal(12, 2, seed=2 * s + 1)) for s in range(400)])
    assert abs(values.mean()) < 4 * values.std() / 20
    assert (values < 0).any()


def test_mmd_of_two_gaussians_approaches_its_closed_form() -> None:
    # E k(a, b) for a − b ~ N(m, 2) and bandwidth h is h/√(h² + 2) exp(−m²/(2(h² + 2))).
    h, m = 0.8, 1.2
    expected = 2 * h / math.sqrt(h**2 + 2) * (1 - math.exp(-(m**2) / (2 * (h**2 + 2))))
    values = torch.tensor(
        [
            metrics.mmd(normal(100, 1, seed=2 * s), normal(100, 1, seed=2 * s + 1) + m, bandwidth=h, scales=(1.0,))
            for s in range(100)
        ]
    )
    assert values.mean().item() == pytest.approx(expected, abs=4 * values.std().item() / 10)


def test_energy_distance_of_point_masses() -> None:
    x, y = torch.zeros(5, 2), torch.tensor([[3.0, 4.0]]).repeat(7, 1)
    assert metrics.energy_distance(x, y) == pytest.approx(10.0, rel=1e-6)


def test_median_bandwidth() -> None:
    assert metrics.median_bandwidth(torch.tensor([[0.0], [1.0], [3.0]])) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="give bandwidth="):
        metrics.mmd(normal(5, 2), torch.zeros(5, 2))
    with pytest.raises(ValueError, match="bandwidth must be positive, got -1"):
        metrics.mmd(normal(5, 2), normal(5, 2), bandwidth=-1)
    with pytest.raises(ValueError, match="scales"):
        metrics.mmd(normal(5, 2), normal(5, 2), scales=(1.0, 0.0))


def test_kid_subsets() -> None:
    x, y = normal(40, 5), normal(50, 5, seed=1)
    whole = metrics.kid(x, y[:40], subset_size=40, subsets=2)
    assert whole.value == pytest.approx(metrics.polynomial_mmd(x, y[:40]), abs=1e-12)
    assert whole.spread == pytest.approx(0.0, abs=1e-12)
    default = metrics.kid(x, y, generator=generator())
    assert default.subset_size == 20
    assert default.spread > 0
    assert default == metrics.kid(x, y, generator=generator())
    with pytest.raises(ValueError, match=r"\[2, 40\], got 41"):
        metrics.kid(x, y, subset_size=41)


# --- Fréchet distance ------------------------------------------------------------------------------------------


def with_moments(n: int, mean: Tensor, root: Tensor) -> Tensor:
    """Points whose sample mean and unbiased covariance are exactly ``mean`` and ``root rootᵀ``."""
    z = normal(n, len(mean), seed=n)
    z = z - z.mean(0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(z.T @ z / (n - 1)), z.T, upper=False).T
    return mean + white @ root.T


def test_frechet_distance_of_gaussians_in_the_plane() -> None:
    mean_x, mean_y = torch.tensor([1.0, 2.0]).double(), torch.tensor([-0.5, 0.0]).double()
    root_x = torch.tensor([[1.0, 0.0], [0.8, 0.3]]).double()
    root_y = torch.tensor([[0.4, 0.0], [-1.0, 2.0]]).double()
    cov_x, cov_y = root_x @ root_x.T, root_y @ root_y.T
    # A 2x2 matrix with eigenvalues a, b > 0 has √a + √b = √(trace + 2 √det).
    product = cov_x @ cov_y
    overlap = (product.trace() + 2 * product.det().sqrt()).sqrt()
    expected = (mean_x - mean_y).square().sum() + cov_x.trace() + cov_y.trace() - 2 * overlap
    x, y = with_moments(50, mean_x, root_x), with_moments(80, mean_y, root_y)
    assert metrics.frechet_distance(x, y) == pytest.approx(expected.item(), rel=1e-10)
    assert metrics.frechet_distance(y, x) == pytest.approx(expected.item(), rel=1e-10)


def test_frechet_distance_of_commuting_covariances() -> None:
    a, b = torch.tensor([0.1, 1.0, 4.0]).double(), torch.tensor([2.0, 0.0, 9.0]).double()
    q = torch.linalg.qr(normal(3, 3)).Q
    zero = torch.zeros(3).double()
    expected = (a.sqrt() - b.sqrt()).square().sum().item()
    found = metrics.frechet_from_moments(zero, q @ a.diag() @ q.T, zero, q @ b.diag() @ q.T)
    assert found == pytest.approx(expected, rel=1e-7)  # the root of a zero eigenvalue keeps half the digits
    with pytest.raises(ValueError, match=r"\(F, F\)"):
        metrics.frechet_from_moments(zero, a.diag(), zero[:2], b.diag())


def test_frechet_distance_with_fewer_points_than_features() -> None:
    x, shift = normal(10, 40), normal(40, seed=1)
    assert metrics.frechet_distance(x, x) == pytest.approx(0.0, abs=1e-10)
    assert metrics.frechet_distance(x, x + shift) == pytest.approx(shift.square().sum().item(), rel=1e-9)


# --- neighbours ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_blocks")
def test_neighbour_metrics_are_their_definitions() -> None:
    x, y, k = normal(17, 2), 0.7 * normal(23, 2, seed=1) + 0.5, 2

    def radius(points: Tensor, i: int) -> float:
        return sorted((points[i] - p).norm().item() for j, p in enumerate(points) if j != i)[k - 1]

    in_real = [[(a - b).norm().item() <= radius(y, j) for j, b in enumerate(y)] for a in x]
    in_fake = [[(a - b).norm().item() <= radius(x, i) for i, a in enumerate(x)] for b in y]
    fidelity, variety = metrics.precision_recall(x, y, k=k)
    assert fidelity == pytest.approx(sum(map(any, in_real)) / 17)
    assert variety == pytest.approx(sum(map(any, in_fake)) / 23)
    density, coverage = metrics.density_coverage(x, y, k=k)
    assert density == pytest.approx(sum(map(sum, in_real)) / (k * 17))
    assert coverage == pytest.approx(sum(any(column) for column in zip(*in_real)) / 23)


def test_neighbour_metrics_at_their_ends() -> None:
    x = normal(60, 8).float()
    assert metrics.precision_recall(x, x) == (1.0, 1.0)
    assert metrics.density_coverage(x, x).coverage == 1.0
    assert metrics.precision_recall(x + 1e3, x) == (0.0, 0.0)
    assert metrics.density_coverage(x + 1e3, x) == (0.0, 0.0)
    doubled = x.repeat_interleave(5, 0)  # radii of zero: a copy is still inside
    assert metrics.precision_recall(x, doubled).precision == 1.0


def test_a_dropped_mode_shows_in_recall_and_coverage_only() -> None:
    one, other = normal(300, 2), normal(300, 2, seed=1) + 100.0
    found = metrics.precision_recall(normal(600, 2, seed=2), torch.cat([one, other]))
    assert found.precision > 0.9
    assert found.recall == pytest.approx(0.5, abs=0.05)
    covered = metrics.density_coverage(normal(600, 2, seed=2), torch.cat([one, other]))
    assert covered.coverage == pytest.approx(0.5, abs=0.05)


def test_density_and_coverage_have_their_exact_expectations() -> None:
    n, m, k = 20, 30, 4
    found = [metrics.density_coverage(normal(n, 3, seed=2 * s), normal(m, 3, seed=2 * s + 1), k=k) for s in range(300)]
    values = torch.tensor(found)
    mean, error = values.mean(0), 4 * values.std(0) / math.sqrt(300)
    # No sample falls in a ball iff the k nearest of the N + M − 1 other points are all real.
    missed = math.prod((m - 1 - j) / (n + m - 1 - j) for j in range(k))
    assert mean[1].item() == pytest.approx(1 - missed, abs=error[1].item())
    # A new point is among the k + 1 … nearest with chance k/M for each ball: density 1 on average.
    assert mean[0].item() == pytest.approx(1.0, abs=error[0].item() + 1e-9)


def test_neighbours_need_more_points_than_k() -> None:
    with pytest.raises(ValueError, match=r"k = 3 with 3 samples and 10 real"):
        metrics.precision_recall(normal(3, 2), normal(10, 2))
    with pytest.raises(ValueError, match="lower k or give more points"):
        metrics.density_coverage(normal(3, 2), normal(5, 2))


# --- two-sample test -------------------------------------------------------------------------------------------


def test_c2st_is_one_half_for_one_distribution_and_one_for_two() -> None:
    null = []
    for s in range(24):
        x, y = normal(30, 2, seed=2 * s), normal(30, 2, seed=2 * s + 1)
        null.append(metrics.c2st(x, y, folds=3, steps=8, generator=generator(s)))
    null = torch.tensor(null)
    assert null.mean().item() == pytest.approx(0.5, abs=4 * null.std().item() / math.sqrt(24))
    assert metrics.c2st(normal(60, 2), normal(60, 2, seed=1) + 20.0) == 1.0
    angle = 2 * math.pi * torch.rand(400, 1, generator=generator())
    ring = torch.cat([angle.cos(), angle.sin()], 1)
    inside = 0.3 * normal(400, 2).float()  # same mean; no line separates them
    assert metrics.c2st(ring, inside, generator=generator()) > 0.9


def test_c2st_depends_on_its_generator_alone() -> None:
    x, y = normal(50, 3), normal(70, 3, seed=1)
    torch.manual_seed(0)
    first = metrics.c2st(x, y, steps=10, generator=generator(5))
    torch.manual_seed(1)
    assert metrics.c2st(x, y, steps=10, generator=generator(5)) == first
    with pytest.raises(ValueError, match=r"folds must lie in \[2, 50\].*got 51"):
        metrics.c2st(x, y, folds=51)


# --- the classifier --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    data = load_digits()
    order = torch.randperm(len(data.target), generator=generator())
    return torch.tensor(data.images).float()[:, None][order] / 8 - 1, torch.tensor(data.target)[order]


@pytest.fixture(scope="module")
def judge(digits: tuple[Tensor, Tensor]) -> metrics.Classifier:
    x, y = digits
    held_out = (x[1350:], y[1350:])
    return metrics.train_classifier(x[:1350], y[:1350], 10, epochs=12, name="digits-cnn", held_out=held_out)


def test_classifier_learns_the_digits(digits: tuple[Tensor, Tensor], judge: metrics.Classifier) -> None:
    x, y = digits
    accuracy = judge.accuracy(x[1350:], y[1350:])
    assert accuracy > 0.97
    assert accuracy == judge.info.held_out_accuracy == (judge.predict(x[1350:]) == y[1350:]).double().mean().item()
    assert judge.features(x[:7]).shape == (7, 64)
    assert torch.allclose(judge.features(x[:7].double()), judge.features(x[:7], batch_size=3), atol=1e-5)


def test_classifier_survives_saving(digits, judge: metrics.Classifier, tmp_path) -> None:
    folder = judge.save(tmp_path / "judge")
    again = metrics.load_classifier(folder)
    assert again.version == judge.version
    assert again.info == judge.info
    assert torch.equal(again.logits(digits[0][:5]), judge.logits(digits[0][:5]))
    assert sorted(p.name for p in folder.iterdir()) == ["classifier.json", "classifier.safetensors"]

    described = json.loads((folder / "classifier.json").read_text())
    (folder / "classifier.json").write_text(json.dumps({**described, "version": "00000000"}))
    with pytest.raises(ValueError, match=f"version {judge.version}, the JSON beside them says 00000000"):
        metrics.load_classifier(folder)
    with pytest.raises(FileNotFoundError, match=r"classifier\.safetensors"):
        metrics.load_classifier(tmp_path)


@pytest.mark.parametrize("shape", [(2,), (1, 8, 8), (4, 28, 28), (3, 32, 20)])
def test_training_is_a_function_of_its_seed(shape: tuple[int, ...]) -> None:
    x, y = normal(12, *shape), torch.arange(12) % 3
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = metrics.train_classifier(x, y, 3, seed=4, epochs=2, width=4)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(9)
    assert metrics.train_classifier(x, y, 3, seed=4, epochs=2, width=4).version == first.version
    assert metrics.train_classifier(x, y, 3, seed=5, epochs=2, width=4).version != first.version
    assert first.logits(x).shape == (12, 3)
    assert len(first.version) == 8


def test_shifts_move_images_whole() -> None:
    x = normal(30, 2, 5, 6)
    moved = shifted(x, 1, generator())
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")
    windows = {(i, j): padded[:, :, i : i + 5, j : j + 6] for i in range(3) for j in range(3)}
    used = [{key for key, w in windows.items() if torch.equal(w[b], moved[b])} for b in range(30)]
    assert all(used)
    assert len(set.union(*used)) > 4


def test_classifier_refuses_what_it_cannot_read(digits, judge: metrics.Classifier) -> None:
    x, y = digits
    with pytest.raises(ValueError, match=r"reads points of shape \(1, 8, 8\), got x of shape \(2, 64\)"):
        judge.predict(x[:2].flatten(1))
    with pytest.raises(ValueError, match=r"y must lie in \[0, 3\), got values from"):
        metrics.train_classifier(x, y, 3)
    with pytest.raises(TypeError, match=r"y must be an integer tensor.*float32"):
        metrics.train_classifier(x, y.float(), 10)
    with pytest.raises(ValueError, match=r"y must have shape \(1797,\)"):
        metrics.train_classifier(x, y[:5], 10)
    with pytest.raises(ValueError, match="epochs must be at least 1, got 0"):
        metrics.train_classifier(x, y, 10, epochs=0)
    with pytest.raises(ValueError, match="shift is for images"):
        metrics.train_classifier(x.flatten(1), y, 10, shift=1)
    with pytest.raises(ValueError, match="reshape x first"):
        metrics.train_classifier(x[:, 0], y, 10)


def test_class_agreement(digits, judge: metrics.Classifier) -> None:
    x = digits[0][:200]
    read = judge.predict(x)
    assert metrics.class_agreement(x, read, judge).agreement == 1.0
    wrong = torch.where(torch.arange(200) < 50, (read + 1) % 10, read)
    found = metrics.class_agreement(x, wrong, judge, held_out=(x, read))
    assert found.agreement == 0.75
    assert found.real_accuracy == 1.0
    assert metrics.class_agreement(x, wrong, judge).real_accuracy == judge.info.held_out_accuracy
    counts = torch.bincount(wrong, minlength=10)
    weighted = sum(share * c for share, c in zip(found.per_class, counts.tolist()) if c)
    assert weighted == pytest.approx(150)
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 10\), got values from 10 to 10"):
        metrics.class_agreement(x, torch.full((200,), 10), judge)


# --- copying ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_blocks")
def test_nearest_neighbours_by_brute_force() -> None:
    x, y = normal(13, 1, 2, 2), normal(29, 1, 2, 2, seed=1)
    distances, indices = metrics.nearest_neighbours(x, y)
    table = (x.flatten(1)[:, None] - y.flatten(1)[None]).norm(dim=-1)
    assert torch.allclose(distances, table.min(1).values)
    assert torch.equal(indices, table.argmin(1))
    assert metrics.nearest_neighbours(x.float(), y.float())[0].dtype == torch.float32


def test_memorization_finds_copies() -> None:
    train, held_out, fresh = normal(500, 4), normal(200, 4, seed=1), normal(200, 4, seed=2)
    honest = metrics.memorization(fresh, train, held_out)
    assert honest.ratio == pytest.approx(1.0, abs=0.15)
    assert honest.passes
    assert honest.duplicates == 0

    copied = metrics.memorization(train[100:200] + 1e3 - 1e3, train[:150], held_out)
    assert copied.indices[:50].tolist() == list(range(100, 150))

    copied = metrics.memorization(train[:200].float(), train.float(), held_out.float())
    assert copied.indices.tolist() == list(range(200))
    assert (copied.ratio, copied.duplicates, copied.close_share, copied.passes) == (0.0, 200, 1.0, False)

    noisy = metrics.memorization(train[:200] + 1e-3 * fresh, train, held_out)
    assert noisy.duplicates == 0
    assert noisy.ratio < 0.05
    assert not noisy.passes

    some = metrics.memorization(torch.cat([train[:40] + 1e-3, fresh[:160]]), train, held_out)
    assert some.ratio > 0.6  # the median hardly sees a fifth of copies,
    assert some.close_share >= 0.2  # the tail does


def test_close_share_counts_below_the_first_percentile() -> None:
    train, held_out = torch.zeros(1, 1), torch.arange(1.0, 202.0)[:, None]  # distances 1…201: first percentile 3
    found = metrics.memorization(torch.tensor([[1.0], [-2.5], [3.5], [300.0]]), train, held_out)
    assert found.close_share == 0.5
    assert found.ratio == pytest.approx(2.5 / 101)  # torch's median of four values is the lower middle one


def test_memorization_needs_points_that_were_not_trained_on() -> None:
    train = normal(50, 3)
    with pytest.raises(ValueError, match="not trained on"):
        metrics.memorization(normal(10, 3, seed=1), train, train[:20])


# --- reports ---------------------------------------------------------------------------------------------------


def test_real_points_score_like_the_floor() -> None:
    pool = normal(1200, 2)
    report = metrics.evaluate(
        pool[:300], pool[300:], metrics=[m for m in metrics.METRICS if m != "c2st"], splits=4, generator=generator()
    )
    for row in report.rows:
        assert row.n == 300
        assert row.floor is not None
        assert row.floor_spread is not None
        scale = abs(row.floor) + 10 * row.floor_spread
        assert abs(row.value - row.floor) < 0.5 * scale + 0.02, row
    moved = metrics.evaluate(pool[:300] + 1.0, pool[300:], splits=2, generator=generator())
    for row in moved.rows:
        assert row.floor is not None
        worse = row.value > row.floor if row.better == "lower" else row.value < row.floor
        assert worse, row


def probe(seen: list[tuple[Tensor, Tensor]]) -> metrics.Metric:
    def function(samples: Tensor, real: Tensor, generator: torch.Generator | None) -> tuple[float, ...]:
        seen.append((samples, real))
        return (samples.sum().item(),)

    return metrics.Metric(parts=(metrics.Part(label="probe", better="lower"),), space="samples", function=function)


@pytest.mark.parametrize("with_reference", [False, True])
def test_value_and_floor_see_disjoint_sets_of_one_size(monkeypatch: pytest.MonkeyPatch, with_reference: bool) -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    monkeypatch.setitem(metrics.METRICS, "probe", probe(seen))
    real, samples = torch.arange(101.0), torch.arange(1000.0, 1070.0)
    reference = torch.arange(500.0, 560.0) if with_reference else None
    report = metrics.evaluate(samples, real, reference=reference, metrics=["probe"], splits=3)
    n = 60 if with_reference else 50
    assert report["probe"].n == n
    assert len(seen) == 6
    for (drawn, one), (fresh, other) in zip(seen[::2], seen[1::2]):
        assert torch.equal(one, other)
        sets = [set(points.tolist()) for points in (drawn, fresh, one)]
        assert [len(s) for s in sets] == [n, n, n]
        assert len(set.union(*sets)) == 3 * n
        assert sets[0] <= set(samples.tolist())
        assert sets[1] <= set((real if reference is None else reference).tolist())
        assert sets[2] <= set(real.tolist())
    values = torch.tensor([drawn.sum().item() for drawn, _ in seen[::2]])
    assert report["probe"].value == pytest.approx(values.mean().item())
    assert report["probe"].value_spread == pytest.approx(values.std().item(), rel=1e-4)


def test_sets_of_one_size_are_compared_whole() -> None:
    samples, real, reference = normal(30, 2), normal(30, 2, seed=1), normal(30, 2, seed=2)
    row = metrics.evaluate(samples, real, reference=reference, metrics=["w2"])["W2"]
    assert row.value == pytest.approx(metrics.wasserstein2(samples, real))
    assert row.floor == pytest.approx(metrics.wasserstein2(reference, real))
    assert row.value_spread is None


def test_limits_are_told() -> None:
    row = metrics.evaluate(normal(50, 2), normal(99, 2, seed=1), metrics=["energy"], max_points=20).rows[0]
    assert (row.n, row.note) == (20, "limited to 20 points")


def test_a_full_report(digits: tuple[Tensor, Tensor], judge: metrics.Classifier) -> None:
    x, y = digits
    samples, labels = x[:200] + 0.05 * torch.randn(200, 1, 8, 8, generator=generator()), y[:200]

    def run() -> metrics.Report:
        return metrics.evaluate(
            samples,
            x[:1350],
            reference=x[1350:],
            train=x[:1350],
            labels=labels,
            classifier=judge,
            metrics=["fd", "kid", "precision_recall", "sliced_w2"],
            splits=2,
            generator=generator(),
        )

    report = run()
    text = str(report)
    names = [row.name for row in report.rows]
    assert names[:4] == ["FD (digits-cnn)", "KID (digits-cnn)", "precision (digits-cnn)", "recall (digits-cnn)"]
    assert all(name in text for name in names)
    assert f"digits-cnn, version {judge.version}" in text
    assert len({len(line) for line in text.splitlines() if line.startswith("|")}) == 1
    assert report["class agreement (digits-cnn)"].floor == judge.info.held_out_accuracy
    assert report["class agreement (digits-cnn)"].value > 0.95
    assert report["nearest-neighbour ratio"].value < 0.8
    assert report.memorization is not None
    assert not report.memorization.passes
    assert report.memorization.indices.tolist() == list(range(200))
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["rows"][0]["name"] == "FD (digits-cnn)"
    assert run().to_dict() == report.to_dict()
    assert report["FD"] is report["FD (digits-cnn)"]
    with pytest.raises(ValueError, match="unknown row 'recal': did you mean 'recall'"):
        report["recal"]


def test_reports_refuse_what_they_cannot_judge(judge: metrics.Classifier) -> None:
    x = normal(20, 2)
    with pytest.raises(ValueError, match=r"unknown metric 'w3': did you mean"):
        metrics.evaluate(x, x, metrics=["w3"])
    with pytest.raises(TypeError, match=r"write \['w2'\]"):
        metrics.evaluate(x, x, metrics="w2")
    with pytest.raises(ValueError, match="labels need a classifier"):
        metrics.evaluate(x, x, labels=torch.zeros(20).long())
    with pytest.raises(ValueError, match=r"reference must hold points like real, of shape \(2,\), got \(3,\)"):
        metrics.evaluate(x, x, reference=normal(5, 3))
    with pytest.raises(ValueError, match="splits must be at least 1, got 0"):
        metrics.evaluate(x, x, splits=0)
    with pytest.raises(ValueError, match=r"reads points of shape \(1, 8, 8\)"):
        metrics.evaluate(x, x, classifier=judge)


def test_default_choices_exist() -> None:
    assert set(ON_POINTS) | set(ON_FEATURES) <= set(metrics.METRICS)


# --- what every metric owes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(metrics.METRICS))
def test_laws_of_every_metric(name: str) -> None:
    metric = metrics.METRICS[name]
    x, y = normal(40, 3), normal(40, 3, seed=1) + 0.2
    values = metric(x, y, generator())
    assert len(values) == len(metric.parts)
    assert all(isinstance(v, float) and math.isfinite(v) for v in values)
    if name not in ("kid", "c2st"):  # these draw subsets and folds by position
        order = torch.randperm(40, generator=generator(7))
        assert metric(x[order], y, generator()) == pytest.approx(values, rel=1e-9, abs=1e-12)
    image = metric(x.reshape(40, 1, 1, 3), y.reshape(40, 1, 1, 3), generator())
    assert image == pytest.approx(values, rel=1e-12)
    for dtype, digits_kept in ((torch.float32, 1e-4), (torch.bfloat16, 0.2)):
        near = metric(x.to(dtype), y.to(dtype), generator())
        assert near == pytest.approx(values, rel=digits_kept, abs=digits_kept)


@pytest.mark.parametrize("name", list(metrics.METRICS))
def test_errors_of_every_metric(name: str) -> None:
    metric, x = metrics.METRICS[name], normal(10, 2)
    broken = x.clone()
    broken[3, 1] = float("nan")
    broken[5] = float("inf")
    with pytest.raises(ValueError, match=r"samples has NaN or infinity in 2 of 10 points"):
        metric(broken, x)
    with pytest.raises(ValueError, match=r"real has NaN"):
        metric(x, broken)
    with pytest.raises(ValueError, match=r"one shape, got \(2,\) and \(3,\)"):
        metric(x, normal(10, 3))
    with pytest.raises(ValueError, match=r"\b0 (points|samples)"):
        metric(x[:0], x)
    with pytest.raises(TypeError, match=r"samples must be floating point, got torch\.int64"):
        metric(x.long(), x)
    with pytest.raises(TypeError, match=r"samples must be a torch\.Tensor"):
        metric(x.numpy(), x)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no empty axis"):
        metric(x[:, :0], x[:, :0])


def test_import_is_cheap() -> None:
    heavy = "('scipy', 'sklearn', 'safetensors', 'ot', 'matplotlib')"
    code = f"import sys, pathline.metrics; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

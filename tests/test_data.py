"""Laws of the data: closed forms of the toys, files that cannot be read, standardisation, splits."""

import math
import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from pathline import data
from pathline.data import DATASETS, TOYS, Dataset, Standardizer

N = 8000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def near(sample: torch.Tensor, expected: float, std: float) -> None:
    """The mean of independent numbers of standard deviation ``std`` is within 5 standard errors."""
    assert abs(float(sample.double().mean()) - expected) < 5 * std / math.sqrt(len(sample))


# ---------------------------------------------------------------------------------------------------- toys


@pytest.mark.parametrize("name", TOYS)
def test_a_toy_is_a_function_of_its_seed(name):
    before = torch.get_rng_state()
    first, again, other = (TOYS[name](101, generator=generator(s)) for s in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.x, again.x)
    assert not torch.equal(first.x, other.x)
    assert first.x.shape == (101, 2)
    assert first.x.dtype == torch.float32
    assert first.x.isfinite().all()
    assert (first.y is None) == (again.y is None)
    if first.y is not None:
        assert torch.equal(first.y, again.y)
        assert first.y.dtype == torch.int64
    assert torch.equal(data.load(name, n=101, seed=3).x, first.x)


@pytest.mark.parametrize(
    ("name", "classes"),
    [("moons", 2), ("circles", 2), ("8gaussians", 8), ("25gaussians", 25), ("pinwheel", 5), ("two_spirals", 2)],
)
def test_classes_are_balanced_and_shuffled(name, classes):
    toy = data.load(name, n=1003)
    assert toy.num_classes == len(toy.class_names) == classes
    counts = torch.bincount(toy.y, minlength=classes)
    assert counts.max() - counts.min() <= 1
    assert len(toy.y[: 20 * classes].unique()) == classes
    assert not torch.equal(toy.y, torch.arange(1003) % classes)


def test_a_tiny_sample_knows_all_classes_and_favours_none():
    assert data.load("8gaussians", n=3).num_classes == 8
    seen = Counter(int(k) for seed in range(400) for k in data.load("8gaussians", n=3, seed=seed).y)
    expected, std = 400 * 3 / 8, math.sqrt(400 * 3 / 8 * 5 / 8)
    assert all(abs(seen[k] - expected) < 5 * std for k in range(8))


def test_moons_are_half_circles():
    x, y = data.moons(N, noise=0.0, generator=generator())
    u = (x + torch.tensor([1.0, 0.0])) / 2  # undo the scale of the benchmark
    upper, lower = u[y == 0], torch.tensor([1.0, 0.5]) - u[y == 1]
    for half in (upper, lower):
        torch.testing.assert_close(half.norm(dim=-1), torch.ones(N // 2))
        assert (half[:, 1] >= -1e-6).all()
        near(torch.atan2(half[:, 1], half[:, 0]), math.pi / 2, math.pi / math.sqrt(12))


def test_noise_has_the_stated_size():
    clean, noisy = (data.moons(N, noise=s, generator=generator(1)) for s in (0.0, 0.05))
    near((noisy.x - clean.x)[:, 0].square(), 0.1**2, math.sqrt(2) * 0.1**2)


def test_circles_have_their_radii():
    x, y = data.circles(N, noise=0.0, generator=generator())
    torch.testing.assert_close(x.norm(dim=-1), 3.5 - 1.75 * y)
    near(x[y == 0, 0], 0.0, 3.5 / math.sqrt(2))
    near(x[y == 0].prod(-1), 0.0, 3.5**2 / math.sqrt(8))


@pytest.mark.parametrize(("radius", "std"), [(5.0, 1.0), (12.0, 1.5)])
def test_eight_gaussians_have_their_moments(radius, std):
    x, y = data.eight_gaussians(N, radius=radius, std=std, generator=generator())
    for k in range(8):
        own = x[y == k]
        near(own[:, 0], radius * math.cos(k * math.pi / 4), std)
        near(own[:, 1], radius * math.sin(k * math.pi / 4), std)
        near((own - own.mean(0)).square().sum(-1), 2 * std**2, 2 * std**2)
        near((own - own.mean(0)).prod(-1), 0.0, std**2)
    near(x.square().sum(-1), radius**2 + 2 * std**2, 2 * std * (radius + std))


def test_eight_gaussians_default_to_the_benchmark():
    x = data.eight_gaussians(N, generator=generator()).x
    near(x.square().sum(-1), 5.0**2 + 2 * 1.0**2, 12.0)


def test_twenty_five_gaussians_stand_on_a_grid():
    x, y = data.twenty_five_gaussians(N, generator=generator())
    node = (x / 2).round()
    assert torch.equal(node[:, 0] * 5 + node[:, 1] + 12, y.float())
    near((x - 2 * node).square().sum(-1), 2 * 0.1**2, 2 * 0.1**2)


def test_the_checkerboard_fills_its_even_squares():
    x, y = data.checkerboard(N, generator=generator())
    assert y is None
    square = (x / 2).floor()
    assert (square.sum(-1) % 2 == 0).all()
    counts = Counter(tuple(s) for s in square.int().tolist())
    assert sorted(counts) == [(i, j) for i in range(-2, 2) for j in range(-2, 2) if (i + j) % 2 == 0]
    assert set(counts.values()) == {N // 8}
    inside = (x / 2 - square).flatten()
    near(inside, 0.5, 1 / math.sqrt(12))
    near(inside.square(), 1 / 3, math.sqrt(1 / 5 - 1 / 9))


def on_the_arm(x: torch.Tensor, offset: torch.Tensor | float = 0.0) -> None:
    """The angle of the points is π times their radius, up to whole turns."""
    off = torch.atan2(x[:, 1], x[:, 0]) - math.pi * x.norm(dim=-1) - offset
    far = x.norm(dim=-1) > 0.05  # at the centre an angle means little
    assert (1 - off[far].cos()).abs().max() < 1e-5


def test_spiral_winds_twice_and_is_even_along_its_arm():
    x, _ = data.spiral(N, noise=0.0, generator=generator())
    on_the_arm(x)
    assert x.norm(dim=-1).max() <= 4.0 + 1e-5
    near(x.square().sum(-1), 8.0, 16 / math.sqrt(12))


def test_two_spirals_are_each_other_turned_by_half():
    x, y = data.two_spirals(N, noise=0.0, generator=generator())
    on_the_arm(x, math.pi * y)
    assert x.norm(dim=-1).max() <= 3.0 + 1e-5
    for k in (0, 1):
        near(x[y == k].square().sum(-1), 4.5, 9 / math.sqrt(12))


def test_swiss_roll_is_even_in_its_angle():
    x, _ = data.swiss_roll(N, noise=0.0, generator=generator())
    on_the_arm(x)
    radius = x.norm(dim=-1)
    assert radius.min() >= 1.5 - 1e-5
    assert radius.max() <= 4.5 + 1e-5
    near(radius, 3.0, 3 / math.sqrt(12))


def test_the_s_curve_is_two_arcs_that_meet_at_the_origin():
    x, _ = data.s_curve(N, noise=0.0, generator=generator())
    u, v = (x / 1.5).unbind(-1)
    torch.testing.assert_close(u.square() + (v.abs() - 1).square(), torch.ones(N), rtol=1e-4, atol=1e-5)
    near(u, 0.0, 1 / math.sqrt(2))
    near(v.abs(), 1 + 2 / (3 * math.pi), 1 / math.sqrt(2))  # 1 − (2/3π) ∫ cos over (0, 3π/2)


def test_the_pinwheel_has_five_equal_arms():
    x, y = data.pinwheel(N, generator=generator())
    turn = -2 * math.pi / 5 * y
    straight = torch.stack(
        [turn.cos() * x[:, 0] - turn.sin() * x[:, 1], turn.sin() * x[:, 0] + turn.cos() * x[:, 1]], dim=-1
    )
    near(x.square().sum(-1), 4 * (1 + 0.3**2 + 0.1**2), 3.0)
    mean, spread = straight.mean(0), float(straight.std())
    for k in range(5):
        near(straight[y == k, 0], float(mean[0]), spread)
        near(straight[y == k, 1], float(mean[1]), spread)
    assert mean.norm() > 1.0


# ------------------------------------------------------------------------------------------ names and digits


def test_every_toy_loads():
    for name in TOYS:
        loaded = data.load(name, n=64)
        assert loaded.name == name
        assert len(loaded) == 64
        assert name in DATASETS


def test_digits_are_the_seventeen_grey_levels():
    digits = data.load("digits")
    assert digits.shape == (1, 8, 8)
    assert digits.image
    assert digits.levels == 17
    assert torch.equal(digits.x.unique(), torch.arange(17.0))
    assert torch.equal(digits.y.unique(), torch.arange(10))
    ink = torch.stack([digits.x[digits.y == k].mean(0)[0] for k in range(10)])
    assert ink[0, 3:5, 3:5].mean() < 2 < 8 < ink[8, 3:5, 3:5].mean()  # a zero is hollow, an eight is crossed


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("moon", {}, ValueError, "did you mean 'moons'"),
        ("digits", {"n": 5}, TypeError, "'digits' takes no option 'n'; known: "),
        ("moons", {"nois": 0.1}, TypeError, "'nois'; known: n, noise, seed"),
        ("8gaussians", {"noise": 0.1}, TypeError, "known: n, radius, seed, std"),
        ("moons", {"n": 0}, ValueError, "n must be at least 1"),
        ("nowhere/data.npz", {}, FileNotFoundError, "no file nowhere/data.npz"),
        ("data.csv", {}, FileNotFoundError, r"no file data\.csv"),
        ("data.xyz", {}, FileNotFoundError, r"no file or folder data\.xyz"),
    ],
)
def test_names_that_are_unknown_are_told(name, options, error, message):
    with pytest.raises(error, match=message):
        data.load(name, **options)


def test_options_reach_the_toy():
    x = data.load("8gaussians", n=100, radius=2.0, std=0.0).x
    torch.testing.assert_close(x.norm(dim=-1), torch.full((100,), 2.0))


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"x": torch.zeros(3, 2, dtype=torch.float64)}, TypeError, "float32"),
        ({"x": torch.zeros(3)}, ValueError, r"\(N, ...\)"),
        ({"x": torch.zeros(0, 2)}, ValueError, "N > 0"),
        ({"x": torch.zeros(3, 8, 8), "image": True}, ValueError, r"\(N, C, H, W\)"),
        ({"x": torch.zeros(3, 2), "levels": 1}, ValueError, "levels"),
        ({"x": torch.zeros(3, 2), "class_names": ("a",)}, ValueError, "need labels"),
        ({"x": torch.zeros(3, 2), "y": torch.zeros(3)}, TypeError, "int64"),
        ({"x": torch.zeros(3, 2), "y": torch.tensor([0, 1]), "class_names": ("a", "b")}, ValueError, r"shape \(3,\)"),
        ({"x": torch.zeros(3, 2), "y": torch.tensor([0, 1, 2]), "class_names": ("a", "b")}, ValueError, "from 0 to 2"),
    ],
)
def test_a_dataset_refuses_what_does_not_fit(fields, error, message):
    with pytest.raises(error, match=message):
        Dataset(**fields)


# --------------------------------------------------------------------------------------------------- files


@pytest.fixture
def write(tmp_path):
    def writer(*args, name="set.npz", **arrays):
        path = tmp_path / name
        (np.save if args else np.savez)(path, *args, **arrays)
        return path

    return writer


def test_arrays_come_back_with_their_labels(write):
    x, y = np.arange(12.0).reshape(4, 3), np.array([0, 2, 1, 2], dtype=np.uint8)
    loaded = data.load(write(x=x, y=y))
    assert torch.equal(loaded.x, torch.arange(12.0).reshape(4, 3))
    assert torch.equal(loaded.y, torch.tensor([0, 2, 1, 2]))
    assert (loaded.name, loaded.class_names, loaded.levels, loaded.image) == ("set", ("0", "1", "2"), None, False)


def test_samples_are_found_by_name_or_alone(write):
    x = np.random.default_rng(0).normal(size=(4, 2))
    assert data.load(write(x, name="plain.npy")).y is None
    for path, options in [
        (write(x, name="plain.npy"), {}),
        (write(cells=x, name="alone.npz"), {}),
        (write(cells=x, y=np.zeros(4, int), name="labelled.npz"), {}),
        (write(cells=x, genes=x + 1), {"x": "cells"}),
    ]:
        assert torch.equal(data.load(str(path), **options).x, torch.tensor(x).float())
    assert data.load(write(x=x, kind=np.array([1, 0, 1, 1])), y="kind").y.tolist() == [1, 0, 1, 1]


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [
        ((4, 3, 5, 6), None, (3, 5, 6)),
        ((4, 5, 6, 3), None, (3, 5, 6)),
        ((4, 1, 5, 6), "array", None),
        ((4, 5, 6), "gray", (1, 5, 6)),
        ((4, 5, 6), None, None),
        ((4, 5, 6, 7), None, None),
        ((4, 3, 5, 3), "channels_first", (3, 5, 3)),
        ((4, 3, 5, 3), "channels_last", (3, 3, 5)),
        ((4, 2, 5, 6), "channels_first", (2, 5, 6)),
    ],
)
def test_layouts(write, shape, layout, expected):
    x = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    loaded = data.load(write(x=x), layout=layout)
    assert loaded.image == (expected is not None)
    assert loaded.shape == (expected or shape[1:])
    assert loaded.levels == 256
    last = layout == "channels_last" or (layout is None and shape[-1] == 3)
    assert torch.equal(loaded.x, torch.tensor(np.moveaxis(x, -1, 1) if last else x).float().reshape(loaded.x.shape))


def bad(x, index, value):
    x = x.copy()
    x[index] = value
    return x


GOOD = np.arange(12.0).reshape(4, 3)


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"x": bad(bad(GOOD, (2, 1), np.nan), (3, 0), np.inf)}, {}, r"2 of 12 numbers .* nan at index \(2, 1\)"),
        ({"x": bad(GOOD, (1, 2), 1e300)}, {}, r"1 of 12 numbers .*float32.*1e\+300 at index \(1, 2\)"),
        ({"x": GOOD.astype(str)}, {}, "must be numbers, got an array of dtype <U"),
        ({"x": GOOD.astype(complex)}, {}, "must be numbers"),
        ({"x": GOOD.astype("datetime64[s]")}, {}, "must be numbers"),
        ({"x": GOOD.astype(object)}, {}, "Python objects, which are never loaded"),
        ({"x": GOOD[:1]}, {}, "holds 1 samples"),
        ({"x": GOOD[:0]}, {}, "holds 0 samples"),
        ({"x": GOOD[:, :0]}, {}, r"shape \(N, ...\), got \(4, 0\)"),
        ({"x": GOOD[:, 0]}, {}, r"reshape single numbers to \(N, 1\)"),
        ({"a": GOOD, "b": GOOD}, {}, r"\['a', 'b'\].*x="),
        ({"x": GOOD}, {"x": "xs"}, "no array 'xs'.*known: x"),
        ({"x": GOOD}, {"y": "label"}, "no array 'label'"),
        ({"x": GOOD, "y": np.array([0, 1, 2])}, {}, r"shape \(4,\) for 4 samples, got \(3,\)"),
        ({"x": GOOD, "y": np.array([0, -1, 2, 1])}, {}, "-1 at index 1"),
        ({"x": GOOD, "y": np.array([0, 1, 2, 10])}, {}, "got 10 with only 4 samples"),
        ({"x": GOOD, "y": np.array([0.0, 1, 2, 1])}, {}, "must be integers"),
        ({"x": np.zeros((4, 3, 5, 3))}, {}, 'axis 1 .3. and axis 3 .3. could both be channels.*"channels_last"'),
        ({"x": GOOD}, {"layout": "gray"}, r"images \(N, H, W\), but .* \(4, 3\)"),
        ({"x": GOOD}, {"layout": "chanels_first"}, "did you mean 'channels_first'"),
    ],
)
def test_arrays_that_are_no_data_are_told(write, arrays, options, message):
    with pytest.raises(ValueError, match=message):
        data.load(write(**arrays), **options)


@pytest.mark.parametrize("name", ["set.npy", "set.npz"])
@pytest.mark.parametrize("keep", [0, 3, 60, 0.5, 0.98])
def test_a_truncated_file_is_told(write, name, keep):
    path = write(GOOD, name=name) if name.endswith("y") else write(x=GOOD, name=name)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(ValueError, match="damaged or no"):
        data.load(path)


def test_damage_in_any_byte_is_told_or_harmless(write):
    chance = np.random.default_rng(0)
    for path in (write(GOOD, name="set.npy"), write(x=GOOD, y=np.arange(4))):
        sound = path.read_bytes()
        for _ in range(300):
            content = bytearray(sound)
            content[chance.integers(min(len(sound), 300))] = chance.integers(256)
            path.write_bytes(content)
            told = str(path)
            try:
                data.load(path)
            except ValueError as error:
                told = str(error)
            assert str(path) in told  # our words, not those of a library


def test_a_foreign_file_is_told_and_nothing_in_it_is_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    for name, content in [
        ("text.npz", b"x,y\n1,2\n"),
        ("pickle.npy", pickle.dumps(Trap())),
        ("picture.npy", b"\x89PNG\r\n\x1a\n" + bytes(100)),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="damaged or no"):
            data.load(tmp_path / name)
    np.save(tmp_path / "trap.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="never loaded"):
        data.load(tmp_path / "trap.npy")
    assert not (tmp_path / "ran").exists()


def test_a_zip_of_other_things_is_told(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "book.npz", "w") as archive:
        archive.writestr("chapter.txt", "once")
    with pytest.raises(ValueError, match=r"'chapter\.txt' is no array"):
        data.load(tmp_path / "book.npz")


# ------------------------------------------------------------------------------------------- standardisation


@pytest.mark.parametrize(("per", "axes"), [("feature", (0,)), ("channel", (0, 2, 3)), ("all", (0, 1, 2, 3))])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_standardised_data_have_mean_zero_and_unit_variance_and_come_back(per, axes, dtype):
    scale = torch.tensor([1.0, 1e3, 1e-3]).reshape(3, 1, 1)
    x = (5 * scale + scale * torch.randn(200, 3, 2, 4, generator=generator())).to(dtype)
    standardizer = Standardizer.fit(x, per=per)
    z = standardizer.transform(x)
    assert z.dtype == dtype
    np.testing.assert_allclose(z.double().numpy().mean(axes), 0.0, atol=1e-5)
    np.testing.assert_allclose(z.double().numpy().std(axes), 1.0, atol=1e-5)
    tolerance = 4 * torch.finfo(dtype).eps
    size = x.abs().amax() if per == "all" else x.abs().amax((0, 2, 3), keepdim=True)
    assert ((standardizer.inverse(z) - x).abs() / size).amax() < tolerance * 4


def test_features_that_never_change_become_zero_and_come_back_exactly():
    x = torch.stack([torch.full((50,), 0.1), torch.linspace(-1, 1, 50), torch.full((50,), 1e8)], dim=-1)
    standardizer = Standardizer.fit(x)
    z = standardizer.transform(x)
    assert standardizer.std[[0, 2]].tolist() == [1.0, 1.0]
    assert torch.equal(z[:, [0, 2]], torch.zeros(50, 2))
    assert torch.equal(standardizer.inverse(z)[:, [0, 2]], x[:, [0, 2]])


def test_images_share_one_scale_and_vectors_do_not():
    digits, moons = data.load("digits"), data.load("moons", n=100)
    assert Standardizer.fit(digits).mean.numel() == 1
    assert Standardizer.fit(moons).mean.shape == (2,)
    back = Standardizer.fit(digits).inverse(Standardizer.fit(digits).transform(digits.x))
    assert torch.equal(back.round(), digits.x)


def test_clipping_keeps_to_the_range_of_the_data():
    x = torch.tensor([[0.0, 10.0], [2.0, 30.0], [1.0, 20.0]])
    standardizer = Standardizer.fit(x)
    z = torch.tensor([[-9.0, 9.0], [9.0, -9.0]])
    assert torch.equal(standardizer.inverse(z, clip=True), torch.tensor([[0.0, 30.0], [2.0, 10.0]]))
    assert standardizer.inverse(z)[0, 0] < 0


def test_the_state_survives_a_file():
    standardizer = Standardizer.fit(data.load("digits"), per="feature")
    twin = Standardizer.from_state(load(save(standardizer.state())))
    z = torch.randn(5, 1, 8, 8)
    assert torch.equal(twin.inverse(z, clip=True), standardizer.inverse(z, clip=True))


@pytest.mark.parametrize("per", ["feature", "channel", "all"])
def test_log_det_is_that_of_the_jacobian(per):
    x = torch.randn(40, 2, 3) * torch.rand(2, 3) + 7
    standardizer = Standardizer.fit(x, per=per)
    jacobian = torch.func.jacrev(standardizer.inverse)(torch.zeros(2, 3).double()).reshape(6, 6)
    assert standardizer.log_det((2, 3)) == pytest.approx(float(torch.linalg.slogdet(jacobian).logabsdet), rel=1e-9)


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (torch.zeros(1, 2), {}, "at least 2 samples"),
        (torch.zeros(5), {}, "at least 2 samples"),
        (torch.tensor([[0.0], [torch.nan]]), {}, "finite"),
        (torch.zeros(3, 2), {"per": "pixel"}, "per must be"),
    ],
)
def test_data_without_a_scale_are_refused(x, options, message):
    with pytest.raises(ValueError, match=message):
        Standardizer.fit(x, **options)


# --------------------------------------------------------------------------------------------------- splits


def numbered(labels: torch.Tensor | None, n: int) -> Dataset:
    names = () if labels is None else tuple(str(k) for k in range(int(labels.max()) + 1))
    return Dataset(x=torch.arange(float(n))[:, None], y=labels, class_names=names)


@pytest.mark.parametrize("held_out", [0.1, 0.25, 0.5, 0.9])
def test_a_split_is_disjoint_exhaustive_and_stratified(held_out):
    labels = torch.randint(0, 7, (503,), generator=generator())
    whole = numbered(labels, 503)
    train, rest = data.split(whole, held_out, seed=1)
    assert sorted(train.x[:, 0].tolist() + rest.x[:, 0].tolist()) == list(range(503))
    assert len(rest) == round(503 * held_out)
    for part in (train, rest):
        assert torch.equal(part.y, labels[part.x[:, 0].long()])
        assert part.num_classes == 7
    counts, held = torch.bincount(labels), torch.bincount(rest.y, minlength=7)
    assert ((held - held_out * counts).abs() < 1).all()


def test_a_split_is_fixed_by_its_seed_alone():
    whole = numbered(None, 100)
    first = data.split(whole, 0.2, seed=5)
    np.random.seed(0)
    torch.manual_seed(0)
    assert torch.equal(data.split(whole, 0.2, seed=5).held_out.x, first.held_out.x)
    assert not torch.equal(data.split(whole, 0.2, seed=6).held_out.x, first.held_out.x)
    assert not torch.equal(first.held_out.x[:, 0], torch.arange(20.0))


def test_a_small_class_is_never_held_out_entirely():
    labels = torch.tensor([0] * 5 + [1] + [2] * 2)
    for held_out in (0.3, 0.5, 0.6):
        assert torch.bincount(data.split(numbered(labels, 8), held_out).train.y, minlength=3).amin() >= 1


def test_every_sample_is_held_out_equally_often():
    whole = numbered(torch.arange(20) % 2, 20)
    times = torch.zeros(20)
    for seed in range(400):
        times[data.split(whole, 0.5, seed=seed).held_out.x[:, 0].long()] += 1
    assert ((times - 200).abs() < 5 * math.sqrt(400) / 2).all()


@pytest.mark.parametrize("held_out", [0.0, 1.0, -0.1, 2, 0.01])
def test_parts_that_cannot_be_are_refused(held_out):
    with pytest.raises(ValueError, match="held_out"):
        data.split(numbered(None, 10), held_out)

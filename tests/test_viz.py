"""Pictures tell the truth: what is drawn is what was given, and nothing is left behind."""

import json
import math
import subprocess
import sys
import threading
from html.parser import HTMLParser
from io import BytesIO

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from PIL import Image

import pathline as pl
from pathline import viz
from pathline.viz.plane import dot_opacity, raster, smoothed
from pathline.viz.report import as_yaml, verdict
from pathline.viz.style import density_map

PATH = pl.AffinePath(pl.Linear())
RINGS = pl.testing.oracles.eight_gaussians(PATH)
LINE = pl.testing.oracles.gaussian_mixture(torch.tensor([[-2.0], [1.5]]), 0.3, None, PATH)
LOG = [{"step": 10 * i, "loss": 1.0 + math.exp(-i / 10)} for i in range(60)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def planar() -> pl.Solution:
    return pl.solve(RINGS, (50, 2), steps=8, generator=seeded())


@pytest.fixture(scope="module")
def linear() -> pl.Solution:
    return pl.solve(LINE, (30, 1), steps=8, generator=seeded())


@pytest.fixture(scope="module")
def digits() -> pl.data.Dataset:
    return pl.data.load("digits")


@pytest.fixture(scope="module")
def strip(digits):
    """A field that knows ten digits, and a solve of six images."""
    field = pl.testing.oracles.gaussian_mixture(digits.x[:10] / 8 - 1, 0.05, None, PATH, labels=digits.y[:10])
    y = torch.arange(6)
    return field, pl.solve(field, (6, 1, 8, 8), steps=8, generator=seeded(), y=y), y


def axes(width: float = 4.0) -> matplotlib.axes.Axes:
    figure = Figure(figsize=(width, 0.75 * width))
    FigureCanvasAgg(figure)
    return figure.add_subplot()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"))


def drawings(planar, linear, strip):
    cloud, images = torch.randn(40, 2, generator=seeded()), torch.rand(6, 3, 4, 5, generator=seeded())
    return {
        "image grid": lambda ax: viz.samples(images, ax=ax),
        "grid of classes": lambda ax: viz.samples(images, y=torch.arange(6) % 2, ax=ax),
        "pairs": lambda ax: viz.pairs(images, images, ax=ax),
        "film": lambda ax: viz.film(strip[1], field=strip[0], ax=ax, y=strip[2]),
        "scatter": lambda ax: viz.samples(cloud, ax=ax),
        "scatter beside": lambda ax: viz.samples(cloud, data=cloud, ax=ax),
        "scatter over": lambda ax: viz.samples(cloud, data=cloud, layout="over", y=torch.arange(40) % 3, ax=ax),
        "principal axes": lambda ax: viz.samples(torch.randn(40, 5), ax=ax),
        "histogram": lambda ax: viz.samples(cloud[:, :1], data=cloud[:, 1:], ax=ax),
        "trajectories": lambda ax: viz.trajectories(planar, ax=ax),
        "field": lambda ax: viz.field(RINGS, 0.5, background=RINGS, ax=ax),
        "density": lambda ax: viz.density(RINGS, 0.5, ax=ax),
        "snapshots": lambda ax: viz.snapshots(planar, ax=ax),
        "phase portrait": lambda ax: viz.phase_portrait(linear, background=LINE, ax=ax),
        "loss": lambda ax: viz.loss(LOG, floor=1.0, ax=ax),
        "errors": lambda ax: viz.error_curve({"euler": {4: 0.1, 8: 0.05}}, orders=(1,), floor=0.02, ax=ax),
    }


def test_every_picture_is_drawn_on_the_given_axes_or_on_its_own_and_changes_no_setting(planar, linear, strip):
    before = dict(matplotlib.rcParams)
    for name, draw in drawings(planar, linear, strip).items():
        given = axes()
        assert draw(given) is given, name
        assert given.figure.axes == [given], name
        own = draw(None)
        assert isinstance(own.figure, Figure), name
        assert isinstance(own.figure.canvas, FigureCanvasAgg), name
        assert own.figure is not given.figure, name
    assert dict(matplotlib.rcParams) == before


def test_importing_draws_nothing_in_and_drawing_leaves_pyplot_alone():
    code = (
        "import sys; from pathline import viz; assert 'matplotlib' not in sys.modules\n"
        "import torch; viz.png(viz.samples(torch.randn(9, 2)))\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_settings_survive_an_error_and_two_threads():
    before = dict(matplotlib.rcParams)
    with pytest.raises(RuntimeError), viz.style():
        raise RuntimeError
    inside, go = threading.Event(), threading.Event()

    def hold():
        with viz.style():
            inside.set()
            go.wait(5.0)

    threads = [threading.Thread(target=hold), threading.Thread(target=lambda: viz.loss(LOG))]
    threads[0].start()
    inside.wait(5.0)
    threads[1].start()
    go.set()
    for thread in threads:
        thread.join()
    assert dict(matplotlib.rcParams) == before


def test_pictures_do_not_depend_on_the_settings_of_the_user():
    usual = viz.png(viz.loss(LOG))
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "savefig.bbox": None}):
        assert viz.png(viz.loss(LOG)) == usual


# --- colours -----------------------------------------------------------------------------------------------------------

# Machado, Oliveira, Fernandes (2009), severity 1: what is left of linear RGB
COLOUR_BLINDNESS = {
    "none": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def linear_rgb(colours) -> np.ndarray:
    c = np.array([matplotlib.colors.to_rgb(colour) for colour in colours])
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = np.clip(rgb, 0, 1) @ to_xyz.T / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


@pytest.mark.parametrize("kind", COLOUR_BLINDNESS)
def test_the_palette_stays_apart_whatever_the_eyes(kind):
    seen = lab(linear_rgb(viz.PALETTE) @ np.array(COLOUR_BLINDNESS[kind]).T)
    distances = np.linalg.norm(seen[:, None] - seen[None], axis=2)
    assert distances[~np.eye(len(seen), dtype=bool)].min() > 15.0


def test_the_palette_is_seen_on_white_and_densities_darken():
    luminance = linear_rgb(viz.PALETTE) @ [0.2126, 0.7152, 0.0722]
    assert (1.05 / (luminance + 0.05)).min() > 2.2
    assert np.diff(lab(linear_rgb(density_map()(np.linspace(0, 1, 50))[:, :3]))[:, 0]).max() < 0.0


# --- images ------------------------------------------------------------------------------------------------------------


def test_a_grid_in_a_file_gives_back_every_grey_level(digits, tmp_path):
    ax = viz.samples(digits.x, y=digits.y, class_names=digits.class_names, value_range=(0, 16), title="digits")
    picture = pixels(viz.save(ax, tmp_path / "grid.png").read_bytes())
    mosaic = np.asarray(ax.images[0].get_array())
    box = ax.get_window_extent()
    top, left = len(picture) - round(box.y1), round(box.x0)
    assert (picture[top : top + mosaic.shape[0], left : left + mosaic.shape[1]] == mosaic).all()
    # the mosaic is cells of 8 × 8 squares within a frame of 2 pixels, 3 pixels apart
    pitch = (mosaic.shape[0] + 3) // 10
    scale = (pitch - 3 - 4) // 8
    for label in range(10):
        wanted = digits.x[digits.y == label][:10, 0].numpy()
        for k in range(10):
            y, x = label * pitch + 2, k * pitch + 2
            cell = mosaic[y : y + 8 * scale, x : x + 8 * scale, 0]
            assert (np.rint(cell / 255 * 16) == wanted[k].repeat(scale, 0).repeat(scale, 1)).all()
    assert [text.get_text() for text in ax.get_yticklabels()] == list("0123456789")


def test_colour_images_keep_their_colours_and_empty_cells_are_white():
    x = torch.randint(0, 256, (3, 3, 5, 4), generator=seeded()).to(torch.uint8)
    shown = viz.mosaic(x.permute(0, 2, 3, 1).numpy(), [[0, 1], [2, None]], scale=2, gap=1)
    assert shown.shape == (2 * 10 + 1, 2 * 8 + 1, 3)
    assert (shown[11::2, 0:8:2] == x[2].permute(1, 2, 0).numpy()).all()
    assert (shown[11:, 9:] == 255).all()


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (torch.tensor([0, 128, 255], dtype=torch.uint8), [0, 128, 255]),
        (torch.tensor([False, True, True]), [0, 255, 255]),
        (torch.tensor([-1.0, 0.0, 1.0]), [0, 128, 255]),
        (torch.tensor([-1.0, 0.0, 1.0], dtype=torch.bfloat16), [0, 128, 255]),
        (torch.tensor([-1.0, math.nan, 1.0]), [0, 0, 255]),
        (torch.tensor([-1.0, math.inf, 1.0]), [0, 255, 255]),
    ],
)
def test_black_and_white_are_the_known_ends_or_the_extremes(x, expected):
    shown = np.asarray(viz.image_grid(x.reshape(1, 1, 1, 3)).images[0].get_array())
    assert shown[shown.shape[0] // 2, [10, shown.shape[1] // 2, -10], 0].tolist() == expected


def test_pairs_put_the_closest_first_and_stand_one_above_the_other():
    x = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 1, 2, 2)
    ax = viz.pairs(x, x + 4, distances=[3.0, 1.0, 0.0, 2.0], columns=4, value_range=(0, 7))
    shown = np.asarray(ax.images[0].get_array())[:, :, 0]
    height, width = shown.shape[0] // 4, shown.shape[1] // 8
    values = shown[height :: 2 * height, width :: 2 * width] / 255 * 7
    assert np.rint(values).tolist() == [[2, 1, 3, 0], [6, 5, 7, 4]]


def test_a_film_ends_with_the_samples_and_shows_what_the_field_takes_them_for(strip):
    field, solution, y = strip
    ax = viz.film(solution, field=field, samples=2, frames=5, value_range=(-1, 1), y=y)
    shown = np.asarray(ax.images[0].get_array())[:, :, 0]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["$t$ = 0.00", "0.25", "0.50", "0.75", "1.00"]
    scale = (shown.shape[1] + 3) // 5 - 7
    last, rows = shown[:, -2 - scale : -2], [2, scale + 9]
    final, guess = (last[r + scale // 16 : r + scale : scale // 8, scale // 16 :: scale // 8] for r in rows)
    wanted = (solution.x[0, 0].clamp(-1, 1) + 1) * 127.5
    assert np.abs(final - wanted.numpy()).max() <= 0.51
    assert np.abs(final.astype(float) - guess).max() < 5  # nothing is left to denoise at t = 1
    with pytest.raises(ValueError, match="read by nothing"):
        viz.film(solution, y=y)


# --- points ------------------------------------------------------------------------------------------------------------


def test_scatter_shows_all_points_in_shared_limits_of_equal_scale():
    x, data = torch.randn(300, 2, generator=seeded()), 1.1 * torch.randn(200, 2, generator=seeded(1)) + 0.1
    ax = viz.samples(x, data=data)
    left, right = ax.child_axes
    assert (left.get_xlim(), left.get_ylim()) == (right.get_xlim(), right.get_ylim())
    for panel, points in ((left, data), (right, x)):
        assert panel.get_aspect() == 1.0
        assert np.allclose(panel.collections[0].get_offsets(), points)
        for k, (low, high) in enumerate((panel.get_xlim(), panel.get_ylim())):
            assert low < points[:, k].min()
            assert points[:, k].max() < high
    assert not right.texts


def test_wild_samples_are_counted_and_do_not_hide_the_rest():
    x, data = torch.randn(1000, 2, generator=seeded()), torch.randn(1000, 2, generator=seeded(1))
    x[0], x[1], x[2, 0] = 1e6, -1e3, math.nan
    panel = viz.samples(x, data=data).child_axes[1]
    assert panel.get_xlim()[1] - panel.get_xlim()[0] < 20.0
    assert panel.texts[0].get_text() == "1 not finite, 2 outside"


def test_dots_fade_where_they_overlap_and_only_there():
    box = (-4.0, 4.0, -4.0, 4.0)
    few, many = (torch.randn(n, 2, generator=seeded()).numpy() for n in (50, 50_000))
    wide = np.stack(np.meshgrid(*2 * [np.linspace(-3.9, 3.9, 20)]), -1).reshape(-1, 2)
    assert dot_opacity(wide, box, 3.0, inches=3.0) == dot_opacity(few, box, 3.0, inches=3.0) == 0.7
    assert dot_opacity(many, box, 3.0, inches=3.0) < 0.2


def test_principal_axes_keep_distances_of_points_in_a_plane():
    plane = torch.linalg.qr(torch.randn(6, 2, generator=seeded(), dtype=torch.float64))[0]
    flat = torch.randn(80, 2, generator=seeded(1), dtype=torch.float64) * torch.tensor([3.0, 1.0])
    ax = viz.samples(flat @ plane.T + 5.0)
    shown = torch.as_tensor(np.asarray(ax.collections[0].get_offsets()))
    assert torch.allclose(torch.cdist(shown, shown), torch.cdist(flat, flat), atol=1e-6)
    assert shown[:, 0].var() > shown[:, 1].var()


def test_histograms_are_densities_in_the_same_bins():
    ax = viz.samples(torch.randn(500, 1), data=torch.randn(700))
    edges = [patch.get_data().edges for patch in ax.patches]
    assert (edges[0] == edges[1]).all()
    for patch in ax.patches:
        assert (patch.get_data().values * np.diff(patch.get_data().edges)).sum() == pytest.approx(1.0)


# --- flows -------------------------------------------------------------------------------------------------------------


def test_trajectories_run_from_the_first_state_to_the_last(planar):
    ax = viz.trajectories(planar, paths=20)
    lines = next(c for c in ax.collections if isinstance(c, LineCollection))
    segments = np.array(lines.get_segments())
    assert segments.shape == (20, len(planar.times), 2)
    assert np.allclose(segments, planar.trajectory[:, :20].swapaxes(0, 1))
    starts, ends = (np.asarray(c.get_offsets()) for c in ax.collections if c is not lines)
    assert np.allclose(starts, planar.trajectory[0, :20])
    assert np.allclose(ends, planar.x[:20])
    assert ax.get_xlim()[0] < segments[..., 0].min() < segments[..., 0].max() < ax.get_xlim()[1]


def test_arrows_point_along_the_velocity_and_grow_with_the_speed():
    ax = viz.field(RINGS, 0.6, limits=(-6, 6, -5, 5), arrows=9)
    quiver = ax.collections[0]
    velocity = RINGS(torch.as_tensor(quiver.XY), 0.6).velocity.numpy()
    drawn = np.stack([quiver.U, quiver.V], 1)
    speed, length = np.linalg.norm(velocity, axis=1), np.linalg.norm(drawn, axis=1)
    assert len(quiver.XY) == 81
    assert np.allclose(drawn / length[:, None], velocity / speed[:, None], atol=1e-3)
    assert np.allclose(length**2 / speed, (length**2 / speed)[0], rtol=1e-3)
    assert (quiver.XY.min(0) > [-6, -5]).all()
    assert (quiver.XY.max(0) < [6, 5]).all()


def test_a_density_is_painted_where_it_is():
    box = (-7.0, 7.0, -6.0, 6.0)
    image = viz.density(RINGS, 0.9, limits=box).images[0]
    values, sizes = np.asarray(image.get_array()), raster(box, 160)[1]
    assert tuple(image.get_extent()) == box
    for column, row in ((80, 80), (140, 80), (121, 127), (3, 150)):  # value = p/max p, at the centre of the cell
        x = torch.tensor([[box[0] + (column + 0.5) * sizes[0], box[2] + (row + 0.5) * sizes[1]]])
        ratio = RINGS.log_prob(x, 0.9).exp().item() / math.exp(RINGS.log_prob(0.9 * RINGS.means, 0.9).max().item())
        assert values[row, column] == pytest.approx(ratio, rel=0.02, abs=1e-12)


def test_a_density_from_particles_agrees_with_the_exact_one():
    network = pl.Field(lambda x, t, y: RINGS(x, t, y=y).velocity.float(), PATH, pl.VELOCITY)
    box = (-4.0, 7.0, -4.0, 7.0)
    exact, carried = (
        np.asarray(viz.density(field, 0.5, limits=box, y=1, **extra).images[0].get_array())
        for field, extra in ((RINGS, {}), (network, {"generator": seeded()}))
    )
    assert 0.5 * np.abs(exact / exact.sum() - carried / carried.sum()).sum() < 0.12


def test_smoothing_keeps_mass_and_mean():
    points = torch.randn(5000, 2, generator=seeded()).numpy() * [0.5, 1.0] + [1.0, -1.0]
    box = (-5.0, 5.0, -6.0, 6.0)
    centres, sizes = raster(box, 100)
    weights = smoothed(points, box, 100).ravel() * np.prod(sizes)
    assert weights.sum() == pytest.approx(1.0, abs=1e-6)
    assert np.allclose(weights @ centres, points.mean(0), atol=0.02)


def test_snapshots_stand_in_a_row_at_the_visited_times(planar):
    panels = viz.snapshots(planar, times=(0.0, 0.3, 1.0)).child_axes
    assert [panel.get_title() for panel in panels] == ["$t = 0$", "$t = 0.25$", "$t = 1$"]
    assert np.allclose(panels[1].collections[0].get_offsets(), planar.trajectory[2])
    assert len({panel.get_xlim() + panel.get_ylim() for panel in panels}) == 1


def test_a_phase_portrait_shows_paths_over_time(linear):
    ax = viz.phase_portrait(linear, paths=12, background=LINE)
    assert len(ax.lines) == 12
    assert np.allclose(ax.lines[3].get_ydata(), linear.trajectory[:, 3, 0])
    columns = np.asarray(ax.images[0].get_array())
    assert np.allclose(columns.max(0), 1.0)
    assert ax.get_xlim() == (0.0, 1.0)


# --- curves ------------------------------------------------------------------------------------------------------------


def test_the_running_mean_keeps_constants_lags_behind_no_ramp_and_skips_gaps():
    assert np.allclose(viz.running_mean(np.full(50, 3.0), 7), 3.0)
    ramp = np.arange(60.0)
    assert np.allclose(viz.running_mean(ramp, 9)[:-5], ramp[:-5])
    noise = np.random.default_rng(0).normal(size=4000)
    assert viz.running_mean(noise, 25)[50:-50].std() == pytest.approx(1 / 5, rel=0.15)
    assert viz.running_mean(np.array([1.0, math.nan, 1.0]), 2).tolist() == [1.0, 1.0, 1.0]
    assert viz.running_mean(ramp, 1).tolist() == ramp.tolist()


def test_a_log_is_read_as_it_was_written_crashes_included(tmp_path):
    log = tmp_path / "log.jsonl"
    lines = [json.dumps({"step": s, "loss": s / 10}) for s in (0, 1, 2, 3)]
    broken = ['{"step": 4, "lo', json.dumps({"event": "resumed"}), json.dumps({"step": 2, "loss": 9.0}), '{"step": 5']
    log.write_text("\n".join(lines + broken))
    line = viz.loss(log, window=1).lines[0]
    assert line.get_xdata().tolist() == [0, 1, 2, 3]
    assert line.get_ydata().tolist() == [0.0, 0.1, 9.0, 0.3]


def test_losses_of_several_kinds_and_their_floor_are_told_apart():
    records = [{"step": s, "loss": 1.0 / s, "held_out": None if s % 2 else 2.0 / s} for s in range(1, 200)]
    ax = viz.loss(records, keys=("loss", "held_out"), floor=0.004)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["loss", "held_out", "exact field: 0.004"]
    assert ax.get_yscale() == "log"
    low, high = ax.get_ylim()
    assert low < 0.004
    assert high > 1.0
    assert viz.loss(LOG).get_yscale() == "linear"


def test_error_curves_are_straight_for_powers_and_beside_their_slopes():
    series = {"first": {n: 3.0 / n for n in (8, 16, 32)}, "second": [(32, 3 / 1024), (8, 3 / 64), (16, 3 / 256)]}
    ax = viz.error_curve(series, orders=(2,))
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    first, second, guide = ax.lines
    assert second.get_xdata().tolist() == [8, 16, 32]
    for line, order in ((first, 1), (second, 2), (guide, 2)):
        x, y = (np.log(np.asarray(values, float)) for values in line.get_data())
        assert np.allclose(np.diff(y) / np.diff(x), -order)
    assert first.get_marker() != second.get_marker()
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["8", "16", "32"]


# --- files -------------------------------------------------------------------------------------------------------------


def test_files_are_the_same_bytes_without_a_date_and_stay_below_the_size(tmp_path):
    noisy = axes(2.0)
    noisy.imshow(np.random.default_rng(0).random((150, 200, 3)), aspect="auto")
    full = viz.save(noisy, tmp_path / "new" / "full.png", max_kb=2000)
    assert full.read_bytes() == viz.png(noisy.figure, max_kb=2000)
    assert not any(chunk in full.read_bytes() for chunk in (b"tIME", b"tEXt", b"iTXt", b"Software"))
    half = full.stat().st_size / 2000
    small = viz.save(noisy, full, max_kb=half)
    assert small.stat().st_size <= 1000 * half
    assert [file.name for file in small.parent.iterdir()] == ["full.png"]
    with pytest.raises(ValueError, match="max_kb=1"):
        viz.save(noisy, full, max_kb=1)
    assert small.stat().st_size <= 1000 * half  # the old file is still whole


class Seen(HTMLParser):
    """The tags of a page, its text, and whether they nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words, self.open = "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


HOSTILE = """<script>alert(1)</script>'"><img src=https://evil.example/x onerror=alert(2)>&amp;"""


class LikeARow:
    def to_dict(self):
        return {
            "name": HOSTILE,
            "value": 1.5,
            "value_spread": 0.1,
            "floor": 1.0,
            "better": "lower",
            "n": 9,
            "note": HOSTILE,
        }


def write(path) -> None:
    axes_picture = viz.Picture(shown=axes(2.0), alt=HOSTILE, caption=HOSTILE)
    picture = viz.Picture(shown=viz.png(axes(1.0)), alt=HOSTILE, caption=HOSTILE)
    written = viz.write_report(
        path,
        title=HOSTILE,
        headline=HOSTILE,
        config={HOSTILE: HOSTILE, "net": {"width": 8, "betas": (0.9, 0.95), "path": PATH}, "none": None},
        key_figures=[viz.KeyFigure(label=HOSTILE, value=HOSTILE, hint=HOSTILE)],
        sections=[viz.Section(title=HOSTILE, text=HOSTILE, pictures=[axes_picture, picture])],
        metrics=[LikeARow(), {"name": "W2", "value": None}],
        protocol=HOSTILE,
        cost={HOSTILE: HOSTILE},
        neighbours=picture,
        command=[HOSTILE],
        notes=HOSTILE,
    )
    assert written == path


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Seen:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write(path)
    return Seen(path.read_text(encoding="utf-8"))


def test_a_report_escapes_everything_and_asks_nothing_of_the_network(page):
    assert not page.open
    assert not page.all("script")
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    assert page.words.count("<script>alert(1)</script>") >= 14
    for _, attributes in page.tags:
        for key in ("src", "href", "action", "srcset"):
            assert (attributes.get(key) or "data:").startswith("data:")
    assert "url(" not in page.words
    assert "@import" not in page.words
    assert any("default-src 'none'" in (meta.get("content") or "") for meta in page.all("meta"))


def test_a_report_can_be_read_by_everyone(page):
    assert len(page.all("img")) == 3
    assert all(image["alt"] == HOSTILE for image in page.all("img"))
    assert all(cell.get("scope") in ("row", "col") for cell in page.all("th"))
    assert page.all("html")[0]["lang"] == "en"
    assert next(tag for tag, _ in page.tags if tag in ("h1", "h2")) == "h1"
    assert any(meta.get("name") == "viewport" for meta in page.all("meta"))
    assert "prefers-color-scheme: dark" in page.words
    sizes = [(int(image["width"] or 0), int(image["height"] or 0)) for image in page.all("img")]
    assert sizes == [(100, 75), (50, 37), (50, 37)]


def test_a_report_is_the_same_bytes_for_the_same_run(tmp_path):
    for name in "ab":
        write(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_report_takes_the_rows_of_metrics(tmp_path):
    x = torch.randn(60, 2, generator=seeded())
    found = pl.metrics.evaluate(x, torch.randn(120, 2, generator=seeded(1)), metrics=["w2"], generator=seeded())
    path = viz.write_report(tmp_path / "r.html", title="t", config={}, metrics=found.rows, protocol=found.protocol)
    assert f"{found.rows[0].value:.4g}" in Seen(path.read_text(encoding="utf-8")).words


def test_the_reading_of_a_metric_passes_only_what_is_like_real():
    spread = {"value_spread": 0.3, "floor_spread": 0.4}
    assert verdict({"value": 1.9, "floor": 1.0, **spread})[0] == "pass"  # 0.9 <= 2 · 0.5
    assert verdict({"value": 2.1, "floor": 1.0, **spread}) == ("neutral", "2.10 × real")
    assert verdict({"value": 0.5, "floor": 1.0, "better": "lower"})[0] == "pass"
    assert verdict({"value": 0.5, "floor": 1.0, "better": "higher"}) == ("neutral", "0.50 × real")
    assert verdict({"value": 1.1, "floor": 1.0, "better": "higher"})[0] == "pass"
    assert verdict({"value": 0.01, "floor": -0.002}) == ("neutral", "off")
    assert verdict({"value": math.nan, "floor": 1.0})[0] == verdict({"value": 1.0, "floor": None})[0] == "neutral"
    assert verdict({"value": 9.0, "floor": 1.0, "passes": True})[0] == "pass"


def test_the_configuration_is_yaml_that_reads_back():
    import yaml

    config = {"a": {"b": [1, 2.5, None]}, "c": "x: y", "d": True}
    assert yaml.safe_load(as_yaml(config)) == config


# --- mistakes ----------------------------------------------------------------------------------------------------------

IMAGES, POINTS = torch.rand(4, 1, 3, 3), torch.randn(5, 2)
NETWORK = pl.Field(lambda x, t: -x, PATH, pl.VELOCITY)


@pytest.mark.parametrize(
    ("act", "error", "told"),
    [
        (lambda s: viz.samples(torch.randn(3, 4, 5)), ValueError, r"\(B, C, H, W\) or points \(B, D\)"),
        (lambda s: viz.samples(torch.rand(3, 8, 8, 3)), ValueError, "channels first"),
        (lambda s: viz.samples(torch.rand(0, 1, 8, 8)), ValueError, "images of shape"),
        (lambda s: viz.samples(["a"]), TypeError, "must hold numbers"),
        (lambda s: viz.samples(IMAGES, y=torch.arange(3)), ValueError, r"one integer label a sample, \(4,\)"),
        (lambda s: viz.samples(IMAGES, class_names=["a"]), ValueError, "need the labels"),
        (lambda s: viz.samples(IMAGES, value_range=(1, 0)), ValueError, "black < white"),
        (lambda s: viz.samples(IMAGES, columns=0), ValueError, "columns must be at least 1"),
        (lambda s: viz.samples(IMAGES * math.nan), ValueError, "no value of the images is finite"),
        (lambda s: viz.pairs(IMAGES, IMAGES[:2]), ValueError, "shape of x"),
        (lambda s: viz.samples(POINTS, data=torch.randn(5, 3)), ValueError, "as many coordinates"),
        (lambda s: viz.samples(POINTS, layout="under"), ValueError, "beside"),
        (lambda s: viz.samples(POINTS * math.inf), ValueError, "finite"),
        (lambda s: viz.samples(POINTS, data=POINTS * math.nan), ValueError, "data must be finite"),
        (lambda s: viz.samples(POINTS, limits=(1, 0, 0, 1)), ValueError, "left < right"),
        (lambda s: viz.samples(POINTS[:, :1], y=torch.zeros(5).long()), ValueError, "shows no classes"),
        (lambda s: viz.trajectories(s.x), TypeError, "pl.solve"),
        (lambda s: viz.trajectories(pl.solve(RINGS, (2, 2), record=False)), ValueError, "record=True"),
        (lambda s: viz.phase_portrait(s), ValueError, "1 coordinate"),
        (lambda s: viz.film(s), ValueError, "shows images"),
        (lambda s: viz.snapshots(s, times=()), ValueError, "at least one time"),
        (lambda s: viz.snapshots(s, y=0), ValueError, "read by nothing"),
        (lambda s: viz.density(RINGS, 0.5, generator=seeded()), ValueError, "read by nothing"),
        (lambda s: viz.density(RINGS, 1.5), ValueError, r"\[0, 1\]"),
        (lambda s: viz.field(NETWORK, 0.5), ValueError, "limits must be given"),
        (lambda s: viz.field(RINGS, 0.5, lim=3), TypeError, "lim= is read by nothing"),
        (lambda s: viz.loss("nowhere.jsonl"), FileNotFoundError, "nowhere"),
        (lambda s: viz.loss(LOG, keys=("los",)), ValueError, "did you mean 'loss'"),
        (lambda s: viz.loss([{"step": 1, "loss": math.nan}]), ValueError, "finite 'loss'"),
        (lambda s: viz.loss(LOG, window=0), ValueError, "at least 1"),
        (lambda s: viz.error_curve({}), ValueError, "at least one curve"),
        (lambda s: viz.error_curve({"a": {4: 0.0}}), ValueError, "positive finite"),
        (lambda s: viz.error_curve({"a": [1.0, 2.0]}), ValueError, "pairs"),
        (lambda s: viz.save(axes(), "a.jpg"), ValueError, ".png"),
        (lambda s: viz.save(axes(), "a.png", max_kb=0), ValueError, "max_kb"),
        (lambda s: viz.save(3, "a.png"), TypeError, "axes or a figure"),
        (lambda s: viz.Picture(shown=b"", alt=" "), ValueError, "alt"),
        (lambda s: report_with(b"GIF89a"), ValueError, "no PNG"),
        (lambda s: report_with("nowhere.png"), FileNotFoundError, "nowhere"),
        (
            lambda s: viz.write_report("x", title="", config={}, metrics=[{"value": 1}]),
            ValueError,
            "a name and a value",
        ),
    ],
)
def test_mistakes_are_told(act, error, told, planar):
    with pytest.raises(error, match=told):
        act(planar)


def report_with(shown):
    section = viz.Section(title="s", pictures=[viz.Picture(shown=shown, alt="a")])
    viz.write_report("never-written.html", title="t", config={}, sections=[section])

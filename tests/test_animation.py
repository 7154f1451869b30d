"""Films of flows: frames, lengths, and what is refused."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import pathline as pl
from pathline.cli import main
from pathline.viz.animation import _place, animate

EXACT = pl.testing.oracles.eight_gaussians(pl.AffinePath(pl.Linear()))


@pytest.fixture(scope="module")
def planar() -> pl.Solution:
    return pl.solve(EXACT, (60, 2), steps=6, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def images() -> tuple:
    data = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    field = pl.testing.oracles.empirical(data, pl.AffinePath(pl.Linear()))
    return (
        field,
        pl.solve(field, (5, 1, 8, 8), solver="euler", steps=8, generator=torch.Generator().manual_seed(0)),
        data,
    )


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_points_move_for_as_long_as_asked(suffix: str, planar: pl.Solution, tmp_path) -> None:
    path = animate(planar, tmp_path / f"flow.{suffix}", seconds=0.6, hold=0.2, fps=10, data=EXACT.sample(50))
    with Image.open(path) as film:
        lengths, frames = [], []
        for k in range(film.n_frames):
            film.seek(k)
            frames.append(np.asarray(film.convert("RGB")).astype(int))
            film.load()
            lengths.append(film.info["duration"])
    assert sum(lengths) == pytest.approx(800, abs=1)  # still frames may be merged, never lost
    assert np.abs(frames[0] - frames[-1]).max() > 100


def test_a_place_on_the_clock() -> None:
    times = np.array([0.0, 0.5, 1.0])
    assert _place(times, 0.25) == (0, 0.5)
    assert _place(times, 1.0) == (1, 1.0)
    assert _place(times[::-1], 0.75) == (0, 0.5)


def test_images_are_shown_beside_what_they_are_taken_for(images: tuple, tmp_path) -> None:
    field, solution, _ = images
    alone = animate(solution, tmp_path / "a.gif", seconds=0.4, hold=0.0, fps=10)
    both = animate(solution, tmp_path / "b.gif", seconds=0.4, hold=0.0, fps=10, field=field)
    with Image.open(alone) as a, Image.open(both) as b:
        assert b.width > 1.9 * a.width
        assert a.height == b.height
        a.seek(a.n_frames - 1)
        b.seek(b.n_frames - 1)
        last = np.asarray(b.convert("L")).astype(int)
    half = np.asarray(Image.open(alone).convert("L")).shape[1]
    # at t = 1 a state is its own data prediction: both halves agree
    assert np.abs(last[:, :half] - last[:, -half:]).mean() < 2.0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"path": "flow.avi"}, "must end in"),
        ({"path": "flow.gif", "seconds": 0.0}, "seconds > 0"),
        ({"path": "flow.gif", "seconds": 1e4}, "at most 1500 frames"),
        ({"path": "flow.gif", "field": EXACT}, "images only"),
    ],
    ids=["suffix", "seconds", "frames", "field"],
)
def test_what_cannot_be_filmed_is_refused(options: dict, words: str, planar: pl.Solution, tmp_path) -> None:
    path = tmp_path / options.pop("path")
    with pytest.raises(ValueError, match=words):
        animate(planar, path, **options)
    assert not list(tmp_path.iterdir())


def test_an_mp4_asks_for_ffmpeg(planar: pl.Solution, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="ffmpeg"):
        animate(planar, tmp_path / "flow.mp4")


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg: apt-get install ffmpeg")
def test_an_mp4_is_written(planar: pl.Solution, tmp_path) -> None:
    path = animate(planar, tmp_path / "flow.mp4", seconds=0.5, hold=0.0, fps=10)
    assert path.read_bytes()[4:8] == b"ftyp"
    assert [file.name for file in tmp_path.iterdir()] == ["flow.mp4"]


def test_the_command_films_a_run(tmp_path, capsys) -> None:
    run = tmp_path / "run"
    config = pl.train.TrainConfig(
        data="moons(n=200)", net="mlp(width=8, depth=1)", out=str(run), steps=2, batch_size=16, warmup=0, cpu=True
    )
    pl.fit(config)
    assert main(["animate", str(run), "--n", "20", "--seconds", "0.3", "--fps", "5", "--evaluations", "4"]) == 0
    assert (run / "flow.gif").stat().st_size > 1000
    assert main(["animate", str(run), "-o", str(tmp_path / "x.txt")]) == 2
    assert "must end in" in capsys.readouterr().err

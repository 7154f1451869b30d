"""The playground without its page: what is computed, what is printed, what is refused."""

import io
import json
import pickle
import shutil
import struct
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import pathline as pl
from pathline.playground import UPLOAD_BYTES, explain, guard, measures, runs
from pathline.playground.coupled import COUPLINGS, NOISE
from pathline.playground.exact import FRAMES, backdrop, flow, play, square, summarise
from pathline.playground.memory import Memory
from pathline.playground.payload import pack, unpack
from pathline.playground.settings import (
    DRAWN,
    GRIDS,
    MOST_POINTS,
    PAIRS_SHOWN,
    PREDICTIONS,
    SCHEDULES,
    Points,
    Setting,
    drawn_points,
    exact_field,
    toy_points,
    with_source,
)
from pathline.playground.uploads import read_points

SMALL = {"particles": 40, "evaluations": 12}
CASES = {
    "plain": Setting(**SMALL),
    "noise, VP, dpm": Setting(schedule="VP", prediction="noise", solver="dpmpp_2m", grid="even in log-SNR", **SMALL),
    "sde with a number": Setting(solver="euler_maruyama", eta="0.5", schedule="trigonometric", **SMALL),
    "sde with a name": Setting(solver="stochastic_heun", eta="reverse", prediction="score", seed=3, **SMALL),
    "guided class": Setting(label=1, guidance=3.0, solver="rk4", prediction="data", **SMALL),
    "EDM, Karras": Setting(schedule="EDM", grid="Karras", solver="unipc", **SMALL),
    "adaptive": Setting(solver="dopri5", schedule="cosine", prediction="v", **SMALL),
    "optimal pairs": Setting(coupling="exact OT", prediction="data", **SMALL),
    "optimal pairs within a class": Setting(coupling="OT within class", label=1, guidance=2.0, **SMALL),
    "entropic pairs": Setting(coupling="entropic OT", solver="ab2", **SMALL),
    "reflow": Setting(coupling="reflow", solver="euler", **SMALL),
}


@pytest.fixture(scope="module")
def points() -> Points:
    return toy_points("moons", 64)


@pytest.mark.parametrize("case", CASES)
def test_the_printed_python_repeats_the_play(case: str, points: Points) -> None:
    setting = CASES[case]
    points = with_source(points, NOISE, [setting])
    scope: dict = {}
    exec(explain.code(points, setting), scope)
    assert torch.equal(scope["solution"].x, play(points, setting).solution.x)


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_the_printed_python_repeats_a_play_from_another_source(coupling: str, points: Points) -> None:
    setting = Setting(coupling=coupling, **SMALL)
    points = with_source(points, "8gaussians", [setting])
    scope: dict = {}
    exec(explain.code(points, setting), scope)
    assert torch.equal(scope["solution"].x, play(points, setting).solution.x)
    told = explain.equations(setting, "8gaussians")
    assert "**Pairs**" in told
    assert told.count("$$") % 2 == 0


def test_optimal_pairs_and_reflow_straighten_the_ways_of_the_same_noise() -> None:
    """T28, T32: independent pairs bend, optimal ones hardly, and after a reflow one step is nearly enough."""
    names = ("independent", "exact OT", "reflow")
    settings = [Setting(coupling=name, particles=200, evaluations=32) for name in names]
    points = with_source(toy_points("moons", 128), NOISE, settings)
    plays = {name: play(points, setting) for name, setting in zip(names, settings)}
    for shown in plays.values():
        assert torch.equal(shown.states[0], plays["independent"].states[0])
    bends = {name: summarise(shown).bend for name, shown in plays.items()}
    assert bends["independent"] > 0.3
    assert bends["exact OT"] < 0.1 * bends["independent"]
    assert bends["reflow"] < 0.1 * bends["independent"]
    for name, shown in plays.items():  # one Euler step from the same noise
        one = play(points, replace(shown.setting, solver="euler", evaluations=1)).solution.x
        miss = (one - shown.solution.x).norm(dim=1).mean()
        assert (miss > 1.0) == (name == "independent")


def test_pairs_of_all_data_skew_the_source_of_a_class() -> None:
    """T30: given a class, optimal pairs of all data are no flow of that class from the whole noise; those within classes are."""
    distances = {}
    for coupling in ("exact OT", "OT within class"):
        setting = Setting(coupling=coupling, label=1, particles=500, evaluations=32)
        distances[coupling] = summarise(play(with_source(toy_points("moons", 128), NOISE, [setting]), setting)).distance
    assert distances["exact OT"] > 1.5 * distances["OT within class"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"solver": "euler_maruyama"}, "choose a solver of the ODE"),
        ({"prediction": "score"}, "choose another prediction"),
        ({"schedule": "EDM"}, "other than VE and EDM"),
        ({"coupling": "reflow", "label": 0}, "choose all classes"),
        ({"coupling": "class OT"}, "unknown coupling"),
    ],
    ids=["sde", "score", "wide", "reflow of a class", "name"],
)
def test_what_pairs_have_no_meaning_for_is_refused(change: dict, words: str, points: Points) -> None:
    given = {"coupling": "exact OT", **SMALL, **change}
    with pytest.raises(ValueError, match=words):
        play(with_source(points, "8gaussians", []), Setting(**given))


def test_couplings_need_as_many_points_as_are_paired_and_classes() -> None:
    setting = Setting(coupling="exact OT", **SMALL)
    with pytest.raises(ValueError, match="at most 512"):
        play(with_source(toy_points("moons", 1024), NOISE, [setting]), setting)
    with pytest.raises(ValueError, match="with_source"):
        play(toy_points("moons", 64), setting)
    plain = Points(name=DRAWN, x=torch.randn(32, 2, generator=torch.Generator().manual_seed(0)))
    within = Setting(coupling="OT within class", **SMALL)
    with pytest.raises(ValueError, match="no classes to pair within"):
        play(with_source(plain, NOISE, [within]), within)


def test_the_landscape_of_pairs_begins_at_their_source() -> None:
    setting = Setting(coupling="exact OT", solver="rk4")
    points = with_source(toy_points("moons", 64, std=0.4), NOISE, [setting])
    assert measures.landscape(points, setting, steps=24, draws=32).error < 0.1


def test_the_printed_python_repeats_drawn_points() -> None:
    x = torch.rand(30, 2, generator=torch.Generator().manual_seed(0)) * 4 - 2
    points = drawn_points(x, torch.arange(30) % 2, std=0.2)
    setting = Setting(label=0, **SMALL)
    scope: dict = {}
    exec(explain.code(points, setting), scope)
    assert points.name == DRAWN
    assert torch.equal(scope["solution"].x, play(points, setting).solution.x)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_text_of_a_schedule_makes_it(name: str) -> None:
    text, make = SCHEDULES[name]
    t = torch.linspace(0, 1, 9, dtype=torch.float64)
    for a, b in zip(eval(text, {"pl": pl})(t), make()(t)):
        torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), rtol=0, atol=0)


@pytest.mark.parametrize("name", GRIDS)
def test_the_text_of_a_grid_makes_it(name: str) -> None:
    path = pl.AffinePath(pl.VP())
    text, make = GRIDS[name]
    assert torch.equal(eval(text.format(path="path"), {"pl": pl, "path": path}).grid(7), make(path.schedule).grid(7))


@pytest.mark.parametrize("solver", pl.SOLVERS)
def test_every_solver_plays_and_is_explained(solver: str, points: Points) -> None:
    setting = Setting(solver=solver, **SMALL)
    shown = play(points, setting)
    assert bool(torch.isfinite(shown.states).all())
    told = explain.equations(setting)
    assert "T11" in told
    assert told.count("$$") % 2 == 0


def test_two_settings_start_from_the_same_noise(points: Points) -> None:
    a, b = (
        play(points, Setting(solver="euler", **SMALL)),
        play(points, Setting(solver="rk4", prediction="data", **SMALL)),
    )
    assert torch.equal(a.states[0], b.states[0])


def test_the_canvas_gets_the_particles_and_what_is_behind(points: Points) -> None:
    shown = play(points, Setting(label=1, guidance=2.0, **SMALL))
    message = json.loads(json.dumps(flow([("a", shown)], "7")))
    view = message["views"][0]
    np.testing.assert_array_equal(unpack(view["states"]), shown.states.numpy())
    assert unpack(view["times"])[-1] == 1.0
    assert set(unpack(view["classes"]).tolist()) <= {0.0, 1.0}
    back = backdrop(shown)
    side = back["density"]["shape"][1]
    # the density at the end is that of the chosen class: highest at a cell next to one of its points
    last = unpack(back["density"])[-1]
    row, column = np.unravel_index(last.argmax(), last.shape)
    box, cell = square(points), (square(points)[1] - square(points)[0]) / side
    spot = torch.tensor([box[0] + (column + 0.5) * cell, box[2] + (row + 0.5) * cell])
    assert float((points.x[points.y == 1] - spot).norm(dim=1).min()) < 2 * cell
    assert unpack(back["arrows"]).shape == (FRAMES, 17 * 17, 2)


def test_a_wide_path_is_shown_in_the_units_of_the_plane(points: Points) -> None:
    shown = play(points, Setting(schedule="EDM", solver="unipc", evaluations=64, particles=40))
    assert float(shown.states[0].abs().max()) > 50.0
    states = unpack(flow([("", shown)], "1")["views"][0]["states"])
    assert np.abs(states).max() < 6.0
    np.testing.assert_allclose(states[-1], shown.solution.x.numpy(), atol=0.02)


def test_the_backdrop_of_velocity_points_where_particles_go(points: Points) -> None:
    """The arrow nearest to a particle in the middle of its way has the direction of its next step."""
    shown = play(points, Setting(solver="rk4", evaluations=200, particles=200))
    arrows = unpack(backdrop(shown)["arrows"])
    frame = FRAMES // 2  # t = 1/2 of the cosine grid
    k = int((shown.times - 0.5).abs().argmin())
    x, step = shown.states[k], shown.states[k + 1] - shown.states[k]
    box = square(points)
    cell = (box[1] - box[0]) / 17
    place = ((x - box[0]) / cell).floor().long().clamp(0, 16)
    near = torch.tensor(arrows[frame])[place[:, 1] * 17 + place[:, 0]]
    cosine = torch.nn.functional.cosine_similarity(near, step, dim=1)
    assert float(cosine.median()) > 0.9


def test_the_summary_tells_straight_from_bent() -> None:
    one = Points(name=DRAWN, x=torch.tensor([[2.0, 1.0], [2.0, 1.0]]), std=0.02)
    straight = summarise(play(one, Setting(**SMALL)))
    assert straight.bend < 0.03  # one point: every way is the line to it
    assert straight.stretch == pytest.approx(1.0, abs=1e-2)
    bent = summarise(play(toy_points("moons", 64), Setting(**SMALL)))
    assert bent.bend > 10 * straight.bend
    assert summarise(play(toy_points("moons", 64), Setting(label=0, guidance=2.0, **SMALL))).distance is None


def test_errors_fall_with_evaluations_and_order(points: Points) -> None:
    *_, found = measures.error_series(points, Setting(), ["euler", "rk4"])
    euler, rk4 = found["euler"], found["rk4"]
    assert list(rk4) == sorted(rk4)
    assert euler[64] < euler[8]
    assert rk4[64] < 0.1 * euler[64]


def test_the_landscape_is_that_of_the_exact_density() -> None:
    points = toy_points("moons", 64, std=0.4)
    found = measures.landscape(points, Setting(solver="rk4"), steps=24, draws=32)
    assert found.error < 0.05
    assert measures.landscape(points, Setting(solver="euler"), steps=4, draws=32).error > 3 * found.error


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"particles": 10_000}, "particles must lie between 1 and 5,000"),
        ({"evaluations": 0}, "evaluations must lie between"),
        ({"solver": "rk5"}, "unknown solver"),
        ({"guidance": 3.0}, "choose one"),
        ({"guidance": 99.0, "label": 0}, "guidance scale w must lie"),
        ({"eta": "-1"}, "eta must be"),
        ({"eta": "nan"}, "eta must be"),
        ({"seed": -1}, "seed must lie"),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, dict) else None,
)
def test_settings_out_of_limits_are_refused(change: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Setting(**change)


def test_too_much_work_and_unknown_classes_are_refused(points: Points) -> None:
    with pytest.raises(ValueError, match="more work"):
        exact_field(toy_points("moons", MOST_POINTS), Setting(particles=5000, evaluations=500))
    with pytest.raises(ValueError, match="no class 7"):
        exact_field(points, Setting(label=7))
    with pytest.raises(ValueError, match="does not pay"):
        play(points, Setting(solver="rk4", evaluations=2))


@pytest.mark.parametrize("name", PAIRS_SHOWN)
def test_settings_side_by_side_differ_and_play(name: str) -> None:
    pytest.importorskip("gradio")
    from pathline.playground.controls import name_of, read, write

    few = [replace(setting, particles=60) for setting in PAIRS_SHOWN[name]]
    assert len(set(name_of(*few))) == 2
    data = with_source(toy_points("moons", 64), NOISE, few)
    for setting in few:
        assert read(write(setting), setting.particles, setting.seed) == setting
        assert bool(play(data, setting).solution.x.isfinite().all())


def test_singular_ends_are_told() -> None:
    assert "t = 0" in explain.singular(Setting(prediction="noise"))
    assert "t = 1" in explain.singular(Setting(prediction="data"))
    assert "finite at both ends" in explain.singular(Setting(prediction="displacement"))
    assert len(PREDICTIONS) == 6


@pytest.mark.parametrize("kind", ["f4", "u1", "u2"])
def test_packed_arrays_come_back(kind: str) -> None:
    values = torch.linspace(-3, 5, 60).reshape(3, 20)
    back = unpack(json.loads(json.dumps(pack(values, kind))))
    step = {"f4": 0.0, "u1": 8 / 255, "u2": 8 / 65535}[kind]
    np.testing.assert_allclose(back, values.numpy(), atol=0.5 * step + 1e-6)


def test_what_two_ask_for_at_once_is_computed_once() -> None:
    memory, begun, go = Memory(2), threading.Event(), threading.Event()
    made: list[int] = []

    def slow() -> int:
        begun.set()
        go.wait(10)
        made.append(1)
        return len(made)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(memory.get, "a", slow)
        begun.wait(10)
        second = pool.submit(memory.get, "a", slow)
        go.set()
        assert (first.result(10), second.result(10)) == (1, 1)
    assert memory.get("a", slow) == 1
    for key in "bc":  # "a" is the oldest now
        memory.get(key, lambda: 0)
    assert memory.get("a", slow) == 2


def test_an_error_is_told_and_not_kept() -> None:
    memory = Memory(2)
    with pytest.raises(ZeroDivisionError):
        memory.get("a", lambda: 1 // 0)
    assert memory.get("a", lambda: 3) == 3


# uploads


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _npy(array: np.ndarray, **options: bool) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def test_points_are_read_from_each_kind_of_file(tmp_path: Path) -> None:
    x, y = np.array([[0.5, 1.25], [-1.0, 2.0], [3.0, -2.0]]), np.array([0, 1, 1])
    np.savez(tmp_path / "a.npz", x=x, y=y)
    for file in (
        tmp_path / "a.npz",
        _write(tmp_path / "a.npy", _npy(x)),
        _write(tmp_path / "a.csv", b"x,y,class\n0.5,1.25,0\n-1,2,1\n3,-2,1\n"),
    ):
        found = read_points(file)
        np.testing.assert_allclose(found.x, x)
        assert found.classes == ([] if file.suffix == ".npy" else [0, 1])
    far = read_points(_write(tmp_path / "far.csv", b"100,100\n300,100\n200,400\n"))
    assert float(far.x.abs().max()) == pytest.approx(3.5)
    assert (
        len(read_points(_write(tmp_path / "many.npy", _npy(np.random.default_rng(0).normal(size=(9000, 2))))).x)
        == MOST_POINTS
    )


class _Evil:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("pwned"),))


def _bomb(name: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, b"\0" * 60_000_000)
    return stream.getvalue()


def _huge_header() -> bytes:
    """A file that announces 10^15 numbers and holds none."""
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (500000000000000, 2), }"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header + b"\n"


HOSTILE = {
    "pickle.npy": _npy(np.array([_Evil(), _Evil()], dtype=object), allow_pickle=True),
    "pickle.npz": pickle.dumps(_Evil()),
    "bomb.npz": _bomb("x.npy"),
    "many.npz": _bomb("../../x.npy"),
    "header.npy": _huge_header(),
    "long_header.npy": b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b"{" * 100,
    "large.csv": b"1,2\n" * (UPLOAD_BYTES // 4 + 1),
    "words.csv": b"a,b\nc,d\n",
    "one.csv": b"1,2\n",
    "nan.csv": b"1,2\nnan,3\n",
    "ragged.csv": b"1,2\n1,2,3\n",
    "script.py": b"print(1)",
    "cut.npz": b"PK\x03\x04 and no more",
    "three.npy": _npy(np.zeros((5, 3))),
    "text.npy": _npy(np.array([["a", "b"], ["c", "d"]])),
    "bytes.csv": b"\xff\xfe\x00\x01",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_uploads_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=name.split(".")[0]):
        read_points(_write(tmp_path / name, HOSTILE[name]))
    assert not (tmp_path / "pwned").exists()


# runs


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one tiny run in the plane and one of images."""
    root = tmp_path_factory.mktemp("runs")
    for name, config in (
        ("moons", {"data": "moons(n=400)", "net": "mlp(width=16, depth=2)"}),
        ("digits", {"data": "digits", "net": "dit(patch=4, width=16, depth=1, heads=2)"}),
    ):
        pl.fit(
            pl.train.TrainConfig(
                out=str(root / name), steps=4, batch_size=32, warmup=0, log_every=1, cpu=True, **config
            )
        )
    return root


def test_runs_are_found_opened_and_described(root: Path) -> None:
    assert guard.list_runs(root) == ["digits", "moons"]
    run = runs.open_run(root, "moons")
    assert run is runs.open_run(root, "moons")
    assert runs.planar(run)
    assert "4 steps" in runs.about(run)


def test_pieces_are_the_samples_of_the_run(root: Path) -> None:
    run = runs.open_run(root, "digits")
    drawing = runs.Drawing(count=40, seed=5, evaluations=4, guidance=1.0)
    pieces = list(runs.sample_pieces(run, drawing))
    assert [len(piece) for piece in pieces] == [32, 8]
    whole = run.sample(40, seed=5, evaluations=4, guidance=1.0)
    assert torch.equal(torch.cat(pieces), whole)
    found = runs.closer(root, run, drawing, 33)
    torch.testing.assert_close(found.sample[0], whole[33], atol=1.0, rtol=0)
    train = run.data.train.x
    nearest = (train.flatten(1) - found.sample.flatten(1)).norm(dim=1).min()
    assert float(found.distances[0]) == pytest.approx(float(nearest), rel=1e-3)


def test_two_runs_start_from_the_same_noise(root: Path) -> None:
    shutil.copytree(root / "moons", root / "more" / "moons2")
    a, b = (runs.open_run(root, name) for name in ("moons", "more/moons2"))
    drawing = runs.Drawing(count=8, evaluations=4)
    assert torch.equal(a.trajectory(8, evaluations=4).trajectory[0], b.trajectory(8, evaluations=4).trajectory[0])
    assert runs.trajectories(a, drawing).x.shape == (8, 2)
    shutil.rmtree(root / "more")


@pytest.mark.parametrize("name", ["../moons", "/etc", "", "moons/../../x", "nothing", "moons\0"])
def test_names_that_lead_elsewhere_are_refused(name: str, root: Path) -> None:
    with pytest.raises(guard.Refused):
        runs.open_run(root, name)


def _edit(folder: Path, change) -> None:
    """A manifest changed by somebody who knows how its checksum is made."""
    from pathline.train.checkpoint import _digest_of

    path = next((folder / "checkpoints").glob("*/manifest.json"))
    body = json.loads(path.read_text())
    change(body["facts"])
    body.pop("sha256")
    path.write_text(json.dumps({"sha256": _digest_of(body), **body}))


def _deeper(facts: dict) -> None:
    facts["net"]["config"]["depth"] = 10_000_000


def _wider(facts: dict) -> None:
    facts["net"]["config"]["width"] = 400_000


def _states(facts: dict) -> None:
    facts["data"]["shape"] = [100_000, 100_000]


def _solver(facts: dict) -> None:
    facts["settings"]["sampling"]["solver"] = "/etc/hostname.json"


def _unknown(facts: dict) -> None:
    facts["net"]["name"] = "os.system"


@pytest.mark.parametrize("change", [_deeper, _wider, _states, _solver, _unknown], ids=lambda f: f.__name__)
def test_manifests_that_lie_are_refused_before_memory_is_spent(change, root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "moons", tmp_path / "bad")
    _edit(tmp_path / "bad", change)
    with pytest.raises(guard.Refused):
        runs.open_run(tmp_path, "bad")


@pytest.mark.parametrize("kind", ["header", "numbers", "pickle", "nested", "no_manifest"])
def test_damaged_checkpoints_are_refused(kind: str, root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "moons", tmp_path / "bad")
    step = next((tmp_path / "bad" / "checkpoints").iterdir())
    ema = step / "ema.safetensors"
    if kind == "header":
        ema.write_bytes(struct.pack("<Q", 2**62) + b"{}")
    elif kind == "numbers":
        header = json.dumps({"w": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4]}}).encode()
        ema.write_bytes(struct.pack("<Q", len(header)) + header)
    elif kind == "pickle":
        ema.write_bytes(pickle.dumps(_Evil()))
    elif kind == "nested":
        (step / "manifest.json").write_text("[" * 100_000)
    else:
        (step / "manifest.json").unlink()
    with pytest.raises(ValueError, match="bad"):
        runs.open_run(tmp_path, "bad")


def test_links_out_of_the_folder_are_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "linked").symlink_to(root / "moons", target_is_directory=True)
    assert guard.list_runs(tmp_path / "in") == []
    with pytest.raises(guard.Refused, match="link"):
        runs.open_run(tmp_path / "in", "linked")
    shutil.copytree(root / "moons", tmp_path / "in" / "log")
    (tmp_path / "in" / "log" / "log.jsonl").unlink()
    (tmp_path / "in" / "log" / "log.jsonl").symlink_to("/dev/zero")
    with pytest.raises(guard.Refused):
        runs.open_run(tmp_path / "in", "log")


def test_training_data_are_read_from_named_sets_and_below_the_folder_only(tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", np.zeros((4, 2)))
    assert guard.data_within(tmp_path, "moons(n=1000)")
    assert guard.data_within(tmp_path, str(tmp_path / "mine.npy"))
    for text in ("/etc/passwd", "moons(n=10000000000)", str(tmp_path / ".." / "x.npy"), "digits(path='/etc')", "((("):
        assert not guard.data_within(tmp_path, text)


def test_text_of_a_run_is_no_markup(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "moons", tmp_path / "run")
    _edit(tmp_path / "run", lambda facts: facts["data"].update(name="<img src=x onerror=alert(1)> | [a](http://b)"))
    told = runs.about(runs.open_run(tmp_path, "run"))
    assert "<img" not in told
    assert "[a](" not in told


# moving figures of the pages


def test_moving_figures_are_small_and_pages_ask_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    docs = Path(__file__).parent.parent / "docs"
    monkeypatch.syspath_prepend(str(docs))
    import moving
    import pages

    asked = {name for page in docs.rglob("*.md") for name in pages.FLOW.findall(page.read_text(encoding="utf-8"))}
    assert asked == set(moving.MOVING)
    for name in moving.MOVING:
        text = moving.figure(name)
        assert len(text) <= moving.MOST_BYTES + 1000
        assert text.count("</script>") == 1
    with pytest.raises(ValueError, match="known are"):
        moving.figure("nothing")


# the command


def test_without_gradio_the_hint_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    from pathline import playground

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pathline\[ui\]"):
        playground.build()


def test_the_command_refuses_folders_and_ports_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    from pathline.cli import main

    assert main(["play", str(tmp_path / "nowhere")]) == 2
    assert "no folder" in capsys.readouterr().err
    assert main(["play", str(tmp_path), "--port", "99999"]) == 2
    assert "--port" in capsys.readouterr().err


def test_computing_needs_no_gradio() -> None:
    import subprocess
    import sys

    code = (
        "import sys, pathline.playground.exact, pathline.playground.measures, pathline.playground.explain, "
        "pathline.playground.uploads, pathline.playground.runs; sys.exit('gradio' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Runs and data sets of strangers: nothing they bring is run, believed without a check, or written through."""

import io
import json
import pickle
import shutil
import tarfile
from pathlib import Path

import pytest
import torch

import pathline as pl
from pathline import data
from pathline.couplings import load_pairs
from pathline.metrics import load_classifier, train_classifier
from pathline.train import CheckpointError, Run, TrainConfig, reconstruct
from pathline.train.generated import load_generated
from pathline.train.spec import split_spec
from pathline.train.watch import read_evals


def tiny(out, **changes):
    return TrainConfig.from_dict(
        {"data": "circles(n=200)", "net": "mlp(width=16, depth=1)", "steps": 4, "batch_size": 32, "warmup": 2,
         "checkpoint_every": 2, "out": str(out), **changes}
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "run"
    run = pl.fit(tiny(path, ema_snapshots=2), progress=False)
    x, y = run.data.train.x, (run.data.train.x[:, 0] > 0).long()
    train_classifier(x, y, 2, epochs=1, width=2, feature_dim=4).save(path / "classifier")
    return path


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


class Planted:
    """Unpickling it leaves a trace."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def poisons(tmp_path):
    """A bare pickle, and one in the zip that torch.save writes."""
    held = io.BytesIO()
    torch.save({"w": Planted(tmp_path / "trace")}, held)
    return pickle.dumps(Planted(tmp_path / "trace")), held.getvalue()


def reseal(manifest, change):
    from pathline.train.disk import digest_of

    body = {k: v for k, v in json.loads(manifest.read_text()).items() if k != "sha256"}
    change(body)
    manifest.write_text(json.dumps({"sha256": digest_of(body), **body}))


# ------------------------------------------------------------------------------------------ pickles


def test_a_pickle_in_the_place_of_what_a_run_brings_along_is_never_loaded(run, tmp_path):
    readers = {
        "classifier/classifier.safetensors": lambda file: load_classifier(file.parent),
        "classifier/classifier.json": lambda file: load_classifier(file.parent),
        "coupling.safetensors": lambda file: load_pairs(file, torch.zeros(3, 2)),
        "pairs/recipe.json": lambda file: load_generated(file.parent),
        "pairs/pairs.json": lambda file: load_generated(file.parent),
        "solvers/tuned.json": lambda file: pl.load_solver(file),
        "averages/step-000000004/ema-power-0.05.safetensors": lambda file: reconstruct(run, 0.1),
        "averages/step-000000004/manifest.json": lambda file: reconstruct(run, 0.1),
    }
    for poison in poisons(tmp_path):
        for name, read in readers.items():
            file = run / name
            sound = file.read_bytes() if file.is_file() else None
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(poison)
            with pytest.raises((ValueError, FileNotFoundError)):
                read(file)
            file.unlink() if sound is None else file.write_bytes(sound)
        (run / "evals.jsonl").write_bytes(poison)
        assert read_evals(run / "evals.jsonl") == []
    assert not (tmp_path / "trace").exists()
    assert load_classifier(run / "classifier").info.num_classes == 2  # all is sound again
    reconstruct(run, 0.1)


def test_a_classifier_that_cannot_be_read_is_trained_again(run, tmp_path):
    labelled = pl.fit(
        tiny(tmp_path / "b", data="moons(n=200)", net="mlp(width=8, depth=1, num_classes=2)"), progress=False
    )
    (labelled.path / "classifier").mkdir()
    for name in ("classifier.safetensors", "classifier.json"):
        (labelled.path / "classifier" / name).write_bytes(poisons(tmp_path)[0])
    from pathline.train.assess import classifier

    assert classifier(labelled).info.num_classes == 2
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.arrow", "a.json", "a.tar", "a.npy", "a.npz"])
def test_a_pickle_in_the_place_of_a_data_set_is_never_loaded(tmp_path, name):
    if name.endswith((".parquet", ".csv")):
        pytest.importorskip("pandas")
    if name.endswith((".arrow", ".json")):
        pytest.importorskip("datasets")
    for poison in poisons(tmp_path):
        (tmp_path / name).write_bytes(poison)
        with pytest.raises((ValueError, TypeError, OSError)):
            data.load(tmp_path / name)
    assert not (tmp_path / "trace").exists()


def test_a_pickle_as_a_member_of_a_shard_is_never_loaded(tmp_path):
    for suffix in ("npy", "cls", "json", "png"):
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            for key in ("0", "1"):
                for kind in {"png", suffix} if suffix != "npy" else {"npy"}:
                    content = poisons(tmp_path)[0]
                    member = tarfile.TarInfo(f"{key}.{kind}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
        with pytest.raises(ValueError, match=r"damaged|cannot|no image|never|read"):
            data.load(tmp_path / "a.tar").gather(torch.tensor([0]))
    assert not (tmp_path / "trace").exists()


def test_a_script_beside_a_data_set_is_never_run(tmp_path):
    pytest.importorskip("datasets")
    folder = tmp_path / "evil"
    folder.mkdir()
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'w')")
    (folder / "dataset_info.json").write_text("{}")
    with pytest.raises((ValueError, FileNotFoundError, OSError)):
        data.load(folder)
    assert not (tmp_path / "trace").exists()


# ------------------------------------------------------------------------------------------ claims


@pytest.mark.parametrize(("claim", "message"), [
    ({"width": 1 << 20}, "of another net: .* has shape"),
    ({"width": 1 << 40}, "cannot be of its weights"),
    ({"depth": 1 << 20}, "depth=1048576 cannot be of its weights"),
    ({"depth": 2}, "of another net: it lacks"),
    ({"num_classes": 1 << 23}, "of another net: .* has shape"),
], ids=["wide", "absurd", "deep", "deeper", "classes"])  # fmt: skip
def test_a_net_that_a_manifest_claims_is_planned_before_it_is_built(run, monkeypatch, claim, message):
    (file,) = (run / "checkpoints").glob("step-000000004/manifest.json")
    reseal(file, lambda body: body["facts"]["net"]["config"].update(claim))
    taken = []
    linear = torch.nn.Linear.__init__

    def counted(self, *arguments, **options):
        linear(self, *arguments, **options)
        taken.append(self.weight.numel() if self.weight.device.type != "meta" else 0)

    monkeypatch.setattr(torch.nn.Linear, "__init__", counted)
    with pytest.raises(CheckpointError, match=message):
        Run.open(run, step=4)
    assert sum(taken) == 0


def test_a_net_larger_than_the_memory_is_refused(run, monkeypatch):
    from pathline.data import headers

    monkeypatch.setattr(headers, "free_memory", lambda: 100)
    with pytest.raises(CheckpointError, match="GiB are free"):
        Run.open(run)


def test_a_classifier_that_claims_too_much_is_refused_before_memory_is_taken(run):
    file = run / "classifier" / "classifier.json"
    told = json.loads(file.read_text())
    file.write_text(json.dumps({**told, "width": 1 << 22, "feature_dim": 1 << 22}))
    with pytest.raises(ValueError, match="not of the network that the JSON describes"):
        load_classifier(file.parent)


def test_names_with_options_do_not_unfold_without_end():
    for text in ("mlp(" * 5000 + ")" * 5000, "mlp(width=" + "(" * 5000 + ")" * 5000 + ")", "mlp(width=9**9**9)"):
        with pytest.raises((ValueError, TypeError)):
            split_spec("net", text)


# ------------------------------------------------------------------------------------------ writing elsewhere


@pytest.mark.parametrize("name", ["log.jsonl", "evals/evals.jsonl", ".writable", "checkpoints", "config.yaml"])
def test_nothing_is_written_through_a_link_out_of_the_run_folder(run, tmp_path, name):
    outside = tmp_path / "outside"
    if name == "checkpoints":
        shutil.move(run / name, outside)
    else:
        outside.write_text("precious")
    link = run / name
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(outside)
    before = sorted(p.name for p in outside.iterdir()) if outside.is_dir() else outside.read_text()
    for options in ({"resume": True}, {"overwrite": True}):
        with pytest.raises((ValueError, OSError), match="link"):
            pl.fit(tiny(run, steps=6, ema_snapshots=2, eval_every=2), progress=False, **options)
    assert before == (sorted(p.name for p in outside.iterdir()) if outside.is_dir() else outside.read_text())


def test_a_link_within_the_run_folder_and_a_linked_run_folder_are_fine(run, tmp_path):
    (run / "evals").mkdir()
    (run / "evals" / "latest").symlink_to(run / "evals")
    (tmp_path / "linked").symlink_to(run)
    config = tiny(tmp_path / "linked", steps=6, ema_snapshots=2)
    assert pl.fit(config, progress=False, resume=True).step == 6
    assert Path(run / "checkpoints" / "step-000000006").is_dir()


def test_any_file_that_is_one_byte_short_sends_back_to_the_checkpoint_before(run):
    newest = run / "checkpoints" / "step-000000004"
    files = sorted(newest.iterdir())
    assert {"ema.safetensors", "net.safetensors", "optimizer.safetensors", "manifest.json"} <= {p.name for p in files}
    for file in files:
        whole = file.read_bytes()
        file.write_bytes(whole[:-1])
        with pytest.warns(UserWarning, match=rf"{file.name} is damaged.*going back to step-000000002"):
            assert Run.open(run).step == 2
        file.write_bytes(whole)
    assert Run.open(run).step == 4

"""Your own data in every form: read right, larger than memory, refused when it is unsafe, and back in your units."""

import gzip
import io
import json
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from torch.utils.data import IterableDataset

import pathline as pl
from pathline import data
from pathline.data import LazyDataset, StreamDataset, TableCodec
from pathline.data import fetch as fetching
from pathline.data.augment import coins
from pathline.data.columns import Bits, Dequantised, OneHot, Quantile, Standard
from pathline.data.fetch import Download, download, gunzip
from pathline.data.headers import members
from pathline.train import TrainConfig

Image = pytest.importorskip("PIL.Image")


def rng(seed=0):
    return np.random.default_rng(seed)


def write_png(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


# ------------------------------------------------------------------------------------------ arrays by the row


@pytest.fixture
def big(tmp_path):
    x = rng().integers(0, 256, size=(40, 6, 5, 3), dtype=np.uint8)
    y = rng(1).integers(0, 4, size=40)
    np.savez(tmp_path / "big.npz", x=x, y=y)
    np.save(tmp_path / "big.npy", x)
    return tmp_path, x, y


def test_lazy_data_never_load_the_array(big, monkeypatch):
    folder, x, _ = big

    def refuse(*arguments, **more):
        raise AssertionError("loaded")

    monkeypatch.setattr(np, "load", refuse)
    assert data.load(folder / "big.npy", lazy=True).in_memory(3).x.shape[0] == 3
    reader = data.load(folder / "big.npy", lazy=True).reader
    seen = []
    monkeypatch.setattr(reader, "_read", lambda start, inner=reader._read: seen.append(start) or inner(start))
    reader.read(torch.tensor([4, 1]), None)
    assert [(start - reader.member.start) // x[0].nbytes for start in seen] == [4, 1]


@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_rows_read_from_the_file_are_those_in_memory(big, suffix):
    folder, _, _ = big
    held = data.load(folder / f"big.{suffix}")
    lazy = data.load(folder / f"big.{suffix}", lazy=True)
    assert isinstance(lazy, LazyDataset)
    rows = torch.tensor([7, 0, 39, 7])
    x, y = lazy.gather(rows)
    assert torch.equal(x, held.x[rows])
    assert (y is None) == (held.y is None)
    assert y is None or torch.equal(y, held.y[rows])
    assert (lazy.shape, lazy.levels, lazy.image, lazy.class_names) == (held.shape, 256, True, held.class_names)
    part = lazy.subset([5, 6, 8]).subset([2, 0])
    assert torch.equal(part.gather(torch.arange(2))[0], held.x[[8, 5]])


def test_the_split_and_the_statistics_of_lazy_data_are_those_of_data_in_memory(big):
    folder, _, _ = big
    held, lazy = data.load(folder / "big.npz"), data.load(folder / "big.npz", lazy=True)
    one, two = data.split(held, 0.2, seed=3), data.split(lazy, 0.2, seed=3)
    assert torch.equal(two.held_out.in_memory().x, one.held_out.x)
    for per in ("feature", "channel", "all"):
        a, b = data.Standardizer.fit(one.train, per=per), data.Standardizer.fit(two.train, per=per)
        torch.testing.assert_close(a.mean, b.mean, rtol=1e-12, atol=1e-10)
        torch.testing.assert_close(a.std, b.std, rtol=1e-12, atol=1e-10)
    assert (float(b.low), float(b.high)) == (0.0, 255.0)


def test_merged_moments_are_exact_over_many_chunks():
    x = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float32) * 5 + 100
    x[:, 2] = 7.0
    lazy = LazyDataset(reader=pl.data.augment.Held(x), shape=(3,))
    a, b = data.Standardizer.fit(x), data.Standardizer.fit(lazy)
    torch.testing.assert_close(a.mean, b.mean, rtol=1e-12, atol=0)
    torch.testing.assert_close(a.std, b.std, rtol=1e-10, atol=0)
    assert b.std[2] == 1.0
    assert torch.equal(a.low, b.low)


def test_training_on_lazy_data_is_training_on_the_same_data_in_memory(big, tmp_path):
    folder, _, _ = big
    settings = {"steps": 6, "batch_size": 8, "checkpoint_every": 3, "net": "mlp(width=8, depth=1)", "log_every": 2}
    runs = []
    for lazy in (False, True):
        config = TrainConfig.from_dict(
            {**settings, "data": f"{folder}/big.npz(lazy={lazy}, layout='array')", "out": str(tmp_path / str(lazy))}
        )
        runs.append(pl.fit(config, progress=False))
    for a, b in zip(runs[0].net.parameters(), runs[1].net.parameters()):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    resumed = pl.fit(config.replace(steps=8), resume=True, progress=False)
    assert resumed.step == 8
    assert resumed.data.train.x.shape == runs[0].data.train.x.shape


def test_a_nan_in_lazy_data_is_named_when_it_is_read(tmp_path):
    x = np.zeros((5, 2), np.float32)
    x[3, 1] = np.nan
    np.save(tmp_path / "x.npy", x)
    lazy = data.load(tmp_path / "x.npy", lazy=True)
    with pytest.raises(ValueError, match="sample 3 of x has NaN"):
        lazy.gather(torch.tensor([0, 3]))


def test_what_cannot_be_read_by_the_row_is_told(tmp_path):
    np.savez_compressed(tmp_path / "c.npz", x=np.zeros((5, 2)))
    with pytest.raises(ValueError, match=r"is compressed.*numpy\.savez"):
        data.load(tmp_path / "c.npz", lazy=True)
    np.save(tmp_path / "f.npy", np.asfortranarray(np.zeros((5, 2))))
    with pytest.raises(ValueError, match="Fortran order"):
        data.load(tmp_path / "f.npy", lazy=True)
    assert len(data.load(tmp_path / "f.npy")) == 5


def test_headers_are_checked_before_anything_is_allocated(tmp_path):
    """A header that claims 8 TiB is refused by its size, as npy and inside npz."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**40,)})
    (tmp_path / "x.npy").write_bytes(header.getvalue() + b"\0" * 64)
    with pytest.raises(ValueError, match="claims 8796093022208 bytes"):
        data.load(tmp_path / "x.npy")
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue() + b"\0" * 64)
    with pytest.raises(ValueError, match="claims 8796093022208 bytes"):
        data.load(tmp_path / "x.npz")


def test_a_zip_bomb_is_refused_by_the_memory_it_claims(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros((1000, 1000)))
    monkeypatch.setattr("pathline.data.headers.free_memory", lambda: 1 << 20)
    with pytest.raises(ValueError, match="GiB are free"):
        data.load(tmp_path / "bomb.npz")


class Planted:
    """Unpickling it leaves a trace."""

    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_planted_pickles_are_never_loaded(tmp_path):
    trace = tmp_path / "trace"
    np.savez(tmp_path / "a.npz", x=np.array([[Planted(trace)], [1]], dtype=object))
    np.save(tmp_path / "b.npy", np.array([[Planted(trace)], [1]], dtype=object))
    (tmp_path / "c.npy").write_bytes(pickle.dumps(Planted(trace)))
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("data.pkl", pickle.dumps(Planted(trace)))
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "0.npy").write_bytes((tmp_path / "b.npy").read_bytes())
    (folder / "1.npy").write_bytes((tmp_path / "c.npy").read_bytes())
    for name in ("a.npz", "b.npy", "c.npy", "d.npz", "images"):
        with pytest.raises(ValueError, match=r"never loaded|damaged|no \.npz"):
            data.load(tmp_path / name)
    assert not trace.exists()
    open(pickle.loads(pickle.dumps(Planted(trace))).name).close()  # the trap does work
    assert trace.exists()


def test_members_of_an_archive_are_names_and_never_paths(tmp_path):
    content = io.BytesIO()
    np.save(content, np.arange(6.0).reshape(3, 2))
    with zipfile.ZipFile(tmp_path / "evil.npz", "w") as archive:
        archive.writestr("../../x.npy", content.getvalue())
    assert list(members(tmp_path / "evil.npz")) == ["../../x"]
    assert len(data.load(tmp_path / "evil.npz")) == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["evil.npz"]


# ------------------------------------------------------------------------------------------ folders of images


def test_a_folder_with_a_folder_a_class(tmp_path):
    images = {name: rng(k).integers(0, 256, (8, 6, 3), dtype=np.uint8) for k, name in enumerate("abcd")}
    for name, klass in (("a", "10"), ("b", "9"), ("c", "10"), ("d", "9")):
        write_png(tmp_path / klass / f"{name}.png", images[name])
    found = data.load(tmp_path)
    assert found.class_names == ("9", "10")  # in the order of numbers
    assert found.y.tolist() == [1, 1, 0, 0]
    assert found.levels == 256
    for k, name in enumerate("acbd"):
        assert torch.equal(found.x[k], torch.from_numpy(images[name]).permute(2, 0, 1).float())
    lazy = data.load(tmp_path, lazy=True)
    assert torch.equal(lazy.gather(torch.tensor([2, 1]))[0], found.x[[2, 1]])


def test_resizing_keeps_proportions_or_squeezes(tmp_path):
    """Left half black, right half white, 8 x 16: the centre crop sees both halves, a squeeze too; both keep the edge."""
    image = np.zeros((8, 16), np.uint8)
    image[:, 8:] = 255
    image[:, 15] = 100  # cut by the crop, kept by the squeeze
    for k in range(2):
        write_png(tmp_path / f"{k}.png", image)
    cut = data.load(tmp_path, size=8).x[0, 0]
    assert cut.shape == (8, 8)
    assert torch.equal(cut, torch.tensor([0.0] * 4 + [255.0] * 4).expand(8, 8))
    squeezed = data.load(tmp_path, size=8, crop="none").x[0, 0]
    assert squeezed[:, -1].max() < 255 > 0
    assert data.load(tmp_path, size=(4, 6), channels=3).shape == (3, 4, 6)
    assert data.load(tmp_path, channels=4).x[0, 3].min() == 255


def test_any_number_of_channels_by_npy_files_and_sixteen_bits(tmp_path):
    for k in range(3):
        np.save(tmp_path / f"{k}.npy", rng(k).random((7, 4, 5), dtype=np.float32))
    found = data.load(tmp_path)
    assert found.shape == (7, 4, 5)
    assert found.levels is None
    assert data.load(tmp_path, size=4).shape == (7, 4, 4)
    deep = tmp_path / "deep"
    deep.mkdir()
    for k in range(2):
        Image.fromarray(np.full((4, 4), 1000 * (k + 1), np.uint16)).save(deep / f"{k}.png")
    found = data.load(deep)
    assert found.levels == 65536
    assert found.x.unique().tolist() == [1000.0, 2000.0]


def test_labels_and_captions_from_a_csv_file(tmp_path):
    for k in range(3):
        write_png(tmp_path / "pictures" / f"{k}.png", np.full((4, 4), 10 * k, np.uint8))
    (tmp_path / "metadata.csv").write_text(
        'file_name,label,text\npictures/2.png,cat,"two, indeed"\npictures/0.png,dog,zero\n'
    )
    found = data.load(tmp_path)
    assert found.class_names == ("cat", "dog")
    assert found.captions == ("two, indeed", "zero")
    assert found.x.amax((1, 2, 3)).tolist() == [20.0, 0.0]
    assert found.subset([1]).captions == ("zero",)
    (tmp_path / "metadata.csv").write_text("file_name,label\n../secret.png,a\n")
    with pytest.raises(ValueError, match=r"line 2: '\.\./secret\.png' lies outside"):
        data.load(tmp_path)
    (tmp_path / "metadata.csv").write_text("name,klass\n")
    with pytest.raises(ValueError, match="it needs 'file_name'"):
        data.load(tmp_path)


def test_images_that_do_not_fit_are_named(tmp_path, monkeypatch):
    write_png(tmp_path / "0.png", np.zeros((4, 4), np.uint8))
    write_png(tmp_path / "1.png", np.zeros((4, 5), np.uint8))
    with pytest.raises(ValueError, match=r"1\.png has shape \(1, 4, 5\).*set size"):
        data.load(tmp_path)
    noise = png(rng().integers(0, 256, (4, 4), dtype=np.uint8))
    (tmp_path / "1.png").write_bytes(noise[: len(noise) - 30])
    with pytest.raises(ValueError, match=r"1\.png is no readable image"):
        data.load(tmp_path)
    header = bytearray((tmp_path / "0.png").read_bytes())
    header[16:24] = struct.pack(">II", 60000, 60000)  # and a bad checksum, as Pillow sees when it gets so far
    (tmp_path / "1.png").write_bytes(bytes(header))
    with pytest.raises(ValueError, match=r"1\.png (claims|is no readable)"):
        data.load(tmp_path)
    monkeypatch.setattr("pathline.data.pixels.MAX_PIXELS", 15)
    with pytest.raises(ValueError, match=r"0\.png claims 4 × 4 pixels"):
        data.load(tmp_path)


def test_flips_depend_on_seed_and_row_alone():
    base = data.load("digits")
    flip = data.flipped(base)
    rows = torch.arange(1000)
    x, _ = flip.gather(rows, seed=5)
    mirrored = coins(rows, 5)
    assert torch.equal(x[mirrored], base.x[rows][mirrored].flip(-1))
    assert torch.equal(x[~mirrored], base.x[rows][~mirrored])
    assert torch.equal(flip.gather(rows[300:], seed=5)[0], x[300:])
    assert torch.equal(flip.gather(rows)[0], base.x[rows])
    assert abs(int(mirrored.sum()) - 500) < 80  # 5 standard deviations
    again = coins(rows, 6)
    assert abs(int((again == mirrored).sum()) - 500) < 80


# ------------------------------------------------------------------------------------------ shards


def write_tar(path, files, links=()):
    with tarfile.open(path, "w") as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, target in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)


def png(array):
    content = io.BytesIO()
    Image.fromarray(array).save(content, "PNG")
    return content.getvalue()


def shard_files(start, n):
    for k in range(start, start + n):
        yield f"./data/{k:04d}.png", png(np.full((4, 4, 3), k, np.uint8))
        yield f"./data/{k:04d}.cls", str(k % 3).encode()
        yield f"./data/{k:04d}.txt", f"number {k}".encode()


def test_shards_are_read_in_place_in_any_order(tmp_path):
    write_tar(tmp_path / "train-000.tar", shard_files(0, 5))
    write_tar(tmp_path / "train-001.tar", shard_files(5, 4))
    for path in (tmp_path, f"{tmp_path}/train-*.tar"):
        found = data.load(path)
        assert (len(found), found.shape, found.name, found.levels) == (9, (3, 4, 4), "train", 256)
        x, y = found.gather(torch.tensor([8, 0, 3]))
        assert x.amax((1, 2, 3)).tolist() == [8.0, 0.0, 3.0]
        assert y.tolist() == [2, 0, 0]
        assert found.captions[8] == "number 8"
    assert len(data.load(tmp_path / "train-001.tar")) == 4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["train-000.tar", "train-001.tar"]


def test_unsafe_or_damaged_shards_are_refused(tmp_path):
    path = tmp_path / "a.tar"
    write_tar(path, shard_files(0, 3), links=[("x.png", "/etc/passwd")])
    with pytest.raises(ValueError, match=r"'x\.png' is a link"):
        data.load(path)
    write_tar(path, [("../../0.png", png(np.zeros((4, 4), np.uint8))), ("/1.png", png(np.ones((4, 4), np.uint8)))])
    assert len(data.load(path)) == 2  # names are keys, nothing is written anywhere
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar"]
    write_tar(path, shard_files(0, 3))
    path.write_bytes(path.read_bytes()[:1600])
    with pytest.raises(ValueError, match="damaged"):
        data.load(path)
    write_tar(path, [("0.cls", b"1"), ("1.cls", b"2")])
    with pytest.raises(ValueError, match="needs one image"):
        data.load(path)
    write_tar(path, [*shard_files(0, 2), ("3.png", png(np.zeros((4, 4, 3), np.uint8)))])
    with pytest.raises(ValueError, match="2 of 3 samples have a label"):
        data.load(path)
    path.write_bytes(gzip.compress(b"\0" * 2048))
    with pytest.raises(ValueError, match=r"decompress|at least 2"):
        data.load(path)


# ------------------------------------------------------------------------------------------ torch and hub


class Squares(torch.utils.data.Dataset):
    def __len__(self):
        return 20

    def __getitem__(self, i):
        return torch.tensor([i, i * i], dtype=torch.float64), i % 4


def test_a_dataset_of_torch_trains_as_it_is(tmp_path):
    lazy = data.from_torch(Squares())
    assert lazy.y.tolist() == [i % 4 for i in range(20)]
    assert torch.equal(lazy.gather(torch.tensor([3, 2]))[0], torch.tensor([[3.0, 9.0], [2.0, 4.0]]))
    objective = pl.Matching(pl.AffinePath(pl.Linear()), pl.VELOCITY)
    options = {"out": str(tmp_path / "a"), "steps": 4, "batch_size": 7, "progress": False}
    run = pl.Trainer(net=pl.nets.MLP(2, 8, 1, num_classes=4), objective=objective, data=Squares(), **options).fit()
    assert run.class_names == ("0", "1", "2", "3")
    assert run.sample(4).shape == (4, 2)
    with pytest.raises(TypeError, match="whole number"):
        data.from_torch(torch.utils.data.TensorDataset(torch.zeros(3, 2), torch.zeros(3)))


class Counting(IterableDataset):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return ((torch.tensor([float(i)]), i % 2) for i in range(self.n))


def test_streams_hold_out_some_of_their_head_and_yield_all_the_rest():
    stream = data.from_torch(Counting(5000), class_names=("even", "odd"), buffer=50)
    assert isinstance(stream, StreamDataset)
    train, held_out = stream.split(0.1, seed=0)
    assert len(held_out) == 200
    seen = [int(x) for x, _ in train.shuffled(3)]
    assert sorted(seen + held_out.x[:, 0].int().tolist()) == list(range(5000))
    assert seen != sorted(seen)
    assert seen == [int(x) for x, _ in train.shuffled(3)]
    assert seen != [int(x) for x, _ in train.shuffled(4)]


def test_a_stream_resumes_at_the_same_samples(tmp_path):
    seen: dict[str, list] = {}

    def trainer(out, **options):
        objective = pl.Matching(pl.AffinePath(pl.Linear()), pl.VELOCITY)

        def noted(net, x_1, **given):
            seen.setdefault(out, []).append(x_1.flatten().tolist())
            return objective(net, x_1, **given)

        return pl.Trainer(
            net=pl.nets.MLP(1, 8, 1, num_classes=2), objective=noted, data=data.from_torch(Counting(30), class_names=("a", "b")),
            out=str(tmp_path / out), steps=10, batch_size=8, progress=False, **options,
        )  # fmt: skip

    trainer("a").fit()
    trainer("b").fit(until=4)
    trainer("b", resume=True).fit()
    first_batches = [batch for batch in seen["b"] if len(batch) == 8]
    assert [batch for batch in seen["a"] if len(batch) == 8] == first_batches


def test_hub_files_by_row_and_streamed(tmp_path):
    datasets = pytest.importorskip("datasets")
    made = datasets.Dataset.from_dict(
        {
            "image": [{"bytes": png(np.full((4, 4), k, np.uint8)), "path": None} for k in range(10)],
            "label": [k % 2 for k in range(10)],
        },
        features=datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["even", "odd"])}),
    )
    made.save_to_disk(tmp_path / "saved")
    made.to_parquet(tmp_path / "made.parquet")
    for found in (data.load(tmp_path / "saved"), data.load("hub", path=str(tmp_path / "made.parquet"))):
        assert (found.shape, found.levels, found.class_names) == ((1, 4, 4), 256, ("even", "odd"))
        x, y = found.gather(torch.tensor([9, 2]))
        assert x.amax((1, 2, 3)).tolist() == [9.0, 2.0]
        assert y.tolist() == [1, 0]
    stream = data.load("hub", path=str(tmp_path / "made.parquet"), streaming=True, buffer=3)
    assert isinstance(stream, StreamDataset)
    assert sorted(float(x.max()) for x, _ in stream.shuffled(0)) == [float(k) for k in range(10)]
    with pytest.raises(ValueError, match="no column 'lable'"):
        data.load("hub", path=str(tmp_path / "made.parquet"), y="lable")


# ------------------------------------------------------------------------------------------ tables


def make_table(n=400):
    pandas = pytest.importorskip("pandas")
    draw = rng(7)
    return pandas.DataFrame(
        {
            "age": draw.integers(18, 90, n),
            "income": np.round(draw.lognormal(3, 1, n), 2),
            "zero": np.where(draw.random(n) < 0.6, 0.0, draw.normal(size=n)),
            "city": draw.choice(["Rome", "Oslo", "Lima"], n, p=[0.7, 0.2, 0.1]),
            "member": draw.random(n) < 0.3,
            "grade": pandas.Categorical(draw.choice(["low", "mid", "top"], n), ["low", "mid", "top"], ordered=True),
            "when": pandas.Timestamp("2020-01-01") + pandas.to_timedelta(draw.integers(0, 10**7, n), unit="s"),
        }
    )


@pytest.mark.parametrize("numbers", ["quantile", "standard"])
@pytest.mark.parametrize("categories", ["onehot", "bits", "normal"])
def test_a_table_comes_back_with_its_schema_and_values(numbers, categories):
    import pandas

    frame = make_table()
    found = data.table(frame, numbers=numbers, categories=categories)
    back = TableCodec.from_state(json.loads(json.dumps(found.codec.state()))).decode(found.x)
    assert list(back.columns) == list(frame.columns)
    assert (back.dtypes == frame.dtypes).all()
    for name in ("city", "member", "grade"):
        assert (back[name] == frame[name]).all(), name
    for name in ("age", "income", "zero"):
        close = np.isclose(back[name], frame[name], rtol=1e-3, atol=0.02 + 0.01 * frame[name].std())
        assert close.mean() > 0.99, name
    assert abs((back["when"] - frame["when"]) / pandas.Timedelta("1h")).median() < 2
    noise = 3 * torch.randn(500, found.shape[0], generator=torch.Generator().manual_seed(0))
    wild = found.codec.decode(noise)
    assert wild["age"].between(18, 90).all()
    assert set(wild["city"]) <= {"Rome", "Oslo", "Lima"}
    assert not wild.isna().any().any()


def test_quantile_columns_are_standard_normal_even_with_ties():
    draw = rng(3)
    for values in (draw.exponential(size=5000), np.where(draw.random(5000) < 0.5, 0.0, draw.normal(size=5000))):
        z = Quantile.fit(values).encode(values, rng(1))[:, 0]
        below = np.sort(z)
        from scipy.special import ndtr

        gap = np.abs(ndtr(below) - (np.arange(5000) + 0.5) / 5000).max()
        assert gap < 0.03  # the critical value of a Kolmogorov test at 1e-3 is 0.028; ties are placed at random


def test_every_kind_of_column_inverts_and_widths_are_as_told():
    codes = rng(2).integers(0, 5, 300)
    for kind, width in ((OneHot, 5), (Bits, 3), (Dequantised, 1)):
        column = kind.fit(codes, 5)
        z = column.encode(codes, rng(0))
        assert z.shape == (300, width) == (300, column.width)
        assert (column.decode(z) == codes).all()
    z = Dequantised.fit(codes, 5).encode(codes, rng(0))[:, 0]
    assert abs(z.mean()) < 0.2
    assert abs(z.std() - 1) < 0.15
    integers = rng(4).integers(0, 9, 300).astype(float)
    column = Standard.fit(integers)
    assert (column.decode(column.encode(integers, rng(0))) == integers).all()


def test_missing_values_are_refused_dropped_or_kept_as_missing(tmp_path):
    frame = make_table(200)
    frame.loc[frame.index[:50], "income"] = np.nan
    frame.loc[frame.index[40:60], "city"] = None
    with pytest.raises(ValueError, match=r"'income' has 50 missing values.*\"drop\" or \"impute\""):
        data.table(frame)
    assert len(data.table(frame, missing="drop")) == 140
    found = data.table(frame, missing="impute")
    assert found.x.isfinite().all()
    back = found.codec.decode(found.x)
    assert (back["income"].isna() == frame["income"].isna()).all()
    assert (back["city"].isna() == frame["city"].isna()).all()
    full = data.table(frame, columns=["age", "income"], missing="impute")
    assert full.shape == (3,)


def test_a_table_is_trained_and_sampled_as_a_table(tmp_path):
    frame = make_table(300)
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    assert str(data.load(tmp_path / "t.parquet").codec.columns[5].dtype) == "category"
    config = TrainConfig.from_dict(
        {
            "data": f"{tmp_path}/t.csv(y='city', columns=['age', 'income', 'member'], categorical=['age'])",
            "net": "mlp(width=16, depth=1)", "steps": 5, "batch_size": 32, "out": str(tmp_path / "run"),
        }
    )  # fmt: skip
    run = pl.fit(config, progress=False)
    (tmp_path / "t.csv").unlink()
    run = pl.Run.open(tmp_path / "run")  # the codec came with the checkpoint
    made = run.table(30, seed=3)
    assert list(made.columns) == ["age", "income", "member", "city"]
    assert made.dtypes.astype(str).tolist() == ["int64", "float64", "bool", str(frame["city"].dtype)]
    assert set(made["city"]) == {"Rome", "Oslo", "Lima"}
    with pytest.raises(ValueError, match="no table"):
        pl.fit(TrainConfig(data="moons(n=100)", steps=2, out=str(tmp_path / "m")), progress=False).table(3)


def test_columns_that_cannot_be_used_are_told():
    frame = make_table(50)
    with pytest.raises(ValueError, match=r"no column 'ag'.*did you mean 'age'"):
        data.table(frame, y="ag")
    with pytest.raises(ValueError, match="infinite"):
        data.table(frame.assign(income=np.inf))
    with pytest.raises(ValueError, match="unknown numbers 'rank'"):
        data.table(frame, numbers="rank")
    found = data.table(frame, y="city")
    with pytest.raises(ValueError, match="'city' was the label: give y"):
        found.codec.decode(found.x)


# ------------------------------------------------------------------------------------------ how good is a table?


def test_distances_of_columns_are_those_of_scipy_and_counting():
    import pandas
    from scipy.stats import wasserstein_distance

    from pathline.metrics import compare_tables

    draw = rng(5)
    real = pandas.DataFrame({"a": draw.normal(2, 3, 500), "b": draw.choice(["x", "y"], 500, p=[0.8, 0.2])})
    made = pandas.DataFrame({"a": draw.exponential(2, 400), "b": draw.choice(["x", "y", "z"], 400, p=[0.5, 0.3, 0.2])})
    found = compare_tables(made, real, generator=torch.Generator().manual_seed(0))
    w1, tv = found.columns
    assert w1.value == pytest.approx(wasserstein_distance(made["a"], real["a"]) / real["a"].std(ddof=0), rel=1e-9)
    shares = [frame["b"].value_counts(normalize=True) for frame in (made, real)]
    assert tv.value == pytest.approx(shares[0].sub(shares[1], fill_value=0).abs().sum() / 2, rel=1e-9)
    assert found.c2st > 0.65
    assert (found.mean("wasserstein"), found.mean("total variation")) == (w1.value, tv.value)
    with pytest.raises(ValueError, match="same columns"):
        compare_tables(made.rename(columns={"a": "c"}), real)


def test_two_halves_of_a_table_cannot_be_told_apart():
    from pathline.metrics import compare_tables

    frame = make_table(3000)
    found = compare_tables(frame[:1500], frame[1500:], generator=torch.Generator().manual_seed(0))
    assert abs(found.c2st - 0.5) < 0.04
    assert max(column.value for column in found.columns) < 0.08
    assert found.worst_correlation < 0.12
    shuffled = frame.assign(income=frame["age"] * 2.0)
    far = compare_tables(frame.assign(income=frame["age"].sample(frac=1.0, random_state=0).to_numpy() * 2.0), shuffled)
    assert far.worst_correlation > 0.9
    assert far.columns[1].value < 1e-9  # the column alone is right
    assert far.c2st > 0.7


def test_a_gaussian_copula_keeps_columns_and_correlations():
    from pathline.metrics import GaussianCopula

    draw = torch.Generator().manual_seed(0)
    root = torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.4, 0.0], [-0.5, 0.3, 0.8]])
    x = torch.randn(4000, 3, generator=draw) @ root.T
    made = GaussianCopula(x).sample(40_000, generator=draw)
    torch.testing.assert_close(torch.cov(made.T), torch.cov(x.T), atol=0.04, rtol=0)


# ------------------------------------------------------------------------------------------ names and downloads


def test_fashion_mnist_from_the_system_package():
    try:
        found = data.load("fashion_mnist", part="test")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert found.shape == (1, 28, 28)
    assert torch.bincount(found.y).tolist() == [1000] * 10
    assert found.class_names[int(found.y[0])] == "ankle boot"
    assert 72 < found.x.mean() < 74  # 73.1 of 255 in the paper's repository


def test_emoji_have_names(monkeypatch):
    try:
        found = data.load("emoji", size=8)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert found.shape == (3, 8, 8)
    assert len(found) > 1300
    heart = found.x[found.captions.index("green heart")].mean((1, 2))
    assert heart[1] > heart[0] + 20 < heart[1]


def test_photos_are_crops_of_the_photographs():
    from sklearn.datasets import load_sample_image

    found = data.load("photos", size=16, stride=200)
    assert torch.equal(found.x[0], torch.tensor(load_sample_image("china.jpg")[:16, :16]).permute(2, 0, 1).float())
    assert len(found) == 2 * 3 * 4


def test_pydoc_tokens_spell_the_text():
    ids, symbols = data.pydoc_tokens(length=100)
    text = data.pydoc_text()
    assert "".join(symbols[k] for k in ids[3].tolist()) == text[300:400]
    assert len(text) > 300_000


@pytest.fixture
def served(tmp_path, monkeypatch):
    content = gzip.compress(b"the content")
    (tmp_path / "file.gz").write_bytes(content)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("PATHLINE_OFFLINE", raising=False)
    return (tmp_path / "file.gz").as_uri(), content


def test_downloads_are_verified_and_kept(served, tmp_path):
    import hashlib

    url, content = served
    good = Download(url=url, sha256=hashlib.sha256(b"the content").hexdigest(), size=100, inflated=11)
    kept = download("thing", good, "do without")
    assert kept.read_bytes() == content
    (tmp_path / "file.gz").unlink()
    assert download("thing", good, "do without") == kept  # from the cache
    kept.write_bytes(content[:-1])
    with pytest.raises(FileNotFoundError, match=r"cannot be had.*do without"):
        download("thing", good, "do without")


def test_downloads_that_are_wrong_too_long_or_forbidden_are_refused(served, tmp_path, monkeypatch):
    url, _ = served
    with pytest.raises(ValueError, match=r"its SHA-256 differs"):
        download("thing", Download(url=url, sha256="0" * 64, size=100), "x")
    with pytest.raises(FileNotFoundError, match="more than the 5 bytes"):
        download("thing", Download(url=url, sha256="0" * 64, size=5), "x")
    monkeypatch.setenv("PATHLINE_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match="forbids to fetch it: x"):
        download("thing", Download(url=url, sha256="0" * 64, size=5), "x")
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]
    bomb = tmp_path / "bomb.gz"
    bomb.write_bytes(gzip.compress(b"\0" * 10**6))
    with pytest.raises(ValueError, match="does not hold 1000 bytes"):
        gunzip(bomb, 1000)


def test_files_are_looked_for_in_the_folder_then_the_variable_then_the_system(tmp_path, monkeypatch):
    for place in ("given", "own/set", "share/sets"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "f").write_text(place)
    monkeypatch.setenv("PATHLINE_DATA", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_DATA_DIRS", str(tmp_path / "share"))
    assert fetching.find("set", "f", str(tmp_path / "given"), ("sets",)).read_text() == "given"
    assert fetching.find("set", "f", None, ("sets",)).read_text() == "own/set"
    monkeypatch.delenv("PATHLINE_DATA")
    assert fetching.find("set", "f", None, ("sets",)).read_text() == "share/sets"
    assert fetching.find("set", "g", None, ("sets",)) is None
    with pytest.raises(FileNotFoundError, match="folder must hold the files of set"):
        fetching.find("set", "g", str(tmp_path / "given"), ("sets",))

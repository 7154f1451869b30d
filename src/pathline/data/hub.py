"""Local files of the `datasets` library, read through it."""

from collections.abc import Iterator
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pathline._errors import nearest
from pathline.data.augment import flipped
from pathline.data.lazy import LazyDataset
from pathline.data.pixels import Crop, Pixels, as_size, levels_of, to_samples
from pathline.data.stream import Sample, StreamDataset
from pathline.data.wrapped import as_label

BUILDERS = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "json", ".arrow": "arrow"}


class _Rows:
    """Reads rows of a data set on the disk, which the library maps into memory."""

    def __init__(self, table: Any, to_sample: "_ToSample") -> None:
        self.table, self.to_sample = table, to_sample

    def __len__(self) -> int:
        return len(self.table)

    def read(self, rows: Tensor, seed: "int | None") -> Tensor:
        column = self.table[rows.tolist()][self.to_sample.column]
        return torch.stack([self.to_sample(value) for value in column])


class _ToSample:
    """A value of the column as a float32 tensor of one shape."""

    def __init__(self, column: str, pixels: "Pixels | None") -> None:
        self.column, self.pixels = column, pixels
        self.shape: tuple[int, ...] | None = None
        self.levels: int | None = None

    def __call__(self, value: Any) -> Tensor:
        if self.pixels is not None:
            content = value.get("bytes") if isinstance(value, dict) else None
            if content is None:  # the file lies beside the table
                content = Path(value["path"]).read_bytes()
            image = self.pixels.decode(content, f"an image of column {self.column!r}")
            if self.shape is None:
                self.levels = levels_of(image)
                self.pixels = Pixels(size=self.pixels.size, channels=len(image), crop=self.pixels.crop)
            x = to_samples([image], [f"an image of column {self.column!r}"], self.shape)[0]
        else:
            try:
                x = torch.as_tensor(value).float()
            except (TypeError, ValueError, RuntimeError) as error:
                raise ValueError(f"column {self.column!r} holds no numbers of one shape: {error}") from None
            x = x[None] if x.ndim == 0 else x
        if self.shape is None:
            self.shape = tuple(x.shape)
        if tuple(x.shape) != self.shape:
            raise ValueError(f"column {self.column!r} holds samples of shape {self.shape} and {tuple(x.shape)}")
        return x


def hub(
    path: str | PathLike[str],
    *,
    x: "str | None" = None,
    y: "str | None" = None,
    split: str = "train",
    size: "int | tuple[int, int] | None" = None,
    channels: "int | None" = None,
    crop: Crop = "center",
    flip: bool = False,
    streaming: bool = False,
    buffer: int = 1000,
) -> LazyDataset | StreamDataset:
    """A data set of Hugging Face `datasets` from local files.

    Args:
        path: a folder that ``save_to_disk`` wrote, or a Parquet, CSV, JSON or Arrow file.
        x: column of the samples, images or lists of numbers; by default "image", "x", or the first that is no label.
        y: column of the labels; by default "label" or "y" where there is one.
        split: which part of a folder with several.
        size, channels, crop, flip: as in `image_folder`.
        streaming: read from front to back with a shuffle `buffer`, and index nothing.

    Raises:
        ImportError: the library is not installed.
        FileNotFoundError, ValueError: nothing there, no such column, or values that are no samples.
    """
    table = _open(fspath(path), split, streaming)
    features = table.features
    if features is None:
        raise ValueError(f"{path} does not tell its columns: write it as Parquet")
    y = next((c for c in ("label", "y") if c in features), None) if y is None else _known(y, features)
    others = [c for c in ("image", "x", *features) if c in features and c != y]
    chosen = _known("x" if x is None and not others else x or others[0], features)
    is_image = type(features[chosen]).__name__ == "Image"
    if is_image:
        table = table.cast_column(chosen, type(features[chosen])(decode=False))  # decoded by our own checked reader
    to_sample = _ToSample(chosen, Pixels(size=as_size(size), channels=channels, crop=crop) if is_image else None)
    table = table.select_columns([chosen] if y is None else [chosen, y])
    names = tuple(getattr(features[y], "names", ()) or ()) if y is not None else ()
    name = Path(path).stem
    if streaming:
        if flip:
            raise ValueError("flip is not known for streams: read the set without streaming")
        return _stream(table, to_sample, y, names, name, is_image, buffer)
    first = to_sample(table[0][chosen])
    labels = None
    if y is not None:
        labels = torch.tensor([as_label(value) for value in table[y]])
        names = names or tuple(map(str, range(int(labels.max()) + 1)))
    data = LazyDataset(
        reader=_Rows(table, to_sample), shape=tuple(first.shape), y=labels, name=name, class_names=names,
        image=is_image, levels=to_sample.levels,
    )  # fmt: skip
    return flipped(data) if flip else data


def _open(path: str, split: str, streaming: bool) -> Any:
    try:
        import datasets
    except ImportError:
        raise ImportError("this needs the library datasets: pip install 'pathline[hub]'") from None
    place = Path(path)
    if place.is_dir():
        try:
            found = datasets.load_from_disk(path)
        except (FileNotFoundError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is no folder that save_to_disk wrote: {error}") from None
        if isinstance(found, datasets.DatasetDict):
            if split not in found:
                raise ValueError(f"{path} has no split {split!r}: {nearest(split, [str(name) for name in found])}")
            found = found[split]
        return found.to_iterable_dataset() if streaming else found
    if not place.is_file():
        raise FileNotFoundError(f"no file or folder {path}")
    if place.suffix not in BUILDERS:
        raise ValueError(f"cannot read {path}: expected a folder of save_to_disk or one of {', '.join(BUILDERS)}")
    from datasets.exceptions import DatasetGenerationError

    try:
        return datasets.load_dataset(BUILDERS[place.suffix], data_files=path, split="train", streaming=streaming)
    except DatasetGenerationError as error:
        raise ValueError(f"{path} is damaged or no {place.suffix} file: {error.__cause__ or error}") from None


def _known(column: str, features: Any) -> str:
    if column not in features:
        raise ValueError(f"there is no column {column!r}: {nearest(column, list(features))}")
    return column


def _stream(
    table: Any, to_sample: _ToSample, y: "str | None", names: tuple[str, ...], name: str, image: bool, buffer: int
) -> StreamDataset:
    if y is not None and not names:
        raise ValueError(f"the classes of a stream cannot be counted: column {y!r} must be a ClassLabel")

    def start() -> Iterator[Sample]:
        for row in table:
            yield to_sample(row[to_sample.column]), None if y is None else as_label(row[y])

    next(start(), None)  # learn the shape
    return StreamDataset.of(start, name=name, class_names=names, image=image, levels=to_sample.levels, buffer=buffer)

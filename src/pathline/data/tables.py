"""Tables: columns of numbers and categories as one continuous matrix, and samples as a table of the same schema."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pathline._errors import lookup, nearest
from pathline.data.base import Dataset
from pathline.data.columns import CATEGORICAL, NUMERIC, column_from_state
from pathline.data.series import Column, Frame, Missing, as_series, fit_column, pandas_library, values_of


@dataclass(frozen=True, kw_only=True)
class TableCodec:
    """The columns of a table, in order, and the way between it and ``(N, D)`` float32.

    ``label`` is the column that became the labels ``y``, and is no part of ``x``.
    """

    columns: tuple[Column, ...]
    order: tuple[str, ...]
    label: Column | None = None

    @property
    def width(self) -> int:
        """D."""
        return sum(column.width for column in self.columns)

    @classmethod
    def fit(
        cls,
        table: Frame,
        *,
        numbers: str,
        categories: str,
        y: "str | None",
        missing: Missing,
        categorical: Sequence[str] = (),
    ) -> "TableCodec":
        """The codec of a table; see `table` for the arguments."""
        label = None if y is None else fit_column(table[y], numbers, "onehot", "error", as_category=True)
        columns = tuple(
            fit_column(table[name], numbers, categories, missing, as_category=name in categorical)
            for name in table.columns
            if name != y
        )
        if not columns:
            raise ValueError("the table has no column besides the label")
        return cls(columns=columns, order=tuple(map(str, table.columns)), label=label)

    def encode(self, table: Frame, *, seed: int = 0) -> "tuple[Tensor, Tensor | None]":
        """(x, y) of a table with these columns; ``seed`` draws the places of tied values."""
        rng = np.random.default_rng(seed)
        parts = []
        for column in self.columns:
            values, absent = values_of(table[column.name], column)
            parts.append(column.code.encode(values, rng))
            if column.indicator:
                parts.append(absent[:, None].astype(np.float64))
            elif absent.any():
                raise ValueError(f"column {column.name!r} has {int(absent.sum())} missing values, but had none before")
        x = torch.from_numpy(np.concatenate(parts, 1)).float()
        if self.label is None:
            return x, None
        return x, torch.from_numpy(values_of(table[self.label.name], self.label)[0].astype(np.int64))

    def decode(self, x: Tensor, y: "Tensor | None" = None) -> Frame:
        """The table of ``x`` ``(N, D)`` and labels ``y``: the columns, their order and dtypes are those of the data.

        Raises:
            ValueError: another width, or no labels where a column became the labels.
        """
        pandas = pandas_library()
        z = x.detach().cpu().double().numpy()
        if z.ndim != 2 or z.shape[1] != self.width:
            raise ValueError(f"x must have shape (N, {self.width}) for this table, got {tuple(x.shape)}")
        made, start = {}, 0
        for column in self.columns:
            part = z[:, start : start + column.code.width]
            start += column.width
            absent = z[:, start - 1] > 0.5 if column.indicator else np.zeros(len(z), dtype=bool)
            made[column.name] = as_series(column.code.decode(part), absent, column)
        if self.label is not None:
            if y is None or bool((y < 0).any()):
                raise ValueError(f"column {self.label.name!r} was the label: give y, one class a row")
            codes = y.detach().cpu().numpy()
            made[self.label.name] = as_series(codes, np.zeros(len(z), dtype=bool), self.label)
        return pandas.DataFrame({name: made[name] for name in self.order})

    def draw_labels(self, n: int, seed: int) -> Tensor:
        """``n`` labels in the proportions of the data, in random order.

        Raises:
            ValueError: no column became the labels.
        """
        if self.label is None:
            raise ValueError("no column of the table became the labels")
        cumulative = np.cumsum(self.label.shares)
        places = (np.arange(n) + 0.5) / n  # as even as whole numbers allow
        labels = np.searchsorted(cumulative / cumulative[-1], places, side="right")
        return torch.from_numpy(np.random.default_rng(seed).permutation(labels))

    def state(self) -> dict[str, Any]:
        """JSON values; `from_state` is the inverse."""

        def plain(column: Column) -> dict[str, Any]:
            return {**vars(column), "code": column.code.state()}

        label = None if self.label is None else plain(self.label)
        return {"columns": [plain(c) for c in self.columns], "order": list(self.order), "label": label}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "TableCodec":
        """The codec whose `state` this is."""

        def column(values: dict[str, Any]) -> Column:
            names = values["categories"]
            return Column(**{**values, "code": column_from_state(values["code"]), "categories": names and tuple(names)})

        label = None if state["label"] is None else column(state["label"])
        return cls(columns=tuple(map(column, state["columns"])), order=tuple(state["order"]), label=label)


def table(
    path: "str | PathLike[str] | Frame",
    *,
    y: "str | None" = None,
    columns: "list[str] | None" = None,
    categorical: "list[str] | None" = None,
    numbers: str = "quantile",
    categories: str = "onehot",
    missing: Missing = "error",
    seed: int = 0,
) -> Dataset:
    """The table in a CSV or Parquet file, or a pandas DataFrame.

    Args:
        path: a file with the suffix ``.csv`` or ``.parquet``, or the table itself.
        y: a column that becomes the labels to condition on.
        columns: those that are used; all by default.
        categorical: columns of numbers that are categories; text, booleans and pandas' categories always are.
        numbers: "quantile" makes every column of numbers standard normal, "standard" shifts and scales it.
        categories: "onehot", "bits" (binary digits as ±1) or "normal" (one dequantised normal number a column).
        missing: "error" refuses missing values, "drop" drops their rows, "impute" fills in the median or the most
            frequent category, and adds a column that tells; a sample whose telling column says so is missing too.
        seed: of the places of tied values.

    Returns:
        A `Dataset` with a ``codec``: ``codec.decode(x, y)`` is a table again. Quantiles and categories are those of
        the whole table.

    Raises:
        ImportError: pandas is not installed.
        FileNotFoundError, ValueError: no such file or column, missing values, or a column that cannot be used.
    """
    frame = _read(path)
    lookup("numbers", numbers, NUMERIC)
    lookup("categories", categories, CATEGORICAL)
    if missing not in ("error", "drop", "impute"):
        raise ValueError(f'missing must be "error", "drop" or "impute", got {missing!r}')
    for name in [*(columns or []), *(categorical or []), *([y] if y else [])]:
        if name not in frame.columns:
            raise ValueError(f"the table has no column {name!r}: {nearest(name, list(map(str, frame.columns)))}")
    if columns is not None:
        frame = frame[[*columns, *([y] if y is not None and y not in columns else [])]]
    if missing == "drop":
        frame = frame.dropna()
    if len(frame) < 2:
        raise ValueError(f"the table has {len(frame)} rows: at least 2 are needed")
    codec = TableCodec.fit(
        frame, numbers=numbers, categories=categories, y=y, missing=missing, categorical=categorical or []
    )
    x, labels = codec.encode(frame, seed=seed)
    names = () if codec.label is None else tuple(map(str, codec.label.categories or ()))
    name = "table" if not isinstance(path, str | PathLike) else Path(path).stem
    return Dataset(x=x, y=labels, name=name, class_names=names, codec=codec)


def _read(path: "str | PathLike[str] | Frame") -> Frame:
    pandas = pandas_library()
    if not isinstance(path, str | PathLike):
        return pandas.DataFrame(path).reset_index(drop=True)
    file = Path(path)
    if file.suffix not in (".csv", ".parquet"):
        raise ValueError(f"cannot read {file} as a table: expected .csv or .parquet")
    if not file.is_file():
        raise FileNotFoundError(f"no file {file} (looked in {file.absolute().parent})")
    try:
        return pandas.read_csv(file) if file.suffix == ".csv" else pandas.read_parquet(file)
    except ImportError:
        raise ImportError("Parquet needs pyarrow: pip install 'pathline[tables]'") from None
    except (ValueError, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is damaged or no {file.suffix} file: {error}") from None

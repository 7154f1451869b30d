"""Rows of ``.npy`` and ``.npz`` files, read when they are asked for."""

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pathline.data.headers import Member

if TYPE_CHECKING:
    from numpy import ndarray


class ArrayReader:
    """Reads rows of one array by position, with `os.pread`.

    A memory map would do as well, but every page that it ever touched counts as memory of the process until the
    system wants it back; reads leave nothing behind.

    Raises:
        ValueError: the array is compressed or stored with the first axis fastest, so that rows do not lie together.
    """

    def __init__(self, path: Path, member: Member, layout: str = "array") -> None:
        self._file: int | None = None
        header = member.header
        if not member.plain:
            raise ValueError(f"{path} is compressed, so its rows cannot be read alone: write it with numpy.savez")
        if header.fortran and len(header.shape) > 1:
            raise ValueError(f"{path} is stored in Fortran order: write it with numpy.save(numpy.ascontiguousarray(x))")
        self.path, self.member, self.layout = path, member, layout
        self._row = header.nbytes // max(1, len(self))
        self._lock = threading.Lock()

    def __len__(self) -> int:
        shape = self.member.header.shape
        return shape[0] if shape else 0

    def rows(self, rows: "list[int]") -> "ndarray":
        """The rows as they are stored."""
        import numpy as np

        header = self.member.header
        content = np.empty((len(rows), self._row), np.uint8)
        for place, row in enumerate(rows):
            content[place] = np.frombuffer(self._read(self.member.start + row * self._row), np.uint8)
        return content.view(header.dtype).reshape(len(rows), *header.shape[1:])

    def read(self, rows: Tensor, seed: "int | None") -> Tensor:
        """Samples at ``rows``, float32, channels first where they are images."""
        import numpy as np

        found = self.rows(rows.tolist())
        if self.layout == "gray":
            found = found[:, None]
        elif self.layout == "channels_last":
            found = found.transpose(0, 3, 1, 2)
        return torch.from_numpy(np.ascontiguousarray(found, dtype=np.float32))

    def _read(self, start: int) -> bytes:
        if self._file is None:
            with self._lock:
                if self._file is None:
                    self._file = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        if hasattr(os, "pread"):
            content = os.pread(self._file, self._row, start)
        else:
            with self._lock:
                os.lseek(self._file, start, os.SEEK_SET)
                content = os.read(self._file, self._row)
        if len(content) != self._row:
            raise ValueError(f"{self.path} has become shorter while it was read")
        return content

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)

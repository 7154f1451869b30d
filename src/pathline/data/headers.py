"""What array files claim to hold, checked against their size before anything is allocated."""

import os
import zipfile
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np

HEADER_LIMIT = 10_000
LOCAL_HEADER = 30
"""Bytes of the fixed part of a zip archive's local header."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """An array in a file.

    Attributes:
        shape, dtype: of the array.
        fortran: stored with the first axis fastest.
        offset: where its bytes start, from the start of the ``.npy`` part.
    """

    shape: tuple[int, ...]
    dtype: "np.dtype"
    fortran: bool
    offset: int

    @property
    def count(self) -> int:
        """How many numbers it has."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return self.count * self.dtype.itemsize


@dataclass(frozen=True, kw_only=True)
class Member:
    """An array of a file: its header, where its bytes start in the file, and whether they are stored as they are."""

    header: Header
    start: int
    plain: bool


def npy_header(file: BinaryIO, size: int, name: str) -> Header:
    """The header of the ``.npy`` content of ``size`` bytes at the front of ``file``.

    Raises:
        ValueError: it is none, holds Python objects, or claims more or less than is there.
    """
    reader = np.lib.format
    try:
        version = reader.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version} of the format is for records")
        read = reader.read_array_header_1_0 if version == (1, 0) else reader.read_array_header_2_0
        shape, fortran, dtype = read(file, max_header_size=HEADER_LIMIT)
    except Exception as error:
        raise ValueError(f"{name} is damaged or no .npy file ({type(error).__name__}: {error})") from None
    if dtype.hasobject:
        raise ValueError(
            f"{name} holds Python objects, which are never loaded (they can run code): save numeric arrays"
        )
    header = Header(shape=shape, dtype=dtype, fortran=fortran, offset=file.tell())
    if any(n < 0 for n in shape) or header.offset + header.nbytes != size:
        raise ValueError(
            f"{name} is damaged or no .npy file: its header claims {header.nbytes} bytes of {dtype} {shape}, "
            f"but {size - header.offset} follow"
        )
    return header


def members(path: Path) -> dict[str, Member]:
    """The arrays in a ``.npy`` or ``.npz`` file by name, none of them read; that of a ``.npy`` file is "x".

    Raises:
        ValueError: the file is damaged, of another kind, or holds Python objects.
    """
    size = path.stat().st_size
    if path.suffix == ".npy":
        with path.open("rb") as file:
            header = npy_header(file, size, str(path))
        return {"x": Member(header=header, start=header.offset, plain=True)}
    found = {}
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as raw:
            for info in archive.infolist():
                if not info.filename.endswith(".npy"):  # any zip archive opens
                    raise ValueError(f"{path} is no .npz file: its member {info.filename!r} is no array")
                name = info.filename.removesuffix(".npy")
                with archive.open(info) as file:
                    header = npy_header(file, info.file_size, f"{path}: member {info.filename!r}")  # pyright: ignore[reportArgumentType]
                raw.seek(info.header_offset)
                local = raw.read(LOCAL_HEADER)
                skipped = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
                start = info.header_offset + LOCAL_HEADER + skipped + header.offset
                plain = info.compress_type == zipfile.ZIP_STORED
                if plain and start + header.nbytes > size:
                    raise ValueError(f"{path} is damaged: its member {info.filename!r} goes beyond its end")
                found[name] = Member(header=header, start=start, plain=plain)
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"{path} is damaged or no .npz file ({type(error).__name__}: {error})") from None
    return found


def check_memory(nbytes: int, what: str, remedy: str) -> None:
    """Refuse what would not fit into the memory that is free.

    Raises:
        ValueError: more is claimed than there is.
    """
    free = free_memory()
    if free is not None and nbytes > free:
        raise ValueError(f"{what} claims {nbytes / 2**30:.1f} GiB, but {free / 2**30:.1f} GiB are free: {remedy}")


def free_memory() -> "int | None":
    """Bytes of memory that are free or can be freed; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None

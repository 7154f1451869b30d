"""Files of named data sets: a folder of yours, the system's shared folders, or a verified download."""

import gzip
import hashlib
import os
import sys
import urllib.error
import urllib.request
import zlib
from dataclasses import dataclass
from pathlib import Path

FOLDER_VARIABLE = "PATHLINE_DATA"
OFFLINE_VARIABLE = "PATHLINE_OFFLINE"
TIMEOUT = 30.0
_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Download:
    """A file on the network: its bytes must have this SHA-256, and be no more than ``size``.

    Of a ``.gz`` file with ``inflated`` set, the SHA-256 is that of the content, which takes ``inflated`` bytes: who
    compressed it is of no matter.
    """

    url: str
    sha256: str
    size: int
    inflated: "int | None" = None


def find(name: str, file: str, folder: "str | None", shared: tuple[str, ...]) -> "Path | None":
    """``file`` of the data set ``name``: in ``folder``, below the folder in PATHLINE_DATA, or in a shared folder.

    Raises:
        FileNotFoundError: ``folder`` is given and has no such file.
    """
    if folder is not None:
        found = Path(folder) / file
        if not found.is_file():
            raise FileNotFoundError(f"no file {found}: folder must hold the files of {name}")
        return found
    own = os.environ.get(FOLDER_VARIABLE)
    places = [Path(own) / name, Path(own)] if own else []
    places += [Path(base) / below for base in _shared_folders() for below in shared]
    return next((place / file for place in places if (place / file).is_file()), None)


def download(name: str, what: Download, hint: str) -> Path:
    """The file of a download, in the cache folder, fetched once and verified each time.

    Raises:
        FileNotFoundError: it cannot be fetched; the message tells ``hint``, what else can be done.
        ValueError: what arrived is not what was expected.
    """
    target = cache_folder() / name / Path(what.url).name
    if target.is_file() and _digest(target, what.inflated) == what.sha256:
        return target
    if os.environ.get(OFFLINE_VARIABLE):
        raise FileNotFoundError(f"{name} is not on this machine and {OFFLINE_VARIABLE} forbids to fetch it: {hint}")
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        _fetch(what, draft)
    except (urllib.error.URLError, OSError) as error:
        draft.unlink(missing_ok=True)
        raise FileNotFoundError(
            f"{name} is not on this machine, and {what.url} cannot be had ({error}): {hint}"
        ) from None
    if _digest(draft, what.inflated) != what.sha256:
        draft.unlink()
        raise ValueError(f"{what.url} is not the file that was expected (its SHA-256 differs): {hint}")
    os.replace(draft, target)
    return target


def cache_folder() -> Path:
    """Where downloads are kept."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pathline"


def _fetch(what: Download, target: Path) -> None:
    with urllib.request.urlopen(what.url, timeout=TIMEOUT) as answer, target.open("wb") as file:
        left = what.size
        while chunk := answer.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise OSError(f"more than the {what.size} bytes that were expected")
            file.write(chunk)


def _shared_folders() -> list[str]:
    """``share`` of the system and of the environment."""
    told = os.environ.get("XDG_DATA_DIRS", "/usr/local/share:/usr/share").split(os.pathsep)
    return [*(p for p in told if p), str(Path(sys.prefix) / "share")]


def gunzip(path: Path, size: int) -> bytes:
    """The content of a ``.gz`` file, which must have ``size`` bytes: no more than that is ever inflated.

    Raises:
        ValueError: it is damaged, or of another size.
    """
    try:
        with gzip.open(path) as file:
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    if len(content) != size:
        raise ValueError(f"{path} is damaged: it does not hold {size} bytes")
    return content


def _digest(path: Path, inflated: "int | None" = None) -> str:
    if inflated is not None:
        try:
            return hashlib.sha256(gunzip(path, inflated)).hexdigest()
        except ValueError:
            return "damaged"
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()

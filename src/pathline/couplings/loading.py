"""Reading fitted couplings of any kind."""

from pathlib import Path

from torch import Tensor

from pathline.couplings.base import PairSource
from pathline.couplings.prepared import PreparedPairs
from pathline.couplings.semidiscrete import SemiDiscretePairs
from pathline.couplings.storing import read

_KINDS: "dict[str, type[SemiDiscretePairs] | type[PreparedPairs]]" = {
    "semidiscrete": SemiDiscretePairs,
    "prepared": PreparedPairs,
}


def load_pairs(
    path: "str | Path", data: Tensor, y: Tensor | None = None, *, source: Tensor | None = None
) -> PairSource:
    """What `PairSource.save` wrote, beside the data, labels and source that it was fitted to.

    Raises:
        ValueError: another kind of file, or other data. FileNotFoundError: nothing at ``path``.
    """
    kind = read(path)[0]
    if kind not in _KINDS:
        raise ValueError(f"{path} holds pairs of the unknown kind {kind!r}, known: {', '.join(_KINDS)}")
    return _KINDS[kind].load(path, data, y, source)

"""The assignment problem on few pairs, and the certificate that it is the optimum of all (theory T28).

Linear programming tells whether a matching of row i with column m(i) is optimal: it is if and only if there are f and g with

    f_i + g_j <= c_ij for all (i, j),    f_i + g_m(i) = c_im(i).

So the problem may be solved on any set of pairs: if its f and g satisfy the inequality on the pairs left out, they were not
needed. If not, those that violate it are added, and the problem is solved again from the prices found.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pathline.couplings.prices import Plan, blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

# Of the largest cost among the pairs: by how much the inequality may be violated, a few hundred roundings of float64.
_TOLERANCE = 1e-13
_ROUNDS = 12
_ADDED = 16  # pairs to a row at a time
_CROWDED = 128  # pairs a row: more, as many equal costs leave, are for the dense search


def certified(cost: Tensor, plan: Plan) -> "tuple[Ints | None, Tensor]":
    """The column of each row in the optimal matching, if it was found and proved; and prices (n,) for another search.

    The prices are float64, on the CPU. SciPy's search through few pairs holds the interpreter's lock.
    """
    n = len(cost)
    prices = plan.prices.double().cpu().numpy()
    entries = plan.entries()
    matching = np.arange(n)
    for _ in range(_ROUNDS):
        if len(entries) > _CROWDED * n:
            break
        rows, columns = _known_first(entries, matching)
        weights = cost.take(torch.from_numpy(rows * n + columns).to(cost.device))
        weights = weights.double().cpu().numpy()
        reduced, tolerance = weights - prices[columns], _TOLERANCE * np.abs(weights).max()
        matching = _search(rows, columns, reduced)
        f, change = _potentials(rows, columns, reduced, matching, 0.1 * tolerance)
        prices = prices + change
        missing = _violated(cost, f - tolerance, prices)
        if not len(missing):
            return matching, torch.from_numpy(prices)
        entries = np.sort(np.concatenate((entries, missing)), kind="stable")
    return None, torch.from_numpy(prices)


def _known_first(entries: "Ints", matching: "Ints") -> "tuple[Ints, Ints]":
    """Rows and columns of ``entries`` (i n + j, rising) by rows, each row beginning with its pair of ``matching``."""
    n = len(matching)
    rows, columns = np.divmod(entries, n)
    others = columns != matching[rows]
    rows = np.concatenate((np.arange(n), rows[others]))
    columns = np.concatenate((matching, columns[others]))
    order = rows.argsort(kind="stable")
    return rows[order], columns[order]


def _search(rows: "Ints", columns: "Ints", reduced: "Floats") -> "Ints":
    """The matching (n,) of least total among the pairs, by shortest augmenting paths.

    SciPy first makes sure of a full matching by a search that takes the first free pair of a row: with a known matching in
    front it ends at once. A column more than rows makes it leave out a start by bids, which with good prices compete in
    small steps for long: the paths alone take a time that hardly depends on the prices.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    n = int(rows[-1]) + 1
    starts = np.append(np.searchsorted(rows, np.arange(n)), len(rows))
    least = np.minimum.reduceat(reduced, starts[:-1])
    weights = reduced - least[rows]
    weights += float(weights.max()) or 1.0  # none may be zero
    graph = csr_array((weights, columns.astype(np.int32), starts.astype(np.int32)), shape=(n, n + 1))
    return min_weight_full_bipartite_matching(graph)[1].astype(np.int64)


def _potentials(
    rows: "Ints", columns: "Ints", reduced: "Floats", matching: "Ints", tolerance: float
) -> "tuple[Floats, Floats]":
    """f (n,) and g (n,) that prove the matching optimal among the pairs: least distances by the Bellman-Ford recursion.

    g_j <- min over the pairs (i, j) of g_m(i) + c_ij − c_im(i), from zero, until nothing falls by more than the tolerance:
    after n turns at most, if the matching is optimal among the pairs.
    """
    n = len(matching)
    owner = np.empty_like(matching)
    owner[matching] = np.arange(n)
    target = owner[columns]
    own = reduced[target == rows]  # in the order of the rows
    order = target.argsort(kind="stable")
    source, length = rows[order], (reduced - own[rows])[order]
    starts = np.searchsorted(target[order], np.arange(n))
    g = np.zeros(n)
    for _ in range(n):
        higher, g = g, np.minimum.reduceat(g[source] + length, starts)
        if (higher - g).max() <= tolerance:
            break
    return own - g, g[owner]


def _violated(cost: Tensor, f: "Floats", prices: "Floats") -> "Ints":
    """Pairs with c_ij < f_i + g_j, the worst `_ADDED` of a row, as flat indices i n + j; of float64 numbers."""
    n, found, begin = len(cost), [], 0
    bound, g = torch.from_numpy(f).to(cost.device), torch.from_numpy(prices).to(cost.device)
    for block, least in blocks(cost, bound):
        slack = block - g
        rows = (slack.amin(1, keepdim=True) < least).flatten().nonzero().flatten()
        if len(rows):
            value, j = slack[rows].topk(min(n, _ADDED), largest=False)
            found.append(((begin + rows)[:, None] * n + j)[value < least[rows]])
        begin += len(block)
    return torch.cat(found).sort().values.cpu().numpy() if found else np.empty(0, np.int64)

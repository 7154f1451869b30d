"""The assignment problem: the permutation of least total cost, exactly, from approximate prices (theory T28).

Subtracting a price g_j from column j of a cost changes the total of every permutation by the same amount, so the best one
stays the best. A search by shortest augmenting paths is quick when the prices are nearly those of the optimum, and cubic
when it starts from nothing. So the prices come from an entropic plan (`couplings.prices`). Of few points SciPy's search
then goes through the whole cost. Of many it goes through the pairs that the plan keeps, a few dozen a row, and the prices
it ends with prove that no other pair can lower the total (`couplings.sparse_assignment`).
"""

import math
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from pathline.couplings.prices import plans, thin_plan
from pathline.couplings.sparse_assignment import certified

# Below this size the search alone takes less time than the prices.
_SMALL = 80

# Above it the search through few pairs and its certificate take less time than the search through all.
_MANY = 1024

# Up to here the cost is formed in float64: the product costs nothing beside the search.
_FEW_DIMENSIONS = 16


def transport_cost(x_0: Tensor, x_1: Tensor) -> Tensor:
    """−2 <x_0_i, x_1_j> between centred rows (B, D): |x_0_i − x_1_j|² up to terms of i and of j alone, (B, B).

    Those terms add the same to every permutation. Centring keeps the numbers, and their rounding, small.
    """
    if x_0.shape[1] <= _FEW_DIMENSIONS:
        x_0, x_1 = x_0.double(), x_1.double()
    return torch.mm((x_0 - x_0.mean(0)).mul_(-2.0), (x_1 - x_1.mean(0)).T)


def assign(cost: Tensor, *, overwrite: bool = False) -> Tensor:
    """For each column j of ``cost`` (n, n) the row that the cheapest permutation gives it: int64 (n,), on its device.

    The optimum is that of the numbers in ``cost``: exact up to their rounding. With ``overwrite`` these may be lost, which spares
    a copy.

    Raises:
        ValueError: NaN or infinity in the cost.
    """
    from scipy.optimize import linear_sum_assignment

    n = len(cost)
    if n == 1:
        return torch.zeros(1, dtype=torch.int64, device=cost.device)
    spread = float(cost[:: -(-n // 32)].std())  # a few rows tell the scale
    if not (math.isfinite(spread) and math.isfinite(cost.sum())):
        raise ValueError("the cost of the coupling has NaN or infinity: x_0 and x_1 must be finite, and not too large")
    matching, prices = None, None
    if n > _MANY and spread > 0.0:
        matching, prices = certified(cost, thin_plan(cost, spread))
    elif n > _SMALL and spread > 0.0:
        prices = next(islice(plans(cost, spread, 2, 2), 7, None)).prices
    if matching is None:
        table = cost if prices is None else torch.sub(cost, prices.to(cost), out=cost if overwrite else None)
        matching = linear_sum_assignment(table.double().cpu().numpy())[1]
    rows = np.empty(n, np.int64)
    rows[matching] = np.arange(n)
    return torch.from_numpy(rows).to(cost.device)

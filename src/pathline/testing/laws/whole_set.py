"""Laws of couplings of a whole data set."""

import torch

from pathline.couplings import DatasetCoupling, PairSource
from pathline.testing.laws.base import generator, require


def check_dataset_coupling(coupling: DatasetCoupling) -> None:
    """Pairs of data rows with source points: shaped, repeatable, without memory, even over the data, fair to classes (T28, T30).

    Data of two classes at (−4, 0) and (4, 0), 200 points each; the source is N(0, I) whatever the class, so that the mean
    source of a class is 0 to five standard errors, where a coupling that looks at positions alone is off by 0.8.
    """
    n = 400
    y = torch.arange(n) % 2
    data = torch.randn(n, 2, generator=generator(1)) + torch.stack([8.0 * y - 4.0, torch.zeros(n)], 1)
    kept = data.clone(), y.clone()
    pairs = coupling.fit(data, y, generator=generator(2))
    require(isinstance(pairs, PairSource), "fit returns a PairSource", f"{type(pairs).__name__}")
    require(
        torch.equal(data, kept[0]) and torch.equal(y, kept[1]),
        "A coupling leaves points and labels as they are",
        "an argument has changed",
    )
    x_0, rows = pairs.draw(17, generator=generator(3))
    require(
        x_0.shape == (17, 2) and x_0.dtype == data.dtype and rows.shape == (17,) and rows.dtype == torch.int64,
        "A draw is source points like the data and int64 rows",
        f"{tuple(x_0.shape)} {x_0.dtype} and {tuple(rows.shape)} {rows.dtype}",
    )
    again = pairs.draw(17, generator=generator(3))
    require(
        torch.equal(again.x_0, x_0) and torch.equal(again.rows, rows),
        "A draw is a function of its size and generator: nothing is counted",
        "another draw after one in between",
        "A resumed run could not go on as it would have.",
    )
    x_0, rows = pairs.draw(20 * n, generator=generator(4))
    require(bool(((rows >= 0) & (rows < n)).all()), "Rows are rows of the data", f"up to {int(rows.max())} of {n}")
    counts = rows.bincount(minlength=n).double()
    uneven = n * float((counts * (counts - 1.0)).sum()) / (20.0 * n * (20.0 * n - 1.0)) - 1.0
    require(uneven < 0.2, "All data points are drawn equally often", f"chi² of {uneven:.2f} from even")
    moved = float(x_0[y[rows] == 1, 0].mean())
    require(
        abs(moved) < 5.0 / (n / 2) ** 0.5,
        "p(x_0 | y) is p(x_0)",
        f"sources of one class have mean {moved:.2f} instead of 0",
        "Couple class by class.",
    )

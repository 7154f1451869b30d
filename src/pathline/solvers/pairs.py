"""Embedded Runge-Kutta pairs as data (theory T4; Dormand and Prince 1980, Tsitouras 2011)."""

from dataclasses import dataclass

from pathline.solvers.runge_kutta import Tableau


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An explicit tableau whose last stage is the first of the next step, with an error estimate and a dense output.

    ``error`` are the weights of the difference to the embedded solution, ``dense`` the polynomials b_i(theta) as
    coefficients of theta, theta², ...: x(t + theta h) = x + h sum_i b_i(theta) k_i.
    """

    tableau: Tableau
    error: tuple[float, ...]
    dense: tuple[tuple[float, ...], ...]


def _quartic(b: tuple[float, ...], d: tuple[float, ...]) -> tuple[tuple[float, ...], ...]:
    """b_i(theta) of x + theta (r_2 + (1 - theta) (r_3 + theta (r_4 + (1 - theta) r_5))) (Hairer et al., II.6): r_2 = h b.k,
    r_3 = h k_1 - r_2, r_4 = r_2 - h k_last - r_3, r_5 = h d.k."""
    rows = []
    for i, (w, v) in enumerate(zip(b, d, strict=True)):
        r2, r3 = w, float(i == 0) - w
        r4 = r2 - float(i == len(b) - 1) - r3
        rows.append((r2 + r3, r4 + v - r3, -r4 - 2.0 * v, v))
    return tuple(rows)


_DOPRI5_A = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_DOPRI5_B = (*_DOPRI5_A[6], 0.0)
DOPRI5 = Pair(
    tableau=Tableau(_DOPRI5_A, _DOPRI5_B, (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)),
    error=(71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40),
    dense=_quartic(
        _DOPRI5_B,
        (
            -12715105075 / 11282082432,
            0.0,
            87487479700 / 32700410799,
            -10690763975 / 1880347072,
            701980252875 / 199316789632,
            -1453857185 / 822651844,
            69997945 / 29380423,
        ),
    ),
)
"""Dormand-Prince 5(4)."""

_TSIT5_A = (
    (),
    (0.161,),
    (-0.008480655492356989, 0.335480655492357),
    (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
    (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
    (5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401, -0.028269050394068383),
    (0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742, -3.290069515436081, 2.324710524099774),
)
TSIT5 = Pair(
    tableau=Tableau(_TSIT5_A, (*_TSIT5_A[6], 0.0), (0.0, 0.161, 0.327, 0.9, 0.9800255409045097, 1.0, 1.0)),
    error=(
        -0.00178001105222577714,
        -0.0008164344596567469,
        0.007880878010261995,
        -0.1447110071732629,
        0.5823571654525552,
        -0.45808210592918697,
        1 / 66,
    ),
    dense=(
        (1.0, -2.763706197274826, 2.9132554618219126, -1.0530884977290216),
        (0.0, 0.13169999999999998, -0.2234, 0.1017),
        (0.0, 3.9302962368947516, -5.941033872131505, 2.490627285651253),
        (0.0, -12.411077166933676, 30.33818863028232, -16.548102889244902),
        (0.0, 37.50931341651104, -88.1789048947664, 47.37952196281928),
        (0.0, -27.896526289197286, 65.09189467479366, -34.87065786149661),
        (0.0, 1.5, -4.0, 2.5),
    ),
)
"""Tsitouras 5(4)."""

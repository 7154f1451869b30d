"""Exact fields: what a perfect network returns, in closed form, at any time of any affine path (theory T16).

Every oracle is a Field like any other and additionally knows

- ``log_prob(x, t, y=None)``: log p_t(x) in nats, (B,);
- ``sample(n, t, generator, y=None)``: exact draws from p_t;
- ``posterior_variance(x, t, y=None)``: E[|x_1 - D|² | x_t], the squared error that no network can beat;
- with labels, ``class_log_prob(x, t)`` and ``class_score(x, t, y)``: p(y | x_t) and its gradient (T35).

Condition ``y``: the label of each sample, (B,), or one integer for all; -1 is none.
"""

from pathline.testing.oracles.base import ExactEstimate, Oracle
from pathline.testing.oracles.bridge import JointGaussians, gaussian_bridge, mixture_bridge
from pathline.testing.oracles.empirical import Empirical, empirical
from pathline.testing.oracles.gaussian import Gaussian, gaussian
from pathline.testing.oracles.mixture import (
    FullMixture,
    GaussianMixture,
    Mixture,
    eight_gaussians,
    full_mixture,
    gaussian_mixture,
)
from pathline.testing.oracles.observed import moments, observed
from pathline.testing.oracles.pairs import PairedPoints, pairs
from pathline.testing.oracles.product import Product, product

__all__ = [
    "Empirical",
    "ExactEstimate",
    "FullMixture",
    "Gaussian",
    "GaussianMixture",
    "JointGaussians",
    "Mixture",
    "Oracle",
    "PairedPoints",
    "Product",
    "eight_gaussians",
    "empirical",
    "full_mixture",
    "gaussian",
    "gaussian_bridge",
    "gaussian_mixture",
    "moments",
    "observed",
    "mixture_bridge",
    "pairs",
    "product",
]

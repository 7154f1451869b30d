"""Laws of bridges."""

import torch

from pathline.paths.bridge import DRIFT, LATENT, BridgePath, two_heads
from pathline.predictions import DATA, NOISE, SCORE, VELOCITY
from pathline.testing.laws.base import close, gap, generator, require, states


def check_bridge(path: BridgePath) -> None:
    """Ends, times of shape () and (B,), the velocity as a time derivative, and every reading from every two heads (T29)."""
    name = repr(path)
    for x_1 in states():
        x_0, z = (torch.randn(x_1.shape, generator=generator(k), dtype=x_1.dtype) for k in (2, 3))
        t = torch.linspace(0.3, 0.7, len(x_1), dtype=x_1.dtype)
        x_t = path.at(x_0, x_1, z, t)
        rows = torch.cat([path.at(x_0[i : i + 1], x_1[i : i + 1], z[i : i + 1], t[i]) for i in range(len(t))])
        require(
            close(x_t, rows, 1e-12), f"Times of shape (B,) of {name} belong to the batch axis", f"{gap(x_t, rows):.1e}"
        )
        _, slope = torch.func.jvp(lambda u: path.at(x_0, x_1, z, u), (t,), (torch.ones_like(t),))  # noqa: B023  # pyright: ignore[reportAssignmentType]
        velocity = path.target(VELOCITY, x_0, x_1, z, t)
        require(
            close(velocity, slope, 1e-9),
            f"The velocity of {name} is the time derivative of x_t for fixed ends and z",
            f"{gap(velocity, slope):.1e}",
        )
        known = {DATA: x_1, NOISE: x_0, LATENT: z, VELOCITY: velocity, DRIFT: path.target(DRIFT, x_0, x_1, z, t)}
        known[SCORE] = path.target(SCORE, x_0, x_1, z, t)
        for heads in ((VELOCITY, LATENT), (VELOCITY, SCORE), (DRIFT, LATENT), (DATA, NOISE), (DATA, LATENT)):
            value = path.target(two_heads(*heads), x_0, x_1, z, t)
            estimate = path.read(x_t, t, two_heads(*heads), value)
            for wanted, truth in known.items():
                seen = estimate.read(wanted)
                where = f"the {wanted} from {heads[0]} and {heads[1]} on {name}, off by {gap(seen, truth):.1e}"
                require(close(seen, truth, 1e-8), "Two heads and x_t tell every prediction", where)
            s = torch.tensor(0.45, dtype=x_1.dtype)
            moved, truth = path.mix(estimate, s), path.at(x_0, x_1, z, s)
            require(
                close(moved, truth, 1e-8), f"Mixing an exact estimate of {name} gives x_s", f"{gap(moved, truth):.1e}"
            )
        for time, end in ((0.0, x_0), (1.0, x_1)):
            at = torch.tensor(time, dtype=x_1.dtype)
            seen, blur = path.at(x_0, x_1, z, at), path.coefs(at, x_1).gamma * z
            require(
                close(seen, end + blur, 1e-9),
                f"{name} ends at its ends",
                f"{gap(seen, end + blur):.1e} at t = {time:g}",
            )
            target = path.target(two_heads(), x_0, x_1, z, at)
            require(torch.isfinite(target).all(), f"Targets of {name} are finite at t = {time:g}", "an infinite one")
        for dtype in (torch.float32, torch.bfloat16):
            low = path.at(x_0.to(dtype), x_1.to(dtype), z.to(dtype), t.float())
            require(low.dtype == dtype, f"x_t of {name} has the dtype of x_1, {dtype}", f"{low.dtype}")

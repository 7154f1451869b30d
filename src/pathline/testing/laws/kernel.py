"""Laws of schedules, time laws, predictions, paths, fields and nets."""

from typing import Any

import torch
from torch import Tensor

from pathline._typing import Net
from pathline.field import BaseField, Field
from pathline.paths import AffinePath
from pathline.predictions import PREDICTIONS, VELOCITY, Prediction, convert, gain
from pathline.schedules import Coefs, Schedule
from pathline.testing.laws.base import close, gap, generator, require, schedules, states
from pathline.times import TimeLaw


def _columns(coefs: Coefs, t: Tensor) -> Tensor:
    return torch.stack([torch.as_tensor(c, dtype=t.dtype).expand(t.shape) for c in coefs])


def check_schedule(schedule: Schedule) -> None:
    """Finite, typed and shaped like t; derivatives equal to differentiation; log-SNR rising and inverted (T20-T25)."""
    name = repr(schedule)[:80]
    for dtype in (torch.float32, torch.float64):
        for shape in ((), (5,), (2, 3)):
            t = torch.linspace(0.0, 1.0, max(1, torch.Size(shape).numel()), dtype=dtype).reshape(shape)
            for part, value in zip(Coefs._fields, schedule(t), strict=True):
                value = torch.as_tensor(value, dtype=dtype)
                law = f"{part} of {name} keeps the shape and dtype of t, or is a number"
                require(value.shape in (t.shape, ()), law, f"shape {tuple(value.shape)} for t of {shape}")
                require(torch.isfinite(value).all(), f"{part} of {name} is finite on [0, 1]", f"{value.tolist()}")
    t = torch.linspace(0.013, 0.987, 75, dtype=torch.float64)
    value = _columns(schedule(t), t)
    _, slope = torch.func.jvp(lambda u: _columns(schedule(u), u)[:2], (t,), (torch.ones_like(t),))  # pyright: ignore[reportAssignmentType]
    require(
        close(value[2:], slope, 1e-6),
        f"dalpha and dsigma of {name} are the derivatives of alpha and sigma",
        f"a difference of {gap(value[2:], slope):.1e} from forward-mode differentiation",
        "Differentiate by t, not by the diffusion time 1 - t.",
    )
    single = _columns(schedule(t.float()), t.float())
    require(close(single, value, 1e-3), f"{name} in float32 agrees with float64", f"a gap of {gap(single, value):.1e}")
    logsnr = schedule.log_snr(t)
    require(
        (logsnr.diff() > 0).all(),
        f"log(alpha/sigma) of {name} rises with t",
        f"it falls somewhere, by {float(-logsnr.diff().min()):.1e} at most",
        "t = 0 is noise and t = 1 is data here.",
    )
    back = schedule.t_of_logsnr(logsnr)
    require(
        close(back, t, 1e-8),
        f"t_of_logsnr of {name} inverts log(alpha/sigma)",
        f"a round trip off by {gap(back, t):.1e}",
    )


def check_times(law: TimeLaw) -> None:
    """A quantile function that rises within [0, 1], draws that follow it, and a grid from 0 to 1 (T26, T39)."""
    u = torch.linspace(0.001, 0.999, 401, dtype=torch.float64)
    t = law.quantile(u)
    require(((t >= 0) & (t <= 1)).all(), f"{law} stays within [0, 1]", f"values from {t.min():g} to {t.max():g}")
    require((t.diff() > 0).all(), f"the quantile of {law} rises", f"a fall of {float(-t.diff().min()):.1e}")
    draws = law.sample(20_000, generator=generator(), dtype=torch.float64)
    share = torch.stack([(draws <= level).double().mean() for level in t[::25]])
    worst = float((share - u[::25]).abs().max())
    require(worst < 0.016, f"draws of {law} follow its quantile", f"a distance of {worst:.3f} between distributions")
    for steps in (1, 2, 7):
        grid = law.grid(steps)
        require(
            len(grid) == steps + 1 and grid[0] == 0 and grid[-1] == 1 and bool((grid.diff() > 0).all()),
            f"the grid of {law} rises from 0 to 1 in {steps} steps",
            f"{grid.tolist()}",
        )


def check_prediction(prediction: Prediction) -> None:
    """Converts to every registered prediction and back, at any rank and time, and its gain is the squared slope (T17, T18)."""
    for schedule in schedules():
        path = AffinePath(schedule)
        for x_1 in states():
            x_0 = torch.randn(x_1.shape, generator=generator(1), dtype=x_1.dtype)
            t = torch.linspace(0.2, 0.8, len(x_1), dtype=x_1.dtype)
            coefs = path.coefs(t, x_1)
            x_t = path.sample(x_0, x_1, t)
            value = prediction.of(coefs, x_1, x_0)
            for other in PREDICTIONS.values():
                where = f"from {prediction} to {other} on {schedule!r}, state of shape {tuple(x_1.shape)}"
                truth = other.of(coefs, x_1, x_0)
                there = convert(coefs, x_t, value, prediction, other)
                require(
                    close(there, truth, 1e-9), "A conversion recovers the truth", f"{gap(there, truth):.1e} {where}"
                )
                back = convert(coefs, x_t, there, other, prediction)
                require(
                    close(back, value, 1e-9), "A conversion is undone by its reverse", f"{gap(back, value):.1e} {where}"
                )
                moved = convert(coefs, x_t, value + 1.0, prediction, other) - there
                expected = torch.as_tensor(gain(coefs, prediction, other), dtype=x_1.dtype).expand_as(moved)
                require(close(moved**2, expected, 1e-6), "The gain is the squared slope of the conversion", where)


def check_path(path: AffinePath) -> None:
    """Ends, shapes, dtypes, times of shape () and (B,), the velocity as a time derivative, and mixing (T8-T12)."""
    for x_1 in states():
        x_0 = torch.randn(x_1.shape, generator=generator(2), dtype=x_1.dtype)
        t = torch.linspace(0.3, 0.7, len(x_1), dtype=x_1.dtype)
        x_t = path.sample(x_0, x_1, t)
        rows = torch.cat([path.sample(x_0[i : i + 1], x_1[i : i + 1], t[i]) for i in range(len(t))])
        require(
            close(x_t, rows, 1e-12),
            "Times of shape (B,) belong to the batch axis",
            f"a gap of {gap(x_t, rows):.1e} to one time per sample for a state of shape {tuple(x_1.shape)}",
        )
        estimate = path.read(x_t, t, VELOCITY, VELOCITY.of(path.coefs(t, x_1), x_1, x_0))
        _, slope = torch.func.jvp(lambda u: path.sample(x_0, x_1, u), (t,), (torch.ones_like(t),))  # noqa: B023  # pyright: ignore[reportAssignmentType]
        require(
            close(estimate.velocity, slope, 1e-6),
            "The velocity is the time derivative of the path",
            f"{gap(estimate.velocity, slope):.1e}",
        )
        for name, truth in (("data", x_1), ("noise", x_0)):
            reading = getattr(estimate, name)
            require(
                close(reading, truth, 1e-8), f"The {name} is recovered from the velocity", f"{gap(reading, truth):.1e}"
            )
        s = torch.tensor(0.9, dtype=x_1.dtype)
        moved, truth = path.mix(estimate, s), path.sample(x_0, x_1, s)
        require(close(moved, truth, 1e-8), "Mixing an exact estimate at s gives x_s", f"{gap(moved, truth):.1e}")
        for dtype in (torch.float32, torch.bfloat16):
            low = path.sample(x_0.to(dtype), x_1.to(dtype), t.float())
            require(low.dtype == dtype, f"x_t has the dtype of x_1, {dtype}", f"{low.dtype}")
        for time in (0.0, 1.0):
            end = path.sample(x_0, x_1, torch.tensor(time, dtype=x_1.dtype))
            require(torch.isfinite(end).all(), f"x_t is finite at t = {time:g}", f"{end.flatten()[:3].tolist()}")


def check_field(field: BaseField, shape: tuple[int, ...], **cond: Any) -> None:
    """A function of (x_t, t): repeatable, row by row, with times () and (B,) in agreement, and readings that are consistent."""
    batch = max(3, shape[0] if shape else 3)  # equal to another axis where there is one
    x = torch.randn(batch, *shape, generator=generator(3), dtype=torch.float64)
    for time in (0.25, 0.75):
        once = field(x, time, **cond)
        again = field(x, torch.full((batch,), time, dtype=x.dtype), **cond)
        twice = field(x, time, **cond).velocity
        require(
            torch.equal(once.velocity, twice),
            "A field is a function: the same input gives the same output",
            "two results",
        )
        require(
            close(once.velocity, again.velocity, 1e-9),
            "A time of shape () means the same as (B,) of equal times",
            f"a gap of {gap(once.velocity, again.velocity):.1e} with B = {batch} for states of shape {shape}",
        )
        coefs = field.path.coefs(torch.tensor(time, dtype=x.dtype), x)
        mixed = coefs.alpha * once.data + coefs.sigma * once.noise
        require(close(mixed, x, 1e-6), "x_t = alpha D + sigma E", f"a gap of {gap(mixed, x):.1e} at t = {time}")
        swapped = field(x.flip(0), time, **{k: v.flip(0) if isinstance(v, Tensor) else v for k, v in cond.items()})
        require(
            close(swapped.velocity.flip(0), once.velocity, 1e-9),
            "A sample does not see its batch",
            "another order, another result",
        )


def check_net(net: Net, shape: tuple[int, ...], **cond: Any) -> None:
    """The calling convention of a network: shape and dtype of x_t, times () and (B,), no leak across the batch, t is read."""
    batch = max(3, shape[0] if shape else 3)
    x = torch.randn(batch, *shape, generator=generator(4))
    with torch.no_grad():
        scalar = net(x, torch.tensor(0.3), **cond)
        vector = net(x, torch.full((batch,), 0.3), **cond)
        late = net(x, torch.tensor(0.9), **cond)
        single = net(x[:1], torch.tensor(0.3), **{k: v[:1] if isinstance(v, Tensor) else v for k, v in cond.items()})
    require(scalar.shape == x.shape, "A net returns the shape of x_t", f"{tuple(scalar.shape)} for {tuple(x.shape)}")
    require(close(scalar, vector, 1e-5), "t of shape () means the same as (B,)", f"a gap of {gap(scalar, vector):.1e}")
    require(
        close(single, scalar[:1], 1e-4), "A sample does not see its batch", f"a gap of {gap(single, scalar[:1]):.1e}"
    )
    require(not torch.equal(scalar, late), "A net reads t", "equal outputs at t = 0.3 and t = 0.9")


def exact_net(field: BaseField, prediction: Prediction) -> Field:
    """A `Field` whose network returns the exact ``prediction`` of ``field``: a perfect network for every solver to meet."""

    def net(x: Tensor, t: Tensor, **cond: Any) -> Tensor:
        return field.evaluate(x, t, **cond).read(prediction)

    return Field(net, field.path, without_input_change(prediction))


def without_input_change(prediction: Prediction) -> Prediction:
    """The same row, without the input scale and the clock that a real network is shown."""
    return Prediction(prediction.name, prediction.row)

"""The peers' samplers behind one signature, on the linear path: (velocity(x, t), x_0, times) -> x_1.

Every peer gets the exact field at exact times in float64. Diffusers' schedulers are driven in their own convention
(variance preserving, sigma/alpha grid), which is the same flow read at t = 1/(1 + sigma/alpha).
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]
Sampler = Callable[[Velocity, Tensor, Tensor], Tensor]
EDGE = 1e-4  # where a peer divides by alpha or by sigma, its grid keeps this distance from the ends


def flow_matching(method: str) -> Sampler:
    from flow_matching.solver import ODESolver

    def run(velocity: Velocity, x_0: Tensor, times: Tensor) -> Tensor:
        return ODESolver(lambda x, t: velocity(x, t)).sample(x_0, step_size=None, method=method, time_grid=times)  # pyright: ignore

    return run


def torchdiffeq(method: str) -> Sampler:
    from torchdiffeq import odeint

    def run(velocity: Velocity, x_0: Tensor, times: Tensor) -> Tensor:
        return odeint(lambda t, x: velocity(x, t), x_0, times, method=method)[-1]  # pyright: ignore

    return run


def azula(name: str, order: int | None = None) -> Sampler:
    from azula import sample
    from azula.denoise import Denoiser, DiracPosterior
    from azula.noise import RectifiedSchedule

    class Exact(Denoiser):
        def __init__(self, velocity: Velocity) -> None:
            super().__init__()
            self.schedule, self.velocity = RectifiedSchedule(alpha_min=1e-8, sigma_min=1e-8), velocity

        def forward(self, x_t: Tensor, t: Tensor, **kwargs: object) -> DiracPosterior:
            return DiracPosterior(mean=x_t + t * self.velocity(x_t, 1.0 - t))

    def run(velocity: Velocity, x_0: Tensor, times: Tensor) -> Tensor:
        kind = getattr(sample, name)

        class OnGrid(kind):
            @property
            def timesteps(self) -> Tensor:
                return (1.0 - times).clamp(0.0, 1.0 - EDGE)

        extra = {} if order is None else {"order": order}
        return OnGrid(Exact(velocity), steps=len(times) - 1, silent=True, **extra)(x_0)

    return run


def diffusers(name: str, last: float = 0.0, **options: object) -> Sampler:
    """``last``: the final sigma/alpha, above 0 for the solvers that return NaN there."""
    import diffusers as library

    def run(velocity: Velocity, x_0: Tensor, times: Tensor) -> Tensor:
        t = times.clamp(EDGE, 1.0)
        ratio = ((1.0 - t) / t).clamp(min=last)  # sigma/alpha, falling
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scheduler = getattr(library, name)(prediction_type="sample", **options)
            scheduler.set_timesteps(len(t) - 1)
        scheduler.sigmas = ratio
        x = x_0
        for i in range(len(t) - 1):
            alpha = 1.0 / torch.sqrt(1.0 + ratio[i] ** 2)
            flat = x / (alpha * (1.0 + ratio[i]))  # the same point on the linear path
            data = flat + (1.0 - t[i]) * velocity(flat, t[i])
            x = scheduler.step(data, scheduler.timesteps[i], x, return_dict=False)[0]
        return x

    return run


def diffusers_flow(name: str) -> Sampler:
    import diffusers as library

    def run(velocity: Velocity, x_0: Tensor, times: Tensor) -> Tensor:
        scheduler = getattr(library, name)()
        scheduler.set_timesteps(len(times) - 1)
        scheduler.sigmas = 1.0 - times
        x = x_0
        for i in range(len(times) - 1):
            x = scheduler.step(-velocity(x, times[i]), scheduler.timesteps[i], x, return_dict=False)[0]
        return x

    return run


def samplers() -> dict[str, tuple[Callable[[], Sampler], int]]:
    """(constructor, evaluations per step) by name."""
    found: dict[str, tuple[Callable[[], Sampler], int]] = {}
    for method, cost in (("euler", 1), ("midpoint", 2), ("heun2", 2), ("heun3", 3), ("rk4", 4)):
        found[f"flow_matching {method}"] = (lambda m=method: flow_matching(m)), cost
    for method, cost in (("heun2", 2), ("rk4", 4)):
        found[f"torchdiffeq {method}"] = (lambda m=method: torchdiffeq(m)), cost
    for name, orders in (
        ("EulerSampler", (None,)),
        ("vABSampler", (2, 3)),
        ("zABSampler", (2, 3)),
        ("zEABSampler", (2,)),
        ("xEABSampler", (2, 3)),
        ("REABSampler", (2, 3)),
    ):
        for order in orders:
            found[f"azula {name}{order or ''}"] = (lambda n=name, o=order: azula(n, o)), 1
    found["azula HeunSampler"] = (lambda: azula("HeunSampler")), 2
    for order in (2, 3):
        for kind in ("midpoint", "heun"):
            options = {"solver_order": order, "solver_type": kind, "algorithm_type": "dpmsolver++"}
            found[f"diffusers DPM++{order}M {kind}"] = (
                (lambda o=options: diffusers("DPMSolverMultistepScheduler", final_sigmas_type="zero", **o)),
                1,
            )
        for kind in ("bh1", "bh2"):
            found[f"diffusers UniPC-{order} {kind}"] = (
                (
                    lambda o=order, k=kind: diffusers(
                        "UniPCMultistepScheduler", last=EDGE * (k == "bh1"), solver_order=o, solver_type=k
                    )
                ),
                1,
            )
        found[f"diffusers DEIS-{order}"] = (
            (lambda o=order: diffusers("DEISMultistepScheduler", last=EDGE, solver_order=o)),
            1,
        )
    found["diffusers FlowMatchEuler"] = (lambda: diffusers_flow("FlowMatchEulerDiscreteScheduler")), 1
    return found

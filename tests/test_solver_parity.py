"""Our solvers beside independent implementations: the same model, the same grid, float64.

diffusers keeps its own sigma table and casts to float32 inside `step`. Its arithmetic is what is compared here, so the
table is replaced by ours and the cast by float64; nothing else of it is touched. Its sigma is our sigma/alpha on paths with
alpha² + sigma² = 1, and our 1 - t on the linear path. Its "noise" is our x_0, its "sample" our x_1, its velocity -u.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import pathline as pl
from pathline.predictions import DATA, NOISE
from pathline.solvers import LOG_SNR, RATIO, Bound, EDMChurn, Multistep, Noise, RungeKutta, SDEMultistep, Tableau
from pathline.solvers.exponential import midpoint_moment, plain_moment
from pathline.testing import laws, oracles

TRIG, LINEAR, EDM = (pl.AffinePath(s) for s in (pl.Trig(), pl.Linear(), pl.EDM()))
# not too short, not evenly spaced, and away from the ends, where diffusers divides by zero
GRID = 0.04 + 0.93 * torch.linspace(0.0, 1.0, 20, dtype=torch.float64) ** 0.8


def mixture(path: pl.AffinePath) -> Any:
    means = torch.tensor([[2.0, 0.0, 1.0], [-1.0, 1.0, 0.0], [0.0, -2.0, 0.5]]).double()
    return oracles.gaussian_mixture(means, torch.tensor([0.3, 0.5, 0.8]).double(), None, path)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(a: Tensor, b: Tensor, tolerance: float = 1e-10) -> None:
    assert a.dtype == b.dtype == torch.float64
    assert float((a - b).abs().max() / b.abs().max()) < tolerance


every_node = partial(Multistep, largest=math.inf)
"""Published multistep solvers extrapolate from all their nodes, however short the steps before were."""


class Float64Torch:
    """torch, with float64 where a module says float32."""

    float32 = torch.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def scheduler(monkeypatch: pytest.MonkeyPatch, module: str, name: str, sigmas: Tensor, **config: Any) -> Any:
    """A diffusers scheduler that walks down ``sigmas`` in float64."""
    diffusers = pytest.importorskip("diffusers", reason="the parity tests compare with diffusers")
    made = getattr(diffusers, name)(**config)
    monkeypatch.setattr(__import__(f"diffusers.schedulers.{module}", fromlist=["torch"]), "torch", Float64Torch())
    made.set_timesteps(len(sigmas) - 1)
    made.sigmas = sigmas
    made.timesteps = torch.arange(len(sigmas) - 1, 0, -1)
    made._step_index = 0
    return made


def drive(step: Any, field: Any, reading: Callable[[Any], Tensor], x: Tensor, grid: Tensor, **extra: Any) -> Tensor:
    """Run their scheduler with our exact field as the network."""
    for i, t in enumerate(grid[:-1]):
        more = {name: values[i] for name, values in extra.items()}
        x = step.step(reading(field(x, t)), step.timesteps[i], x, **more).prev_sample
    return x


def ratio(path: pl.AffinePath, grid: Tensor) -> Tensor:
    c = path.schedule(grid)
    return c.sigma / c.alpha


def multistep_dpm(monkeypatch: pytest.MonkeyPatch, path: pl.AffinePath, **config: Any) -> Any:
    flow = path is LINEAR
    sigmas = 1.0 - GRID if flow else ratio(path, GRID)
    return scheduler(
        monkeypatch,
        "scheduling_dpmsolver_multistep",
        "DPMSolverMultistepScheduler",
        sigmas,
        prediction_type="epsilon",
        use_flow_sigmas=flow,
        lower_order_final=False,
        final_sigmas_type="sigma_min",
        **config,
    )


def theirs_reads(path: pl.AffinePath) -> Callable[[Any], Tensor]:
    return (lambda e: -e.velocity) if path is LINEAR else (lambda e: e.noise)


@pytest.mark.parametrize("path", [TRIG, LINEAR], ids=["vp", "flow"])
@pytest.mark.parametrize(
    ("kind", "rule", "row", "moment"),
    [
        ("dpmsolver++", "midpoint", DATA, midpoint_moment),
        ("dpmsolver++", "heun", DATA, None),
        ("dpmsolver", "midpoint", NOISE, midpoint_moment),
        ("dpmsolver", "heun", NOISE, None),
    ],
)
def test_dpm_solver_2(
    monkeypatch: pytest.MonkeyPatch, path: pl.AffinePath, kind: str, rule: str, row: Any, moment: Any
) -> None:
    """diffusers' "heun" is the exact integral of the line through two predictions, its "midpoint" the midpoint rule."""
    field, x = mixture(path), noise(8, 3)
    theirs = drive(
        multistep_dpm(monkeypatch, path, algorithm_type=kind, solver_type=rule, solver_order=2),
        field,
        lambda e: e.noise,
        x,
        GRID,
    )
    close(pl.integrate(field, x, every_node(row, LOG_SNR, 2, moment=moment), GRID), theirs)


def test_dpm_solver_3_of_diffusers_lacks_half_of_the_second_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through D_0, D_1, D_2 at lambda_0 > lambda_1 > lambda_2 goes D_0 + D1 r + D2 r², r = (lambda - lambda_0)/h, and D2 counts
    with 2 phi_3; diffusers, like the published listing, takes phi_3, and so has order 2. The law that proves it: a
    prediction quadratic in lambda is integrated exactly by a method of three nodes."""
    grid = torch.tensor([0.2, 0.35, 0.55, 0.7], dtype=torch.float64)
    log_snr, c = TRIG.schedule.log_snr(grid), TRIG.schedule(grid)
    x = noise(4, 3)

    def primitive(v: Tensor) -> Tensor:  # of e^v v²
        return torch.exp(v) * (v**2 - 2.0 * v + 2.0)

    exact = c.sigma[3] * (x / c.sigma[2] + primitive(log_snr[3]) - primitive(log_snr[2]))
    field = pl.Field(lambda v, t: TRIG.schedule.log_snr(t) ** 2 * torch.ones_like(v), TRIG, DATA)
    solver, state = pl.SOLVERS["dpmpp_3m"], None
    for t, s in itertools.pairwise(grid):
        ours, state = solver.step(field, x, t, s, state)
    close(ours, exact, 1e-13)

    monkeypatch.setattr("test_solver_parity.GRID", grid)
    step = multistep_dpm(monkeypatch, TRIG, algorithm_type="dpmsolver++", solver_type="heun", solver_order=3)
    step._step_index = 2
    past = [v**2 * torch.ones_like(x) for v in log_snr[:3]]
    theirs = step.multistep_dpm_solver_third_order_update(past, sample=x)
    h = log_snr[3] - log_snr[2]
    second = h**2 * torch.ones_like(x)  # D2 of v² is h²
    lost = 0.5 * (1.0 - 2.0 * (torch.exp(-h) - 1.0 + h) / h**2) * c.alpha[3] * second
    close(theirs + lost, exact, 1e-12)
    assert float((theirs - exact).abs().max()) > 0.01


def unipc(monkeypatch: pytest.MonkeyPatch, path: pl.AffinePath, order: int, **config: Any) -> Any:
    flow = path is LINEAR
    return scheduler(
        monkeypatch,
        "scheduling_unipc_multistep",
        "UniPCMultistepScheduler",
        1.0 - GRID if flow else ratio(path, GRID),
        solver_order=order,
        prediction_type="flow_prediction" if flow else "epsilon",
        use_flow_sigmas=flow,
        final_sigmas_type="sigma_min",
        **config,
    )


@pytest.mark.parametrize("path", [TRIG, LINEAR], ids=["vp", "flow"])
@pytest.mark.parametrize("last", [None, 1])
@pytest.mark.parametrize(("kind", "moment"), [("bh1", plain_moment), ("bh2", midpoint_moment)])
@pytest.mark.parametrize("order", [2, 3])
def test_unipc(
    monkeypatch: pytest.MonkeyPatch, path: pl.AffinePath, order: int, kind: str, moment: Any, last: int | None
) -> None:
    """``last=1`` is diffusers' lower_order_final."""
    field, x = mixture(path), noise(8, 3)
    step = unipc(monkeypatch, path, order, solver_type=kind, lower_order_final=last == 1)
    theirs = drive(step, field, theirs_reads(path), x, GRID)
    solver = every_node(DATA, LOG_SNR, order, corrector=True, moment=moment, last=last)
    close(pl.integrate(field, x, solver, GRID), theirs, 1e-9)
    if last is None:
        name = f"unipc{order}" + ("_bh1" if kind == "bh1" else "")
        assert replace(pl.SOLVERS[name], largest=math.inf) == solver


def test_unipc_of_noise_predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    field, x = mixture(TRIG), noise(8, 3)
    step = unipc(monkeypatch, TRIG, 3, solver_type="bh2", lower_order_final=False, predict_x0=False)
    theirs = drive(step, field, lambda e: e.noise, x, GRID)
    solver = every_node(NOISE, LOG_SNR, 3, corrector=True, moment=midpoint_moment)
    close(pl.integrate(field, x, solver, GRID), theirs, 1e-9)


def test_dpmpp_3m_is_unipc_without_its_corrector(monkeypatch: pytest.MonkeyPatch) -> None:
    """The right third order of diffusers: UniP-3, solved from the order conditions."""
    field, x = mixture(TRIG), noise(8, 3)
    step = unipc(
        monkeypatch, TRIG, 3, solver_type="bh2", lower_order_final=False, disable_corrector=list(range(len(GRID)))
    )
    theirs = drive(step, field, lambda e: e.noise, x, GRID)
    close(pl.integrate(field, x, every_node(DATA, LOG_SNR, 3, moment=midpoint_moment), GRID), theirs, 1e-9)


@pytest.mark.parametrize("order", [2, 3])
def test_deis(monkeypatch: pytest.MonkeyPatch, order: int) -> None:
    """diffusers' DEIS is polynomial in log(sigma/alpha), so it is our (noise, log-SNR): multistep DPM-Solver.

    With flow sigmas it repeats the last sigma and never removes the rest of the noise (a point mass is missed), so
    only its other mode is compared.
    """
    field, x = mixture(TRIG), noise(8, 3)
    step = scheduler(
        monkeypatch,
        "scheduling_deis_multistep",
        "DEISMultistepScheduler",
        ratio(TRIG, GRID),
        solver_order=order,
        lower_order_final=False,
    )
    theirs = drive(step, field, lambda e: e.noise, x, GRID)
    close(pl.integrate(field, x, every_node(NOISE, LOG_SNR, order), GRID), theirs, 1e-9)


def test_lms(monkeypatch: pytest.MonkeyPatch) -> None:
    """The linear multistep method in sigma/alpha; theirs integrates the Lagrange polynomials by quadrature to 1e-4 only."""
    field, x = mixture(TRIG), noise(8, 3)
    step = scheduler(
        monkeypatch, "scheduling_lms_discrete", "LMSDiscreteScheduler", ratio(TRIG, GRID), prediction_type="epsilon"
    )
    scaled = x / TRIG.schedule(GRID[0]).alpha
    for i, t in enumerate(GRID[:-1]):
        step.is_scale_input_called = True
        estimate = field(scaled * TRIG.schedule(t).alpha, t)
        scaled = step.step(estimate.noise, step.timesteps[i], scaled, order=4).prev_sample
    close(pl.integrate(field, x, every_node(NOISE, RATIO, 4), GRID), scaled * TRIG.schedule(GRID[-1]).alpha, 1e-6)


class Given(Noise):
    """Draws that are known beforehand."""

    def __init__(self, draws: Tensor) -> None:
        self.draws: Iterator[Tensor] = iter(draws)

    def normal(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return next(self.draws)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("rule", ["midpoint", "heun"])
def test_sde_dpm_solver(monkeypatch: pytest.MonkeyPatch, order: int, rule: str) -> None:
    field, x, draws = mixture(TRIG), noise(8, 3), noise(len(GRID), 8, 3, seed=1)
    step = multistep_dpm(monkeypatch, TRIG, algorithm_type="sde-dpmsolver++", solver_type=rule, solver_order=order)
    theirs = drive(step, field, lambda e: e.noise, x, GRID, variance_noise=draws)
    solver = SDEMultistep(order, moment=midpoint_moment if rule == "midpoint" else None)
    close(pl.integrate(field, x, solver, GRID, noise=Given(draws)), theirs)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_ddim(eta: float) -> None:
    """DDIM at eta = 0 and ancestral sampling at eta = 1, to the step alphas_cumprod = 1 at the end."""
    diffusers = pytest.importorskip("diffusers", reason="the parity tests compare with diffusers")
    grid = torch.cat([GRID, torch.ones(1, dtype=torch.float64)])
    field, x, draws = mixture(TRIG), noise(8, 3), noise(len(grid), 8, 3, seed=1)
    steps = len(grid) - 1
    theirs = diffusers.DDIMScheduler(num_train_timesteps=steps, clip_sample=False, timestep_spacing="leading")
    theirs.set_timesteps(steps)
    theirs.alphas_cumprod = TRIG.schedule(grid[:-1]).alpha.flip(0) ** 2
    theirs.final_alpha_cumprod = torch.ones((), dtype=torch.float64)
    end = x
    for i, t in enumerate(grid[:-1]):
        k = int(theirs.timesteps[i])
        output = field(end, t).noise
        end = theirs.step(output, k, end, eta=eta, variance_noise=draws[i] if eta else None).prev_sample
    ours = pl.integrate(field, x, "ancestral" if eta else "ddim", grid, noise=Given(draws))
    close(ours, end)


def sigma_grid(steps: int) -> Tensor:
    """Karras et al. 2022, equation 5, typed from the paper."""
    i = torch.arange(steps, dtype=torch.float64)
    root = 80.0 ** (1 / 7) + i / (steps - 1) * (0.002 ** (1 / 7) - 80.0 ** (1 / 7))
    return torch.cat([root**7, torch.zeros(1, dtype=torch.float64)])


def test_edm_euler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Euler in sigma with EDM's preconditioned network, including the last step to sigma = 0."""
    steps = 18
    sigmas = sigma_grid(steps)
    step = scheduler(monkeypatch, "scheduling_edm_euler", "EDMEulerScheduler", sigmas, sigma_data=0.5)
    step.timesteps = step.timesteps.double()
    field = laws.exact_net(mixture(EDM), pl.edm_f(0.5))
    grid = pl.times.uniform().grid(steps - 1)
    x = noise(8, 3)
    theirs = 80.0 * x
    for i, t in enumerate(grid):
        step.is_scale_input_called = True
        theirs = step.step(field(theirs, t).value, step.timesteps[i], theirs).prev_sample
    close(pl.sample(field, x, solver="ddim", grid=grid), theirs, 1e-9)


def test_heun_discrete(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heun in sigma for x/alpha, ending with an Euler step to sigma = 0: EDM's sampler without churn."""
    steps = 12
    sigmas = sigma_grid(steps)
    doubled = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
    step = scheduler(monkeypatch, "scheduling_heun_discrete", "HeunDiscreteScheduler", doubled)
    field, x, grid = mixture(EDM), noise(8, 3), pl.times.uniform().grid(steps - 1)
    theirs, evaluated = 80.0 * x, torch.cat([grid[:1], grid[1:].repeat_interleave(2)])
    for i, t in enumerate(evaluated):
        theirs = step.step(field(theirs, t).noise, step.timesteps[i], theirs).prev_sample
    close(pl.sample(field, x, solver=EDMChurn(s_churn=0.0), grid=grid), theirs, 1e-9)


@pytest.mark.parametrize(("module", "name", "solver"), [("euler", "Euler", "euler"), ("heun", "Heun", "heun")])
def test_flow_match(monkeypatch: pytest.MonkeyPatch, module: str, name: str, solver: str) -> None:
    """Their sigma is 1 - t and they walk it down: the same flow. Theirs ends with a step from sigma 1e-3 to 0 if left to
    itself, on which it wastes an evaluation; with the same grid the arithmetic is the same."""
    grid = GRID
    sigmas = 1.0 - grid
    if solver == "heun":
        sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
        evaluated = torch.cat([grid[:1], grid[1:-1].repeat_interleave(2), grid[-1:]])[:-1]
        evaluated = torch.cat([grid[:1], grid[1:].repeat_interleave(2)])[: 2 * (len(grid) - 1)]
        sigmas = torch.cat([sigmas, sigmas[-1:]])
    else:
        evaluated = grid[:-1]
    step = scheduler(
        monkeypatch, f"scheduling_flow_match_{module}_discrete", f"FlowMatch{name}DiscreteScheduler", sigmas
    )
    field, x = mixture(LINEAR), noise(8, 3)
    step.timesteps = step.timesteps.double()
    theirs = drive(step, field, lambda e: -e.velocity, x, torch.cat([evaluated, grid[-1:]]))
    close(pl.integrate(field, x, solver, grid), theirs)


THREE_EIGHTHS = Tableau(
    ((), (1 / 3,), (-1 / 3, 1.0), (1.0, -1.0, 1.0)), (1 / 8, 3 / 8, 3 / 8, 1 / 8), (0.0, 1 / 3, 2 / 3, 1.0)
)


@pytest.mark.parametrize(
    ("method", "solver"),
    [("rk4", RungeKutta(THREE_EIGHTHS, 4)), ("euler", "euler"), ("midpoint", "midpoint"), ("heun2", "heun")],
)
def test_torchdiffeq_fixed(method: str, solver: Any) -> None:
    """torchdiffeq's "rk4" is the 3/8 rule, so that is the tableau compared; ours is the classical one."""
    torchdiffeq = pytest.importorskip("torchdiffeq", reason="the parity tests compare with torchdiffeq")
    field, x = mixture(LINEAR), noise(8, 3)
    end = torchdiffeq.odeint(lambda t, v: field(v, t).velocity, x, GRID, method=method)[-1]
    close(pl.integrate(field, x, solver, GRID), end)


@pytest.mark.parametrize("name", ["dopri5", "tsit5"])
def test_torchdiffeq_adaptive(name: str) -> None:
    """At tight tolerances both are the flow; one step size for the batch costs torchdiffeq more evaluations."""
    torchdiffeq = pytest.importorskip("torchdiffeq", reason="the parity tests compare with torchdiffeq")
    field, x = mixture(LINEAR), noise(16, 3)
    asked = torch.tensor([0.0, 0.3, 0.7, 1.0], dtype=torch.float64)
    theirs = torchdiffeq.odeint(
        lambda t, v: field.evaluate(v, t).velocity, x, asked, method="dopri5", rtol=1e-10, atol=1e-10
    )
    solver = getattr(pl.solvers, name)(rtol=1e-10, atol=1e-10)
    ours = pl.solve(field, x, solver=solver, grid=asked).trajectory
    close(ours, theirs, 1e-7)
    # the same 5(4) pair: on a single sample the work is about the same
    calls = 0

    def counted(t: Tensor, v: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return field.evaluate(v, t).velocity  # it steps beyond the last time, where our fields refuse to be asked

    torchdiffeq.odeint(counted, x[:1], asked[[0, -1]], method="dopri5", rtol=1e-8, atol=1e-8)
    solver = getattr(pl.solvers, name)(rtol=1e-8, atol=1e-8)
    assert pl.solve(field, x[:1], solver=solver, grid=asked[[0, -1]]).evaluations < 1.5 * calls


@pytest.mark.parametrize("s_churn", [0.0, 10.0, 100.0])
def test_edm_algorithm_2(s_churn: float) -> None:
    """Karras et al. 2022, algorithm 2, typed from the paper on D(x; sigma); the last step to sigma = 0 is our jump to the data."""
    steps, s_min, s_max, s_noise = 18, 0.05, 50.0, 1.003
    exact, draws, x_0 = mixture(EDM), noise(steps, 8, 3, seed=1), noise(8, 3)
    sigmas = sigma_grid(steps)
    supply = iter(draws)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return exact(x, EDM.schedule.t_of_logsnr(-torch.log(sigma)).clamp(0.0, 1.0)).data

    x = 80.0 * x_0
    for i in range(steps):
        t, t_next = sigmas[i], sigmas[i + 1]
        gamma = min(s_churn / steps, 2.0**0.5 - 1.0) if s_min <= t <= s_max else 0.0
        t_hat = t + gamma * t
        if gamma > 0.0:
            x = x + (t_hat**2 - t**2).sqrt() * s_noise * next(supply)
        d = (x - denoise(x, t_hat)) / t_hat
        x_next = x + (t_next - t_hat) * d
        if t_next != 0.0:
            d_next = (x_next - denoise(x_next, t_next)) / t_next
            x_next = x + (t_next - t_hat) * (0.5 * d + 0.5 * d_next)
        x = x_next
    solver = EDMChurn(s_churn=s_churn, s_min=s_min, s_max=s_max, s_noise=s_noise)
    grid = pl.times.uniform().grid(steps - 1)
    bound = Bound(exact)
    state = solver.start(bound, x_0, grid, Given(draws))
    ours = 80.0 * x_0
    for t, s in itertools.pairwise(grid):
        ours, state = solver.step(bound, ours, t, s, state)
    ours = bound(ours, grid[-1]).data
    close(ours, x, 1e-9)
    assert bound.calls == 2 * steps - 1

"""What a setting means: its equations with their theory ids, where its prediction is singular, and the Python that does the same."""

import torch

from pathline.playground import coupled
from pathline.playground.coupled import COUPLINGS, INDEPENDENT, NOISE, REFLOWED
from pathline.playground.settings import DRAWN, GRIDS, PREDICTIONS, SCHEDULES, WITH_ETA, Points, Setting
from pathline.predictions import VELOCITY, conversion
from pathline.schedules import Coefs
from pathline.solvers import SOLVERS, EDMChurn, Multistep, RungeKutta, SDEMultistep, Singlestep

PATHS = {
    "linear": r"\alpha_t = t,\quad \sigma_t = 1 - t \tag{T12, T21}",
    "trigonometric": r"\alpha_t = \sin\tfrac{\pi t}{2},\quad \sigma_t = \cos\tfrac{\pi t}{2} \tag{T23}",
    "cosine": r"\alpha_t = \frac{\sin(\omega t)}{\cos\theta_0},\quad \sigma_t = \sqrt{1-\alpha_t^2},\quad \omega = \frac{\pi/2}{1.008} \tag{T23}",
    "VP": r"\alpha_t = e^{-B(1-t)/2},\quad \sigma_t = \sqrt{1-\alpha_t^2},\quad B(s) = 0.1\,s + 9.95\,s^2 \tag{T22}",
    "polynomial, n = 2": r"\alpha_t = t^2,\quad \sigma_t = 1 - t^2 \tag{T23}",
    "DDPM table": r"\alpha_t = \sqrt{\bar\alpha_{1000(1-t)}},\quad \sigma_t = \sqrt{1-\alpha_t^2} \tag{T25}",
    "VE, 0.02 to 20": r"\alpha_t = 1,\quad \sigma_t = 0.02 \cdot 1000^{\,1-t} \tag{T24}",
    "EDM": r"\alpha_t = 1,\quad \sigma_t = \big(\sigma_{\min}^{1/7} + (1-t)(\sigma_{\max}^{1/7} - \sigma_{\min}^{1/7})\big)^7 \tag{T24}",
}
ROWS = {
    "velocity": r"u = \dot\alpha_t\,\mathbb E[x_1\mid x_t] + \dot\sigma_t\,\mathbb E[x_0\mid x_t]",
    "data": r"D = \mathbb E[x_1 \mid x_t] = \sum_i \operatorname{softmax}_i\!\Big(\!-\frac{|x_t-\alpha_t z_i|^2}{2\sigma_t^2}\Big)\,z_i",
    "noise": r"E = \mathbb E[x_0 \mid x_t] = (x_t - \alpha_t D)/\sigma_t",
    "score": r"s = \nabla\log p_t(x_t) = -E/\sigma_t",
    "v": r"v = \alpha_t\,E - \sigma_t\,D",
    "displacement": r"d = D - E = \mathbb E[x_1 - x_0 \mid x_t]",
}
PAIRED = (
    r"$$\mathbb E[x_1 - x_0 \mid x_t] = \sum_i \operatorname{softmax}_i\!\Big(\!-\frac{|x_t - \alpha_t b_i - \sigma_t a_i|^2}"
    r"{2 (\alpha_t^2 s_1^2 + \sigma_t^2 s_0^2)}\Big)\,(\dots)_i \tag{T9}$$"
)
"""The posterior over pairs (a_i, b_i) whose ends are smoothed by s_0 and s_1."""
STEPS = {
    "euler": r"x_{t+h} = x_t + h\,u_t(x_t) \tag{T4, order 1}",
    "heun": r"\hat x = x_t + h\,u_t(x_t),\quad x_{t+h} = x_t + \tfrac h2\big(u_t(x_t) + u_{t+h}(\hat x)\big) \tag{T4, order 2}",
    "midpoint": r"x_{t+h} = x_t + h\,u_{t+h/2}\big(x_t + \tfrac h2 u_t(x_t)\big) \tag{T4, order 2}",
    "rk4": r"x_{t+h} = x_t + \tfrac h6(k_1 + 2k_2 + 2k_3 + k_4) \tag{T4, order 4}",
    "ddim": r"\frac{x_s}{\sigma_s} = \frac{x_t}{\sigma_t} + \Big(\frac{\alpha_s}{\sigma_s} - \frac{\alpha_t}{\sigma_t}\Big) D \tag{T37}",
}


def equations(setting: Setting, source: str = NOISE) -> str:
    """Markdown: the path, what moves a particle, what the network predicts, the step of the solver, the guidance."""
    solver = setting.make_solver()
    moves = r"\frac{dx_t}{dt} = u_t(x_t) \tag{T1, T9}"
    if setting.solver in WITH_ETA:
        moves = r"dx_t = \big(u_t(x_t) + \eta_t\,\nabla\log p_t(x_t)\big)\,dt + \sqrt{2\eta_t}\,dW_t \tag{T14}"
    lines = [
        "**Path**", r"$$x_t = \alpha_t x_1 + \sigma_t x_0 \tag{T11}$$", rf"$${PATHS[setting.schedule]}$$",
        "**Particles follow**", f"$${moves}$$", _eta(setting),
        "**The network predicts** " + setting.prediction, rf"$${ROWS[setting.prediction]} \tag{{T16, T17}}$$", singular(setting),
        f"**One step of** `{setting.solver}`",
    ]  # fmt: skip
    if setting.coupling != INDEPENDENT or source != NOISE:
        lines[3:3] = ["**Pairs**", f"{source} to data, {COUPLINGS[setting.coupling].told}.", PAIRED]
    if setting.solver in STEPS:
        lines.append(f"$${STEPS[setting.solver]}$$")
    else:
        lines.append(_family(solver))
    if setting.guidance != 1.0:
        w = f"{setting.guidance:g}"
        lines += ["**Guidance**", rf"$$\tilde u = (1 - w)\,u_t(x_t) + w\,u_t(x_t \mid y),\quad w = {w} \tag{{T33}}$$"]
    return "\n\n".join(line for line in lines if line)


def _eta(setting: Setting) -> str:
    if setting.solver not in WITH_ETA:
        return ""
    named = {
        "zero": r"\eta_t = 0", "constant": r"\eta_t = 1", "sigma": r"\eta_t = \sigma_t", "churn": r"\eta_t = \sigma_t^2",
        "reverse": r"\eta_t = \frac{\dot\alpha_t}{\alpha_t}\sigma_t^2 - \dot\sigma_t\sigma_t",
    }  # fmt: skip
    rate = setting.noise_rate()
    told = named[rate] if isinstance(rate, str) else rf"\eta_t = {rate:g}"
    return f"with ${told}$; a step exchanges at most half of the noise. Every $\\eta$ keeps the marginals $p_t$; 0 is the ODE."


def _family(solver: object) -> str:
    if isinstance(solver, (Multistep, SDEMultistep, Singlestep)):
        kind = "evaluations within the step" if isinstance(solver, Singlestep) else "past evaluations"
        noise = ", with fresh noise in the exact share" if isinstance(solver, SDEMultistep) else ""
        return (
            rf"$$x_s = D_s\Big(\frac{{x_t}}{{D_t}} + \sum_j p_j \int_t^s \ell_j\,\frac{{D_u^{{\rm vel}}}}{{D_u^2}}\,du\Big) \tag{{T36}}$$"
            f"\n\nThe integral is exact; a polynomial through {kind} stands for the prediction $p${noise}."
        )
    if isinstance(solver, RungeKutta):
        return rf"Runge–Kutta of order {solver.order}, {solver.evaluations(1)} evaluations a step (T4)."
    if isinstance(solver, EDMChurn):
        return "Noise is raised a little by fresh noise, then a Heun step in $\\sigma$ takes it down again (T38)."
    if getattr(solver, "adaptive", False):
        return "Steps as long as an embedded error estimate allows; the budget of evaluations is not used (T4)."
    return f"Order {getattr(solver, 'order', 1)} (T5)."


def singular(setting: Setting) -> str:
    """Where reading the velocity from the prediction divides by zero: the limits of |D'/D| at both ends (T17)."""
    prediction = PREDICTIONS[setting.prediction][1]
    if prediction is VELOCITY:
        return "The velocity is what solvers of the ODE read: nothing is converted."
    ends = []
    for t, name in ((0.0, "t = 0"), (1.0, "t = 1")):
        near = abs(t - 1e-6)
        if factor(setting, near) > 1e3:
            ends.append(name)
    if not ends:
        return "Its conversion to the velocity is finite at both ends."
    return f"To read the velocity from it divides by zero at **{' and '.join(ends)}**: an error of the network is magnified without bound there."


def factor(setting: Setting, t: float) -> float:
    """|D_velocity/D|: by how much an error of the prediction counts in the velocity (T18)."""
    coefs = setting.path.schedule(torch.tensor(t, dtype=torch.float64))
    told = Coefs(*(float(c) for c in coefs))
    return abs(float(conversion(told, PREDICTIONS[setting.prediction][1], VELOCITY, 1e-12)[1]))


def code(points: Points, setting: Setting) -> str:
    """Python that repeats the play: the same noise, the same particles."""
    schedule, (name, prediction) = SCHEDULES[setting.schedule][0], PREDICTIONS[setting.prediction]
    labelled = points.y is not None and setting.coupling != REFLOWED
    lines = ["import torch, pathline as pl", ""]
    if points.name == DRAWN:
        lines.append(f"x = torch.tensor({[[round(v, 2) for v in row] for row in points.x.tolist()]})")
        lines += [] if points.y is None else [f"y = torch.tensor({points.y.tolist()})"]
        data, labels = "x", "y"
    else:
        lines.append(f'data = pl.data.toy("{points.name}", n={len(points.x)}, seed={points.seed})')
        data, labels = "data.x", "data.y"
    lines.append(f"path = pl.AffinePath({schedule})")
    lines += coupled.code(points, setting.coupling, data, "" if points.y is None else labels)
    if prediction is not VELOCITY:
        condition, given = (", y=None", ", y=y") if labelled else ("", "")
        lines[-1] = lines[-1].replace("field = ", "exact = ")
        lines.append(f"field = pl.Field(lambda x, t{condition}: exact(x, t{given}).read({name}), path, {name})")
    solver = f'"{setting.solver}"'
    if setting.solver in WITH_ETA:
        solver = f"{WITH_ETA[setting.solver][0]}(eta={setting.noise_rate()!r})"
    budget = "steps=32" if setting.adaptive else f"evaluations={setting.evaluations}"
    more = ["" if setting.grid == "uniform" else f"grid={GRIDS[setting.grid][0].format(path='path')}"]
    more.append("" if setting.guidance == 1.0 else f"guidance={setting.guidance:g}")
    more.append("" if setting.label is None else f"y={setting.label}")
    options = ", ".join([f"solver={solver}", budget, *(word for word in more if word)])
    draw = f"torch.Generator().manual_seed({setting.seed})"
    if points.source is None:
        lines.append(f"solution = pl.solve(field, ({setting.particles}, 2), {options}, generator={draw})")
    else:
        lines += [f"draw = {draw}", f"x_0 = {coupled.draw_code(points.source, setting.particles)}"]
        lines.append(f"solution = pl.solve(field, x_0, {options})")
    return "\n".join(lines) + "\n"


def solver_choices() -> list[str]:
    """Every solver of the registry; the tests play each of them."""
    return list(SOLVERS)

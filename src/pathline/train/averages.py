"""Several averages of one run, their snapshots, and any other length made of these afterwards (EDM2, appendix C)."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from pathline._errors import nearest
from pathline.train import checkpoint
from pathline.train.ema import EMA, Law, Power, make_law, make_laws
from pathline.train.parallel import whole_state
from pathline.train.processes import Processes

SNAPSHOTS = "averages"
DEFAULT = (Power(0.05), Power(0.1))
"""What snapshots are taken of unless the run names power averages of its own."""
PREFIX = "ema-"
CONDITION = 1e-12


class Averages:
    """The averages that a run keeps beside the one that samples; `store` writes snapshots of the power ones."""

    def __init__(self, net: nn.Module, also: str, *, every: int = 1, snapshots: int = 0) -> None:
        laws = make_laws(also)
        if snapshots and not any(isinstance(law, Power) for law in laws):
            laws = (*laws, *DEFAULT)
        self.snapshots = snapshots
        self.all = [EMA(net, law, every=every) for law in laws]

    def update(self, k: int) -> None:
        """Average in the weights after step ``k``."""
        for average in self.all:
            average.update(k)

    def states(self) -> dict[str, dict[str, Tensor]]:
        """State by file name, ready for a checkpoint."""
        return {PREFIX + average.law.label: average.net.state_dict() for average in self.all}

    def restore(self, found: checkpoint.Checkpoint) -> None:
        """Take on what `states` saved."""
        for name, state in self.states().items():
            checkpoint.copy_state(state, found.tensors[name], found.path / f"{name}.safetensors")

    def store(self, out: Path, k: int, processes: "Processes | None" = None) -> None:
        """Write the power averages of step ``k`` below the run folder, if a snapshot is due: the first process does."""
        if not self.snapshots or k % self.snapshots:
            return
        processes = Processes(torch.device("cpu")) if processes is None else processes
        powers = [average for average in self.all if isinstance(average.law, Power)]
        states = {
            PREFIX + average.law.label: whole_state(average.net.state_dict(), keep=processes.first)
            for average in powers
        }
        facts = {
            "sigma_rels": [average.law.sigma_rel for average in powers if isinstance(average.law, Power)],
            "buffers": [name for name, _ in powers[0].net.named_buffers()],
        }
        processes.once(lambda: checkpoint.save(out / SNAPSHOTS, k, states, facts, keep=None) and None)


def overlap(t_a: Tensor, gamma_a: Tensor, t_b: Tensor, gamma_b: Tensor) -> Tensor:
    """The integral of the product of two power profiles, ending at t_a and t_b; broadcasts.

    With t the earlier end, T the later one and gamma, Gamma their exponents:
    (gamma + 1)(Gamma + 1)/(gamma + Gamma + 1) · (t/T)^Gamma / T.
    """
    first = t_a <= t_b
    t, late = torch.where(first, t_a, t_b), torch.where(first, t_b, t_a)
    late_gamma = torch.where(first, gamma_b, gamma_a)
    return (gamma_a + 1) * (gamma_b + 1) / (gamma_a + gamma_b + 1) * (t / late) ** late_gamma / late


def mixture(steps: Sequence[int], sigma_rels: Sequence[float], end: int, sigma_rel: float) -> Tensor:
    """Weights of the snapshots (step, sigma_rel) whose sum is closest to the power profile of ``sigma_rel`` at ``end``.

    Least squares of the profiles as functions of the step, by their `overlap`: A c = b.
    """
    t = torch.tensor([float(k) for k in steps], dtype=torch.float64) / end
    gamma = torch.tensor([Power(s).gamma for s in sigma_rels], dtype=torch.float64)
    target = torch.tensor(Power(sigma_rel).gamma, dtype=torch.float64)
    gram = overlap(t[:, None], gamma[:, None], t[None], gamma[None])
    aims = overlap(t, gamma, torch.ones_like(target), target)
    return torch.linalg.lstsq(gram, aims[:, None], rcond=CONDITION, driver="gelsd").solution[:, 0]


def reconstruct(out: "str | Path", sigma_rel: float, *, step: "int | None" = None) -> dict[str, Tensor]:
    """The state of the net averaged with the power profile of ``sigma_rel``, from the snapshots of a run.

    Args:
        out: the run folder, of a run with ``ema_snapshots``.
        sigma_rel: length of the average as a share of the run.
        step: the snapshot that the average ends at; the last one if None.

    Returns:
        A state dict: parameters averaged in float64, buffers of the last snapshot.

    Raises:
        FileNotFoundError: there are no snapshots.
        ValueError: none at ``step``, or a sigma_rel out of range.
    """
    folder = Path(out) / SNAPSHOTS
    paths = {int(p.name.removeprefix(checkpoint.PREFIX)): p for p in checkpoint.list_checkpoints(folder)}
    if not paths:
        raise FileNotFoundError(f"{folder} holds no snapshots: train with ema_snapshots, the steps between them")
    end = max(paths) if step is None else step
    if end not in paths:
        raise ValueError(f"{folder} has no snapshot of step {step}: {nearest(str(step), list(map(str, paths)))}")
    steps = sorted(k for k in paths if k <= end)
    told = {k: checkpoint.load(paths[k], ()).facts for k in steps}
    pairs = [(k, sigma) for k in steps for sigma in told[k]["sigma_rels"]]
    weights = mixture([k for k, _ in pairs], [s for _, s in pairs], end, sigma_rel)
    by_step: dict[int, list[tuple[float, float]]] = {}
    for (k, sigma), weight in zip(pairs, weights.tolist()):
        by_step.setdefault(k, []).append((sigma, weight))
    sums: dict[str, Tensor] = {}
    last: dict[str, Tensor] = {}
    for k, terms in by_step.items():
        names = tuple(PREFIX + Power(sigma).label for sigma, _ in terms)
        found = checkpoint.load(paths[k], names).tensors
        for name, (_, weight) in zip(names, terms):
            for key, value in found[name].items():
                if value.is_floating_point() and key not in told[end]["buffers"]:
                    sums[key] = sums.get(key, torch.zeros_like(value, dtype=torch.float64)) + weight * value.double()
        last = found[names[-1]]
    return {key: sums[key].to(value.dtype) if key in sums else value for key, value in last.items()}


def stored_average(out: Path, found: checkpoint.Checkpoint, text: str) -> dict[str, Tensor]:
    """The average called ``text`` of a run: one that the checkpoint keeps, or a power average made of snapshots."""
    law: Law = make_law(text)
    name = PREFIX + law.label
    if name in found.tensors:
        return found.tensors[name]
    if isinstance(law, Power):
        return reconstruct(out, law.sigma_rel)
    kept = sorted(p.stem.removeprefix(PREFIX) for p in found.path.glob(f"{PREFIX}*.safetensors"))
    raise ValueError(
        f"{out} keeps no average {text!r}: it has {', '.join(kept) or 'none'} beside the main one; "
        "an exponential average cannot be made afterwards"
    )

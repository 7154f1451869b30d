"""What a checkpoint of training holds, and back again."""

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pathline.train import checkpoint
from pathline.train.config import plain
from pathline.train.order import derive_seed
from pathline.train.parallel import like, whole_state
from pathline.train.told import describe_net

if TYPE_CHECKING:
    from pathline.train.loop import Trainer
    from pathline.train.optimizers import Together


def pack(trainer: "Trainer") -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """(tensors by file, plain values) from which training goes on bit for bit; all processes are asked together."""
    moments, scalars = pack_optimizer(trainer.stepper.optimizer)
    parts = {
        "net": trainer.net.state_dict(),
        "ema": trainer.ema.net.state_dict(),
        "optimizer": moments,
        "randomness": _randomness(trainer),
        "progress": {"loss_sum": trainer.loss_sum, "bins": trainer.bins.sums},
        "standardizer": trainer.parts.standardizer.state(),
        **trainer.averages.states(),
    }
    tensors = {name: whole_state(state, keep=trainer.processes.first) for name, state in parts.items()}
    if trainer.origin is not None:
        tensors["source_standardizer"] = trainer.origin.standardizer.state()
    scaler = trainer.stepper.scaler
    facts = {
        "settings": plain(trainer.settings),
        "device": trainer.generator.device.type,
        "processes": trainer.processes.count,
        "net": describe_net(trainer.averaged),
        "data": trainer.describe(),
        "optimizer": scalars,
        "gradients": {**trainer.stepper.state(), "told": trainer.skipped},
        "scaler": None if scaler is None else scaler.state_dict(),
    }
    return tensors, facts


def restore(trainer: "Trainer", found: checkpoint.Checkpoint) -> None:
    """Put ``trainer`` into the state that was saved."""
    tensors = found.tensors
    checkpoint.copy_state(trainer.net.state_dict(), tensors["net"], found.path / "net.safetensors")
    checkpoint.copy_state(trainer.ema.net.state_dict(), tensors["ema"], found.path / "ema.safetensors")
    unpack_optimizer(trainer.stepper.optimizer, tensors["optimizer"], found.facts["optimizer"])
    trainer.averages.restore(found)
    first, processes = float(trainer.processes.first), trainer.processes.count  # the first holds the sums of all
    trainer.loss_sum.copy_(tensors["progress"]["loss_sum"] * (first * processes / found.facts.get("processes", 1)))
    trainer.bins.sums.copy_(tensors["progress"]["bins"] * first)
    trainer.stepper.restore(found.facts["gradients"])
    trainer.skipped = int(found.facts["gradients"]["told"])
    _restore_randomness(trainer, found)
    if found.facts["scaler"] is not None and trainer.stepper.scaler is not None:
        trainer.stepper.scaler.load_state_dict(found.facts["scaler"])
    trainer.step = found.step


def _randomness(trainer: "Trainer") -> dict[str, Tensor]:
    """States of the generators: of the first process by their names, of process 3 with .3 behind."""
    device = trainer.generator.device
    states = {"noise": trainer.generator.get_state(), "cpu": torch.random.get_rng_state()}
    if device.type == "cuda":
        states["cuda0"] = torch.cuda.get_rng_state(device)
    found = {}
    for name, state in states.items():
        for rank, told in enumerate(trainer.processes.gathered(state)):
            found[f"{name}.{rank}" if rank else name] = told
    return found


def _restore_randomness(trainer: "Trainer", found: checkpoint.Checkpoint) -> None:
    """A process that was not there when the checkpoint was made draws numbers of its own from now on."""
    device, rank, states = trainer.generator.device, trainer.processes.rank, found.tensors["randomness"]
    behind = f".{rank}" if rank else ""
    noise = "noise" if trainer.share.ours else f"noise{behind}"
    if device.type != found.facts["device"]:
        told = f"the run was on {found.facts['device']}: on {device.type} it sees other random numbers"
        warnings.warn(told, stacklevel=5)
    elif noise in states:
        trainer.generator.set_state(states[noise])
    else:
        trainer.share.seed_generator(found.step)
    if f"cpu{behind}" in states:
        torch.random.set_rng_state(states[f"cpu{behind}"])
        if device.type == "cuda" and f"cuda0{behind}" in states:
            torch.cuda.set_rng_state(states[f"cuda0{behind}"], device)
    else:
        torch.manual_seed(derive_seed(trainer.settings.seed, "net", rank, found.step))


def pack_optimizer(optimizer: "torch.optim.Optimizer | Together") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state of any optimiser as tensors named ``parameter.key`` and plain values."""
    state = optimizer.state_dict()
    tensors, scalars = {}, {}
    for index, entries in state["state"].items():
        for key, value in entries.items():
            (tensors if isinstance(value, Tensor) else scalars)[f"{index}.{key}"] = value
    return tensors, {"scalars": scalars, "groups": state["param_groups"]}


def unpack_optimizer(
    optimizer: "torch.optim.Optimizer | Together", tensors: dict[str, Tensor], facts: dict[str, Any]
) -> None:
    """The inverse of `pack_optimizer`."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**tensors, **facts["scalars"]}.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    groups = [
        {key: tuple(value) if key == "betas" else value for key, value in group.items()} for group in facts["groups"]
    ]
    weights = [p for group in optimizer.param_groups for p in group["params"]]
    for index, entries in state.items():  # what has the shape of a weight is divided as the weight is
        p = weights[index]
        entries |= {
            k: like(p, v) for k, v in entries.items() if isinstance(v, Tensor) and v.ndim and v.shape == p.shape
        }
    optimizer.load_state_dict({"state": state, "param_groups": groups})

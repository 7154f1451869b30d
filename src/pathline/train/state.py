"""What a checkpoint of training holds, and back again."""

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pathline.train import checkpoint
from pathline.train.config import plain
from pathline.train.told import describe_net

if TYPE_CHECKING:
    from pathline.train.loop import Trainer
    from pathline.train.optimizers import Together


def pack(trainer: "Trainer") -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """(tensors by file, plain values) from which training goes on bit for bit."""
    moments, scalars = pack_optimizer(trainer.stepper.optimizer)
    randomness = {"noise": trainer.generator.get_state(), "cpu": torch.random.get_rng_state()}
    if torch.cuda.is_available():
        randomness |= {f"cuda{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    tensors = {
        "net": trainer.net.state_dict(),
        "ema": trainer.ema.net.state_dict(),
        "optimizer": moments,
        "randomness": randomness,
        "progress": {"loss_sum": trainer.loss_sum, "bins": trainer.bins.sums},
        "standardizer": trainer.parts.standardizer.state(),
        **trainer.averages.states(),
    }
    if trainer.origin is not None:
        tensors["source_standardizer"] = trainer.origin.standardizer.state()
    scaler = trainer.stepper.scaler
    facts = {
        "settings": plain(trainer.settings),
        "device": trainer.generator.device.type,
        "net": describe_net(trainer.net),
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
    trainer.loss_sum.copy_(tensors["progress"]["loss_sum"])
    trainer.bins.sums.copy_(tensors["progress"]["bins"])
    trainer.stepper.restore(found.facts["gradients"])
    trainer.skipped = int(found.facts["gradients"]["told"])
    randomness, device = tensors["randomness"], trainer.generator.device.type
    if device == found.facts["device"]:
        trainer.generator.set_state(randomness["noise"])
    else:
        warnings.warn(f"the run was on {found.facts['device']}: on {device} it sees other random numbers", stacklevel=4)
    torch.random.set_rng_state(randomness["cpu"])
    for i in range(torch.cuda.device_count()):
        if f"cuda{i}" in randomness:
            torch.cuda.set_rng_state(randomness[f"cuda{i}"], i)
    if found.facts["scaler"] is not None and trainer.stepper.scaler is not None:
        trainer.stepper.scaler.load_state_dict(found.facts["scaler"])
    trainer.step = found.step


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
    optimizer.load_state_dict({"state": state, "param_groups": groups})

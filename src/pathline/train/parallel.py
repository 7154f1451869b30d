"""Nets over several processes, whole in each (DDP) or in shards (FSDP2), and what makes one cheaper to train.

A sharded tensor is torch's DTensor. It is made whole for a checkpoint and cut again when one is read, so that a
checkpoint is the same whatever the processes were.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from pathline.train.config import Settings
    from pathline.train.processes import Processes


def blocks_of(net: nn.Module) -> list[nn.Module]:
    """The blocks of a deep net: what its outermost lists of modules (`nn.ModuleList`) hold."""
    found: list[nn.Module] = []
    for child in net.children():
        found += list(child) if isinstance(child, nn.ModuleList) else blocks_of(child)
    return found


def make_lean(net: nn.Module, settings: "Settings", shape: "tuple[int, ...]") -> None:
    """Bring ``net``, for samples of ``shape``, into the form that the settings ask for, in place.

    ``recompute`` forgets what a block computes and does it again in the backward pass, ``channels_last`` lays images out
    pixel by pixel; the net's function and its state dict stay what they are.

    Raises:
        ValueError: a net without blocks to recompute, or samples that are no images.
    """
    if settings.recompute:
        blocks = blocks_of(net)
        if not blocks:
            raise ValueError(
                f"recompute works on blocks, the parts of an nn.ModuleList, and {type(net).__name__} has none"
            )
        for block in blocks:
            block.forward = partial(_again, block.forward)
    if settings.channels_last:
        if len(shape) != 3:
            raise ValueError(f"channels_last is for images (channels, height, width), and a sample has shape {shape}")
        net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        net.register_forward_pre_hook(_pixel_by_pixel)


def compile_net(net: nn.Module, settings: "Settings") -> None:
    """Hand ``net`` to torch.compile, in place; of a net that will be sharded its blocks, between which weights are gathered."""
    for part in (settings.shard and blocks_of(net)) or [net]:
        part.compile()


def _again(forward: Callable[..., Any], *given: Any, **named: Any) -> Any:
    from torch.utils.checkpoint import checkpoint

    if not torch.is_grad_enabled():
        return forward(*given, **named)
    return checkpoint(forward, *given, use_reentrant=False, **named)


def _pixel_by_pixel(net: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    x, *rest = given
    return x.contiguous(memory_format=torch.channels_last), *rest


def agree_on(net: nn.Module, processes: "Processes") -> None:
    """Give all processes the weights and buffers of the first."""
    if processes.count > 1:
        with torch.no_grad():
            for value in net.state_dict().values():
                value.copy_(processes.of_first(value))


def replicate(net: nn.Module, processes: "Processes", *, unused: bool) -> nn.Module:
    """``net`` whole in each process, its gradients averaged while they are made; ``unused``: some weights may get none."""
    from torch.nn.parallel import DistributedDataParallel

    devices = None if processes.device.type == "cpu" else [processes.device]
    return DistributedDataParallel(net, devices, find_unused_parameters=unused, gradient_as_bucket_view=True)


def shard(nets: Iterable[nn.Module], processes: "Processes") -> None:
    """Cut the weights of ``nets`` over the processes, in place: a block is whole only while it works."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    # an output that is a view, as of a reshape, is not written to by anything here
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    mesh = init_device_mesh(processes.device.type, (processes.count,))
    for net in nets:
        for part in [*blocks_of(net), net]:
            fully_shard(part, mesh=mesh)


def check_sharding(settings: "Settings", processes: "Processes") -> None:
    """Refuse what does not go with sharded weights.

    Raises:
        ValueError: one process alone, fp16, or an optimiser that looks at whole matrices or keeps an average of its own.
    """
    if processes.count == 1:
        raise ValueError("shard divides the net over processes, and this is one alone: start several with torchrun")
    if settings.precision == "fp16":
        raise ValueError("shard does not go with precision 'fp16': use 'bf16'")
    name = settings.optimizer.split("(")[0].strip()
    if name in ("muon", "schedule_free"):
        raise ValueError(f"shard does not go with the optimiser {name}: use adamw, adam or sgd")


def _is_sharded(value: object) -> bool:
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(value, DTensor)


def mine(value: Any) -> Any:
    """What this process holds of a tensor."""
    return value.to_local() if _is_sharded(value) else value


def whole(value: Any) -> Any:
    """A sharded tensor put together, which all processes must ask for; any other as it is."""
    return value.full_tensor() if _is_sharded(value) else value


def whole_state(state: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """`whole` of each tensor in turn, sharded ones on the CPU; nothing of them where ``keep`` is false."""
    found = {}
    for name, value in state.items():
        full = whole(value)
        if full is value:
            found[name] = value
        elif keep:
            found[name] = full.cpu()
    return found


def like(target: Any, full: Tensor) -> Any:
    """``full`` cut as ``target`` is, or as it is if that is whole."""
    if not _is_sharded(target):
        return full
    from torch.distributed.tensor import distribute_tensor

    full = full.to(target.device)
    return distribute_tensor(full, target.device_mesh, target.placements, src_data_rank=None)


def never_reached(net: nn.Module, loss: Callable[[], Tensor]) -> bool:
    """Whether the gradient of ``loss()`` misses any weight of ``net``; it is thrown away."""
    loss().backward()
    missed = any(p.grad is None for p in net.parameters() if p.requires_grad)
    net.zero_grad(set_to_none=True)
    return missed

"""Networks ``net(x_t, t, y=None)`` that return a tensor like ``x_t``; ``t`` is ``()`` or ``(B,)``.

A net is rebuilt from JSON: ``NETS[net.name](**net.config)`` and a state dict give the same function.
Any other module with the same call serves as well; the rest of the package requires nothing of this.
"""

from torch import nn

from pathline.nets.classifier import TimeClassifier
from pathline.nets.diffusers_unet import DiffusersUNet
from pathline.nets.dit import DiT
from pathline.nets.heads import TwoHeads
from pathline.nets.mlp import MLP
from pathline.nets.unet import UNet

NETS: dict[str, type[nn.Module]] = {
    "mlp": MLP,
    "dit": DiT,
    "unet": UNet,
    "diffusers_unet": DiffusersUNet,
}
"""Networks by the name that ``--net`` and a run folder hold."""

__all__ = ["NETS", "DiT", "DiffusersUNet", "MLP", "TimeClassifier", "TwoHeads", "UNet"]

"""Published settings for accelerators: these run, but were not trained here.

The data are read from a folder of images, one sub-folder a class, which you bring: ``--data PATH`` says where it is.
Our data have unit variance where the papers scale pixels to [-1, 1], of a standard deviation of about 1/2. The same
signal-to-noise ratio is then reached at another time, which ``shifted(2, ...)`` does for training times and grids alike.
"""

from typing import Any

from pathline.train.config import Sampling, TrainConfig

_JIT: dict[str, Any] = {
    "prediction": "data",
    "loss_in": "velocity",
    "times": "shifted(2, logit_normal(-0.8, 0.8))",
    "steps": 250_000,
    "batch_size": 1024,
    "lr": 2e-4,
    "warmup": 6250,
    "decay": "constant",
    "betas": (0.9, 0.95),
    "ema": 0.9999,
    "ema_also": "0.9996, 0.9998",
    "precision": "bf16",
    "held_out": 0.01,
    "checkpoint_every": 5000,
    # the interval [0.1, 1] of the paper starts at 0.1/(0.1 + 2 · 0.9) here
    "sampling": Sampling(solver="heun", steps=50, guidance="interval(2.9, 0.053, 1.0)", grid="shifted(2)"),
}


def cifar10(**changes: Any) -> TrainConfig:
    """CIFAR-10 without classes: the U-Net of diffusers, flow matching with independent pairs.

    Not trained here. Source: examples/images/cifar10 of torchcfm (Tong et al., TMLR 2024), whose page tells FID 3.5 after
    400,000 steps (their network has 4 heads of 64 units at 16 × 16, as has this one).
    """
    return TrainConfig(
        data="images(path='data/cifar10', flip=True)",
        labels=False,
        out="runs/cifar10",
        net="diffusers_unet(widths=(128, 256, 256, 256), layers=2, attention=(1,), head_width=64, dropout=0.1)",
        steps=400_000,
        batch_size=128,
        lr=2e-4,
        warmup=5000,
        decay="constant",
        betas=(0.9, 0.999),
        ema=0.9999,
        held_out=0.02,
        checkpoint_every=5000,
        sampling=Sampling(solver="dopri5"),
    ).replace(**changes)


def imagenet64(**changes: Any) -> TrainConfig:
    """ImageNet at 64 × 64 by class: JiT-B/4.

    Not trained here. Source: Li & He (arXiv 2511.13720), table 2b, which tells FID 3.55 after 200 epochs of data
    prediction with the loss in velocity.
    """
    return TrainConfig(
        data="images(path='data/imagenet64', flip=True)",
        out="runs/imagenet64",
        net=_jit(patch=4),
        **_JIT,
    ).replace(**changes)


def imagenet256_jit(**changes: Any) -> TrainConfig:
    """ImageNet at 256 × 256 by class, in pixels: JiT-B/16 on patches of 768 numbers.

    Not trained here. Source: Li & He (arXiv 2511.13720), table 6, which tells FID 4.37 after 200 epochs, and their
    training code for the settings.
    """
    return TrainConfig(
        data="images(path='data/imagenet', size=256, flip=True)",
        out="runs/imagenet256_jit",
        net=_jit(patch=16),
        **_JIT,
    ).replace(**changes)


def _jit(patch: int) -> str:
    return (
        f"dit(patch={patch}, width=768, depth=12, heads=12, bottleneck=128, norm='rms', qk_norm=True, rope=True, "
        "mlp='swiglu', class_tokens=32, class_start=4)"
    )

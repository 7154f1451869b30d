"""Training of the feature classifier: deterministic by seed, seconds on small images."""

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pathline._draws import permutation
from pathline.metrics._network import FeatureNet, build, shifted
from pathline.metrics.base import check_samples
from pathline.metrics.classifier import Classifier, ClassifierInfo, check_labels


def train_classifier(
    x: Tensor,
    y: Tensor,
    num_classes: int,
    *,
    seed: int = 0,
    name: str | None = None,
    epochs: int | None = None,
    batch_size: int = 64,
    learning_rate: float = 3e-3,
    width: int | None = None,
    feature_dim: int = 64,
    shift: int | None = None,
    held_out: tuple[Tensor, Tensor] | None = None,
) -> Classifier:
    """Train a small CNN on images (N, C, H, W), or an MLP on vectors (N, D), with labels y (N,).

    AdamW under a one-cycle learning rate, label smoothing 0.1; images are shifted at random by up to ``shift``
    pixels. The global random state is neither read nor changed: one seed gives the same weights on the same
    machine with the same number of threads.

    Args:
        num_classes: K; labels lie in [0, K).
        name: stands in "FD (name)"; by default "cnn" or "mlp". Name it after the data: "digits-cnn".
        epochs: by default as many as see about 30,000 points, within [5, 40].
        width: channels of the first convolution, doubled at each halving (an MLP has 4 × width units); by
            default 32, and 16 for images of more than 16 pixels of side.
        feature_dim: F of `Classifier.features`.
        shift: by default 1 pixel up to 16 pixels of side, else 2.
        held_out: (x, y) that training never sees, for the accuracy printed beside class agreement.

    Raises:
        ValueError, TypeError: bad points or labels, or settings out of range.

    Examples:
        >>> import torch
        >>> x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
        >>> judge = train_classifier(x, (x[:, 0] > 0).long(), 2, epochs=20)
        >>> judge.accuracy(x, (x[:, 0] > 0).long()) > 0.9
        True
    """
    x = check_samples(x, "x", minimum=2).detach()
    y = check_labels(y, len(x), num_classes, "y").to(x.device)
    epochs = max(5, min(40, 30_000 // len(x))) if epochs is None else epochs
    image = x.ndim == 4
    small = not image or max(x.shape[2:]) <= 16
    width = (32 if small else 16) if width is None else width
    shift = ((1 if small else 2) if image else 0) if shift is None else shift
    for key, value in {
        "epochs": epochs,
        "width": width,
        "feature_dim": feature_dim,
        "batch_size": batch_size,
    }.items():
        if value < 1:
            raise ValueError(f"{key} must be at least 1, got {value}")
    if shift and not image:
        raise ValueError(f"shift is for images (N, C, H, W), got shift = {shift} with x of shape {tuple(x.shape)}")

    x = x.to(torch.float32)
    mean, std = _standardisation(x)
    # Layers draw their initial weights from the global generator, so it is set and restored around them.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = build(
            tuple(x.shape[1:]),
            num_classes,
            width=width,
            feature_dim=feature_dim,
            mean=mean.cpu(),
            std=std.cpu(),
        ).to(x.device)
    _fit(net, x, y, epochs, batch_size, learning_rate, shift, torch.Generator().manual_seed(seed))

    info = ClassifierInfo(
        name=name or ("cnn" if image else "mlp"),
        shape=tuple(x.shape[1:]),
        num_classes=num_classes,
        width=width,
        feature_dim=feature_dim,
        seed=seed,
        epochs=epochs,
        train_size=len(x),
    )
    if held_out is None:
        return Classifier(net, info)
    accuracy = Classifier(net, info).accuracy(*held_out)
    return Classifier(net, replace(info, held_out_accuracy=accuracy, held_out_size=len(held_out[0])))


def _fit(
    net: FeatureNet,
    x: Tensor,
    y: Tensor,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    shift: int,
    generator: torch.Generator,
) -> None:
    batches = math.ceil(len(x) / batch_size)
    optimiser = torch.optim.AdamW(net.parameters(), lr=learning_rate, weight_decay=1e-2)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, learning_rate, total_steps=max(2, epochs * batches), cycle_momentum=False
    )
    net.train()
    for _ in range(epochs):
        order = permutation(len(x), generator, x.device)
        for indices in order.chunk(batches):  # chunks of nearly equal size: no last batch of one point
            batch = shifted(x[indices], shift, generator) if shift else x[indices]
            loss = cross_entropy(net(batch), y[indices], label_smoothing=0.1)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            cycle.step()
    net.eval()


def _standardisation(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and std over the batch, per channel for images (pixels included) and per coordinate for vectors.

    A constant channel gets std 1.
    """
    over = (0, 2, 3) if x.ndim == 4 else (0,)
    mean = x.mean(over, keepdim=True)[0]
    std = (x - mean).square().mean(over, keepdim=True)[0].sqrt()
    return mean, torch.where(std > 1e-6 * x.abs().max().clamp_min(1e-30), std, torch.ones_like(std))

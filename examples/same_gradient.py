"""The conditional loss has the gradient of the marginal one (theory T13).

A small random network on the eight Gaussians. For each batch size the gradient of the loss with conditional targets
x_1 - x_0 is compared with that of the loss against the exact marginal velocity, on the same points: the angle between them
closes like one over the square root of the batch.
"""

import math
import sys

import torch

import pathline as pl

path = pl.AffinePath(pl.Linear())
field = pl.testing.oracles.eight_gaussians(path)
torch.manual_seed(0)
net = pl.nets.MLP(2, width=32, depth=2).double()
draw = torch.Generator().manual_seed(0)


def gradient(loss):
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))])


angles = {}
for size in (64, 256, 1024, 4096, 16384, 65536):
    found = []
    for _ in range(3):
        x_0, x_1 = torch.randn(size, 2, generator=draw).double(), field.sample(size, 1.0, draw)
        t = 0.02 + 0.96 * torch.rand(size, generator=draw, dtype=torch.float64)
        x_t = path.sample(x_0, x_1, t)
        u = net(x_t, t)
        conditional = gradient(((u - (x_1 - x_0)) ** 2).mean())
        marginal = gradient(((net(x_t, t) - field(x_t, t).velocity.detach()) ** 2).mean())
        found.append(torch.rad2deg(torch.arccos(torch.cosine_similarity(conditional, marginal, dim=0))))
    angles[size] = float(torch.stack(found).mean())
    print(f"angle at batch {size}: {angles[size]:.2f} degrees")

slope = math.log(angles[65536] / angles[64]) / math.log(65536 / 64)
print(f"slope of the angle over the batch size: {slope:.2f}")

ax = pl.viz.error_curve({"CFM against FM": angles}, xlabel="batch size", ylabel="angle between the gradients (degrees)")
pl.viz.save(ax, sys.argv[1] if len(sys.argv) > 1 else "runs/figures/same_gradient.png")

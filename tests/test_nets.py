"""Laws of the nets: shapes, times, conditions, initialisation, configurations."""

import json
import shutil
from importlib.util import find_spec

import pytest
import torch
from torch import nn
from torch.func import jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from pathline.nets import MLP, NETS, DiffusersUNet, DiT, UNet
from pathline.nets.attention import Attention, SwiGLU, normalise, perceptron
from pathline.nets.base import time_features
from pathline.nets.embed import patchify, positions, rotate, rotations, unpatchify

CLASSES = 3


def scramble(net: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights everywhere, so that nothing is hidden behind a zero initialisation."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=generator))
    return net


def small_dit(**options) -> DiT:
    return DiT(4, 3, 2, 16, 2, 2, **options)


BUILDERS = {
    "mlp": (lambda **o: MLP(6, 16, 2, **o), (6,)),
    "mlp raw time": (lambda **o: MLP(6, 16, 3, activation="selu", time_features=0, **o), (2, 3)),
    "dit": (small_dit, (3, 4, 4)),
    "dit bottleneck": (lambda **o: DiT((4, 6), 2, 2, 16, 1, 4, bottleneck=3, **o), (2, 4, 6)),
    "dit of jit": (
        lambda **o: DiT(4, 3, 2, 16, 2, 2, bottleneck=3, norm="rms", qk_norm=True, rope=True, mlp="swiglu", **o),
        (3, 4, 4),
    ),
    "unet": (lambda **o: UNet(8, 2, 2, (8, 16), heads=2, bottom=1, embedded=16, **o), (2, 8, 8)),
    "unet pixel": (lambda **o: UNet(8, 2, 2, (8, 16), heads=2, norm="pixel", embedded=16, **o), (2, 8, 8)),
    "unet one level": (lambda **o: UNet((4, 6), 2, 1, (16,), heads=0, bottom=2, embedded=16, **o), (2, 4, 6)),
    "diffusers unet": (
        lambda **o: DiffusersUNet(4, 2, (8, 16), 1, (1,), head_width=8, groups=4, **o),
        (2, 4, 4),
    ),
}
needs_diffusers = pytest.mark.skipif(find_spec("diffusers") is None, reason="diffusers is not installed")
KINDS = [pytest.param(kind, marks=needs_diffusers if "diffusers" in kind else ()) for kind in BUILDERS]
every_net = pytest.mark.parametrize("kind", KINDS)
own_net = pytest.mark.parametrize("kind", [kind for kind in BUILDERS if "diffusers" not in kind])


def make(kind: str, batch: int = 4, **options):
    build, shape = BUILDERS[kind]
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, *shape, generator=generator)
    return scramble(build(**options)), x, torch.rand(batch, generator=generator)


@pytest.mark.parametrize("trailing", [(12,), (3, 4), (2, 3, 2), (12, 1, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_mlp_keeps_shape_and_dtype_and_flattens_row_major(trailing, dtype):
    net = scramble(MLP(12, 8, 2))
    flat = torch.randn(5, 12).to(dtype)
    out = net(flat.reshape(5, *trailing), torch.tensor(0.3))
    assert out.shape == (5, *trailing)
    assert out.dtype == dtype
    assert torch.equal(out.reshape(5, 12), net(flat, torch.tensor(0.3)))


def test_mlp_of_scalars_and_of_an_empty_batch():
    assert MLP(1, 8, 1)(torch.randn(7), torch.rand(7)).shape == (7,)
    assert MLP(2, 8, 1)(torch.randn(0, 2), torch.rand(0)).shape == (0, 2)
    assert small_dit()(torch.randn(0, 3, 4, 4), torch.tensor(0.5)).shape == (0, 3, 4, 4)


@every_net
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtype_of_the_state_comes_back(kind, dtype):
    net, x, t = make(kind)
    out = net(x.to(dtype), t)
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), net(x.to(dtype).float(), t), rtol=1e-2, atol=1e-2)


@every_net
@pytest.mark.parametrize("batch", [2, 3, 4, 6])
def test_scalar_and_batched_times_agree(kind, batch):
    net, x, _ = make(kind, batch, num_classes=CLASSES)
    t = torch.tensor(0.37)
    y = torch.arange(batch) % CLASSES
    for given in (None, y):
        torch.testing.assert_close(net(x, t, given), net(x, t.expand(batch), given), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(net(x, t.double(), y), net(x, t, y), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(net(x, t, y), net(x, t + 0.3, y), atol=1e-3)


@every_net
def test_samples_do_not_see_each_other(kind):
    net, x, t = make(kind, 5, num_classes=CLASSES)
    y = torch.tensor([0, -1, 2, 1, 0])
    out = net(x, t, y)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(net(x[order], t[order], y[order]), out[order], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(net(x[2:3], t[2:3], y[2:3]), out[2:3], rtol=1e-5, atol=1e-5)


@every_net
def test_no_label_is_the_null_class_and_no_other(kind):
    net, x, t = make(kind, 4, num_classes=CLASSES)
    none = net(x, t)
    torch.testing.assert_close(net(x, t, torch.full((4,), -1)), none, rtol=1e-5, atol=1e-5)
    outputs = [none, *(net(x, t, torch.full((4,), k)) for k in range(CLASSES))]
    for i, a in enumerate(outputs):
        for b in outputs[:i]:
            assert (a - b).abs().amax() > 1e-3
    mixed = net(x, t, torch.tensor([1, -1, -1, 0], dtype=torch.int32))
    torch.testing.assert_close(mixed[1:3], none[1:3], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mixed[0], outputs[2][0], rtol=1e-5, atol=1e-5)


@every_net
def test_a_row_of_nan_is_no_condition_and_has_finite_gradients(kind):
    net, x, t = make(kind, 4, condition_dim=2)
    y = torch.tensor([[1.0, 2.0], [torch.nan] * 2, [0.0, 0.0], [-1.0, 0.5]])
    out, none = net(x, t, y), net(x, t)
    torch.testing.assert_close(out[1], none[1], rtol=1e-5, atol=1e-5)
    assert ((out - none).flatten(1).abs().amax(1) > 1e-3).tolist() == [True, False, True, True]
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize(
    ("y", "options", "error", "message"),
    [
        (torch.tensor([0, 1, 2, 3]), {"num_classes": 3}, ValueError, r"0 … 2.*from 0 to 3"),
        (torch.tensor([0, -2, 2, 1]), {"num_classes": 3}, ValueError, r"0 … 2.*from -2 to 2"),
        (torch.tensor([0, 1]), {"num_classes": 3}, ValueError, r"shape \(4,\).*\(2,\)"),
        (torch.tensor([0.0, 1, 2, 0]), {"num_classes": 3}, TypeError, "integer class labels"),
        (torch.zeros(4, dtype=torch.bool), {"num_classes": 3}, TypeError, "integer class labels"),
        (torch.zeros(4, 3), {"condition_dim": 2}, ValueError, r"shape \(4, 2\)"),
        (torch.zeros(4, 2, dtype=torch.long), {"condition_dim": 2}, TypeError, "floating"),
        (torch.zeros(4, dtype=torch.long), {}, ValueError, "takes no condition"),
    ],
)
@every_net
def test_conditions_that_do_not_fit_are_refused(kind, y, options, error, message):
    net, x, t = make(kind, 4, **options)
    with pytest.raises(error, match=message):
        net(x, t, y)


@every_net
@pytest.mark.parametrize("options", [{}, {"num_classes": CLASSES}, {"condition_dim": 2}])
def test_a_net_is_rebuilt_from_json_and_weights(kind, options):
    net, x, t = make(kind, 4, **options)
    twin = NETS[net.name](**json.loads(json.dumps(net.config)))
    assert twin.config == net.config
    twin.load_state_dict(net.state_dict())
    assert torch.equal(twin(x, t), net(x, t))


@every_net
def test_autocast_to_bfloat16_runs_forward_and_backward(kind):
    net, x, t = make(kind, 4, num_classes=CLASSES)
    y = torch.tensor([0, 1, 2, -1])
    exact = net(x, t, y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = net(x, t, y)
        loss = out.square().mean()
    loss.backward()
    assert out.dtype == torch.float32
    assert (out - exact).norm() < 0.05 * exact.norm()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@every_net
def test_every_parameter_learns(kind):
    torch.manual_seed(0)
    build, shape = BUILDERS[kind]
    net = build(num_classes=CLASSES)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    x, t = torch.randn(16, *shape), torch.rand(16)
    y = torch.arange(16) % (CLASSES + 1) - 1
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(4):  # behind adaLN-Zero and a zero head the gradient needs three steps to reach every weight
        optimiser.zero_grad()
        (net(x, t, y) - x).square().mean().backward()
        optimiser.step()
    still = [k for k, v in net.state_dict().items() if torch.equal(v, before[k])]
    assert still == []


@pytest.mark.parametrize("kind", ["mlp", "dit", "dit of jit", "unet"])
def test_a_label_is_learned(kind):
    torch.manual_seed(0)
    build, shape = BUILDERS[kind]
    net = build(num_classes=2)
    x, t, y = torch.zeros(8, *shape), torch.rand(8), torch.arange(8) % 2
    target = (2.0 * y - 1).reshape(-1, *(1,) * len(shape)).expand(x.shape)
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(120):
        optimiser.zero_grad()
        loss = (net(x, t, y) - target).square().mean()  # without labels at best the variance of the target, 1
        loss.backward()
        optimiser.step()
    assert loss < 0.1


def test_time_features_lie_on_circles_and_survive_a_cast():
    weight = torch.zeros(1)
    t = torch.linspace(0, 1, 9)
    sin, cos = time_features(t, 12, weight).chunk(2, dim=-1)
    torch.testing.assert_close(sin**2 + cos**2, torch.ones(9, 6))
    assert torch.equal(time_features(t[0], 12, weight), torch.tensor([[0.0] * 6 + [1.0] * 6]))
    assert torch.equal(time_features(t, 0, weight), t[:, None])
    half = time_features(t.double(), 12, weight.bfloat16())
    assert torch.equal(half, time_features(t, 12, weight).bfloat16())
    speed = (time_features(torch.tensor(1e-4).double(), 12, weight.double()) / 1e-4)[0, :6]
    torch.testing.assert_close(speed[1:] / speed[:-1], (speed[-1] / speed[0]).pow(0.2).expand(5), rtol=1e-4, atol=0)


def test_patches_are_the_squares_of_the_image():
    x = torch.randn(2, 3, 4, 6)
    tokens = patchify(x, 2)
    assert tokens.shape == (2, 6, 12)
    for i in range(2):
        for j in range(3):
            square = x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            assert torch.equal(tokens[:, 3 * i + j], square.flatten(1))
    assert torch.equal(unpatchify(tokens, x.shape, 2), x)


def test_positions_compare_by_displacement():
    p = positions(3, 5, 16).double()
    assert p.shape == (15, 16)
    kernel = (p @ p.T).reshape(3, 5, 3, 5)
    torch.testing.assert_close(kernel[0, 0, 1, 2], kernel[1, 2, 2, 4])
    torch.testing.assert_close(kernel[2, 1, 0, 4], kernel[2, 0, 0, 3])
    torch.testing.assert_close(p.square().sum(-1), torch.full((15,), 8.0).double())
    assert torch.cdist(p, p).fill_diagonal_(1.0).amin() > 0.1


@pytest.mark.parametrize("kind", ["dit", "dit of jit", "unet"])
def test_nets_of_images_start_at_zero(kind):
    options = (
        {"norm": "rms", "qk_norm": True, "rope": True, "mlp": "swiglu", "class_tokens": 2} if "jit" in kind else {}
    )
    net = UNet(8, 1, 2, (8, 16)) if kind == "unet" else DiT(8, 1, 2, 32, 2, 4, num_classes=10, bottleneck=3, **options)
    out = (
        net(torch.randn(3, 1, 8, 8), torch.rand(3))
        if kind == "unet"
        else net(torch.randn(3, 1, 8, 8), torch.rand(3), torch.tensor([1, -1, 9]))
    )
    assert torch.equal(out, torch.zeros(3, 1, 8, 8))


def test_turned_heads_compare_by_displacement_and_keep_their_length():
    turns = rotations(3, 5, 8, ahead=2).double()
    assert turns.shape == (17, 4)
    q, k = (
        torch.randn(8, dtype=torch.float64, generator=torch.Generator().manual_seed(i)).expand(17, 8) for i in (0, 1)
    )
    turned, other = rotate(q, turns), rotate(k, turns)
    torch.testing.assert_close(turned.norm(dim=-1), q.norm(dim=-1))
    assert torch.equal(turned[:2], q[:2])  # tokens without a place
    kernel = (turned[2:] @ other[2:].T).reshape(3, 5, 3, 5)
    torch.testing.assert_close(kernel[0, 0, 1, 2], kernel[1, 2, 2, 4])
    torch.testing.assert_close(kernel[2, 1, 0, 4], kernel[2, 0, 0, 3])
    assert (kernel[0, 0, 1, 2] - kernel[0, 0, 2, 1]).abs() > 1e-3


def test_attention_with_normalised_queries_and_keys_ignores_their_size():
    torch.manual_seed(0)
    layer, tokens = Attention(16, 2, qk_norm=True).double(), torch.randn(2, 5, 16, dtype=torch.float64)
    before = layer(tokens)
    with torch.no_grad():
        layer.qkv.weight[:32] *= 100.0
        layer.qkv.bias[:32] *= 100.0
    torch.testing.assert_close(layer(tokens), before, rtol=1e-3, atol=1e-5)


def test_root_mean_square_keeps_the_mean_and_layer_norm_removes_it():
    tokens = torch.randn(3, 4, 32, dtype=torch.float64) + 2.0
    rms, layer = normalise(tokens, "rms"), normalise(tokens)
    torch.testing.assert_close(rms.square().mean(-1), torch.ones(3, 4).double(), rtol=1e-5, atol=0)
    torch.testing.assert_close(rms, tokens / tokens.square().mean(-1, keepdim=True).sqrt(), rtol=1e-5, atol=0)
    assert layer.mean(-1).abs().max() < 1e-9 < rms.mean(-1).abs().min()


def test_swiglu_has_as_many_weights_as_gelu():
    count = [sum(p.numel() for p in perceptron(kind, 48, 192).parameters()) for kind in ("gelu", "swiglu")]
    assert abs(count[0] - count[1]) < 0.02 * count[0]
    layer, x = SwiGLU(3, 4), torch.randn(5, 3)
    gate, value = (x @ layer.both.weight.T + layer.both.bias).split(4, dim=1)
    torch.testing.assert_close(layer(x), (gate * gate.sigmoid() * value) @ layer.out.weight.T + layer.out.bias)


def test_class_tokens_carry_the_class_where_the_modulation_is_blind():
    def change(tokens: int) -> float:
        net = scramble(small_dit(num_classes=CLASSES, class_tokens=tokens, class_start=min(tokens, 1), rope=True))
        with torch.no_grad():
            net.modulation.weight.zero_()  # the modulation sees neither time nor class now
        x, t = torch.randn(2, 3, 4, 4), torch.tensor(0.5)
        return float((net(x, t, torch.tensor([0, 0])) - net(x, t, torch.tensor([1, -1]))).detach().abs().amax())

    assert change(0) == 0.0
    assert change(3) > 1e-3


def test_jit_b16_has_the_size_that_was_published():
    options = {"norm": "rms", "qk_norm": True, "rope": True, "mlp": "swiglu", "class_tokens": 32, "class_start": 4}
    with torch.device("meta"):
        net = DiT(256, 3, 16, 768, 12, 12, num_classes=1000, bottleneck=128, **options)
    assert 0.98 < sum(p.numel() for p in net.parameters()) / 131e6 < 1.02


@needs_diffusers
def test_the_adapter_of_diffusers_is_its_network():
    net, x, t = make("diffusers unet", 3, num_classes=CLASSES)
    y = torch.tensor([0, -1, 2])
    own = net.model(x, 1000.0 * t, class_labels=net.condition.table.weight[y + 1]).sample
    torch.testing.assert_close(net(x, t, y), own)


def test_the_unet_of_small_images_keeps_details_beside_the_coarse_grid():
    net, x, t = make("unet", 1)
    moved = x.clone()
    moved[:, :, 0, 0] += 1.0
    changed = (net(moved, t) - net(x, t)).abs().amax((0, 1))
    assert changed[:2, :2].amax() > 1e-3
    assert changed.amax() > 1e-3


def test_the_bottleneck_bounds_the_rank_of_the_patch_embedding():
    for bottleneck, rank in ((None, 12), (5, 5)):
        net = scramble(small_dit(bottleneck=bottleneck))
        linear = net.embed(torch.eye(12)) - net.embed(torch.zeros(1, 12))
        assert torch.linalg.matrix_rank(linear) == rank


def test_patches_see_each_other_through_attention():
    net, x, t = make("dit", 1)
    moved = x.clone()
    moved[:, :, :2, :2] += 1.0
    assert (net(moved, t) - net(x, t))[:, :, 2:, 2:].abs().amax() > 1e-4


@pytest.mark.parametrize("kind", ["mlp", "dit", "dit of jit", "unet"])
def test_forward_derivatives_are_those_of_differences(kind):
    net, x, t = make(kind, 3)
    net, x, t = net.double(), x.double(), t.double()
    dx, dt, h = torch.randn_like(x), torch.ones_like(t), 1e-5
    with sdpa_kernel(SDPBackend.MATH):
        _, rate = jvp(lambda x, t: net(x, t), (x, t), (dx, dt))
    difference = (net(x + h * dx, t + h * dt) - net(x - h * dx, t - h * dt)) / (2 * h)
    torch.testing.assert_close(rate, difference, rtol=1e-5, atol=1e-4)


@own_net  # diffusers' takes seconds to trace
def test_no_graph_breaks(kind):
    net, x, t = make(kind, 4, num_classes=CLASSES)
    y = torch.tensor([0, 1, 2, -1])
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, t, y), net(x, t, y))


@pytest.mark.slow  # the C++ compiler takes its time
@pytest.mark.skipif(not (shutil.which("c++") or shutil.which("g++")), reason="no C++ compiler on this machine")
def test_a_compiled_mlp_is_the_same_function():
    net, x, t = make("mlp", 4)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(net)(x, t), net(x, t), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: MLP(0), ValueError, "dim must be at least 1, got 0"),
        (lambda: MLP(2.0), TypeError, "dim must be an int"),
        (lambda: MLP(2, depth=0), ValueError, "depth"),
        (lambda: MLP(2, width=True), TypeError, "width"),
        (lambda: MLP(2, activation="relo"), ValueError, "activation 'relo': did you mean 'relu'"),
        (lambda: MLP(2, time_features=3), ValueError, "time_features must be even"),
        (lambda: MLP(2, num_classes=3, condition_dim=2), ValueError, "not both"),
        (lambda: MLP(2, num_classes=0), ValueError, "num_classes must be at least 1"),
        (lambda: DiT(8, 1, patch=3), ValueError, "patch 3 does not divide image_size 8"),
        (lambda: DiT((8, 9), 1, patch=2), ValueError, "does not divide image_size 9"),
        (lambda: DiT((8, 8, 8), 1), ValueError, "height, width"),
        (lambda: DiT(8, 1, width=32, heads=3), ValueError, "heads 3 does not divide width 32"),
        (lambda: DiT(8, 1, width=30, heads=3), ValueError, "multiple of 4"),
        (lambda: DiT(8, 1, mlp_ratio=0.0), ValueError, "mlp_ratio must be positive"),
        (lambda: DiT(8, 1, bottleneck=0), ValueError, "bottleneck must be at least 1"),
        (lambda: DiT(8, 1, norm="batch"), ValueError, "norm must be one of layer, rms"),
        (lambda: DiT(8, 1, mlp="relu"), ValueError, "mlp must be one of gelu, swiglu"),
        (lambda: DiT(8, 1, width=24, heads=4, rope=True), ValueError, "rope needs heads of a multiple of 4"),
        (lambda: DiT(8, 1, class_tokens=2), ValueError, "carry a condition, but there is none"),
        (lambda: DiT(8, 1, num_classes=2, class_tokens=2, class_start=4), ValueError, "class_start lie in 0 … 3"),
        (lambda: UNet(10, 1), ValueError, "choose multiples of 4"),
        (lambda: UNet(8, 1, widths=()), ValueError, "widths have a level"),
        (lambda: UNet(8, 1, widths=(8, 12), heads=8), ValueError, "heads 8 does not divide the last"),
        (lambda: DiffusersUNet(6, 1), ValueError, "cannot be halved 2 times"),
        (lambda: DiffusersUNet(8, 1, (16, 24)), ValueError, "groups 32 does not divide"),
        (lambda: DiffusersUNet(8, 1, (32, 64), attention=(2,)), ValueError, "attention names level 2"),
        (lambda: DiffusersUNet(8, 1, (32, 64), attention=(), dropout=1.0), ValueError, "dropout must lie"),
        (lambda: DiT(8, 0), ValueError, "channels must be at least 1"),
    ],
)
def test_arguments_that_cannot_be_are_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()


@pytest.mark.parametrize(
    ("net", "x", "t", "error", "message"),
    [
        (MLP(2), torch.zeros(3, 4), torch.tensor(0.5), ValueError, r"2 numbers per sample.*\(3, 4\)"),
        (MLP(2), torch.zeros(3, 2), torch.zeros(2), ValueError, r"t must have shape \(\) or \(3,\)"),
        (MLP(2), torch.zeros(3, 2), torch.zeros(3, 1), ValueError, r"t must have shape"),
        (MLP(2), torch.zeros(3, 2), 0.5, TypeError, "t must be a tensor"),
        (MLP(2), torch.zeros(3, 2, dtype=torch.long), torch.tensor(0.5), TypeError, "floating"),
        (small_dit(), torch.zeros(2, 4, 4, 3), torch.tensor(0.5), ValueError, r"\(B, 3, 4, 4\), channels first"),
        (small_dit(), torch.zeros(3, 4, 4), torch.tensor(0.5), ValueError, r"\(B, 3, 4, 4\)"),
    ],
)
def test_states_and_times_that_do_not_fit_are_refused(net, x, t, error, message):
    with pytest.raises(error, match=message):
        net(x, t)

"""Lean layers equal plain ones; flows are invertible and triangular; spectral norms are those of the SVD."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from shoestring.nvae.model.cells import DECODER_CELLS, EncoderCell
from shoestring.nvae.model.flows import Flow, Flows
from shoestring.nvae.model.layers import (
    DownSkip,
    WeightNormConv2d,
    bn_conv,
    depthwise_weight_gradient,
    effective_weight,
)
from shoestring.nvae.training.objective import SpectralRegulariser, batch_norm_scales


@pytest.mark.parametrize("swish", [True, False])
@pytest.mark.parametrize("kind", ["weight norm", "strided", "depthwise"])
@pytest.mark.parametrize("last", [True, False])
def test_the_lean_norm_and_convolution_are_the_plain_ones(swish, kind, last):
    torch.manual_seed(0)
    layer = {
        "weight norm": WeightNormConv2d(6, 4, 3),
        "strided": WeightNormConv2d(6, 4, 3, stride=2),
        "depthwise": nn.Conv2d(6, 6, 5, padding=2, groups=6, bias=False),
    }[kind]
    norm = nn.BatchNorm2d(6)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(5, 6, 8, 8, requires_grad=True)
    found = []
    for lean in (True, False):
        both = nn.ModuleList([copy.deepcopy(norm), copy.deepcopy(layer)])
        if last:
            both = both.to(memory_format=torch.channels_last)
        y = both[0](x)
        out = bn_conv(x, *both, swish=swish) if lean else both[1](functional.silu(y) if swish else y)
        if lean:  # the plain pass above has been counted as well
            both[0].load_state_dict(norm.state_dict())
            out = bn_conv(x, *both, swish=swish)
        gradients = torch.autograd.grad(out.square().sum(), [x, *both.parameters()])
        found.append([out, *gradients, *both[0].buffers()])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "shape", [(3, 700, 4, 4), (2, 130, 8, 8), (2, 40, 12, 20), (1, 9, 32, 32), (5, 6, 7, 5)]
)
@pytest.mark.parametrize("last", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("side", [3, 5])
def test_the_weight_gradient_of_a_depthwise_convolution_is_pytorchs(shape, last, side):
    """In float64 beside the convolution's own backward pass, and through the whole lean step in fp32."""
    torch.manual_seed(0)
    x, channels = torch.randn(shape, dtype=torch.float64).to(memory_format=last), shape[1]
    layer = nn.Conv2d(channels, channels, side, padding=side // 2, groups=channels, bias=False).double()
    out = layer(x)
    grad = torch.randn_like(out)
    (wanted,) = torch.autograd.grad(out, layer.weight, grad)
    torch.testing.assert_close(depthwise_weight_gradient(x, grad, layer.padding), wanted)
    norm, layer, x = nn.BatchNorm2d(channels), layer.float(), x.float().requires_grad_()
    lean = torch.autograd.grad(bn_conv(x, norm, layer), layer.weight, grad.float())
    plain = torch.autograd.grad(layer(functional.silu(norm(x))), layer.weight, grad.float())
    torch.testing.assert_close(lean, plain, rtol=1e-3, atol=1e-3)


def test_only_the_input_is_kept():
    norm, layer = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1, bias=False)
    x = torch.randn(4, 8, 16, 16, requires_grad=True)
    kept = []

    def pack(tensor):
        kept.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        bn_conv(x, norm, layer)
    assert kept.count(x.shape) == 1


def test_the_grouped_down_skip_is_four_strided_convolutions():
    skip = DownSkip(3, 8)
    x = torch.randn(2, 3, 6, 6)
    weight = skip.project.effective()
    y = functional.silu(x)
    parts = []
    for index, (down, right) in enumerate(DownSkip.OFFSETS):
        shifted = y[:, :, down:, right:]
        part = slice(2 * index, 2 * index + 2)
        parts.append(functional.conv2d(shifted, weight[part], skip.project.bias[part], stride=2))
    torch.testing.assert_close(skip(x), torch.cat(parts, 1), rtol=1e-4, atol=1e-5)


def test_weight_norms_are_those_that_were_set():
    layer = WeightNormConv2d(3, 5, 3)
    nn.init.normal_(layer.log_norm)
    norms = layer.effective().flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, layer.log_norm.exp(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("cell", [EncoderCell, *DECODER_CELLS.values()])
def test_cells_change_resolution_as_told(cell):
    more = () if cell is EncoderCell else (2,)
    x = torch.randn(2, 8, 4, 4)
    assert cell(8, 8, *more)(x).shape == x.shape
    if cell is EncoderCell:
        assert cell(8, 16, down=True)(x).shape == (2, 16, 2, 2)
    else:
        assert cell(8, 4, 2, up=True)(x).shape == (2, 4, 8, 8)


# -- flows ---------------------------------------------------------------------------------------------------------


def varied(flow):
    """Larger weights than at the start, so that there is something to see."""
    for layer in flow.modules():
        if isinstance(layer, WeightNormConv2d):
            nn.init.normal_(layer.log_norm, 1.0 if layer.kernel_size[0] > 1 else -1.3, 0.3)
    return flow.double()


@pytest.mark.parametrize("kind", ["shift", "affine"])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_flow_is_triangular_and_its_log_determinant_is_that_of_the_jacobian(kind, reverse):
    torch.manual_seed(1)
    flow = varied(Flow(3, 5, kind, reverse=reverse))
    z, features = torch.randn(1, 3, 3, 3).double(), torch.randn(1, 5, 3, 3).double()
    jacobian = torch.autograd.functional.jacobian(lambda x: flow(x, features)[0], z).reshape(27, 27)
    # raster order: pixel by pixel, within a pixel channel by channel
    pixels = torch.arange(27).reshape(3, 9)
    order = (pixels.flip(1) if reverse else pixels).T.flatten()
    jacobian = jacobian[order][:, order]
    assert jacobian.triu(1).abs().max() == 0
    assert (jacobian.tril(-1) != 0).any(1).sum() == 26  # every number but the first sees some before it
    torch.testing.assert_close(flow(z, features)[1].sum(), torch.slogdet(jacobian)[1], rtol=1e-5, atol=1e-6)
    if kind == "shift":
        assert torch.equal(jacobian.diagonal(), torch.ones(27).double())


@pytest.mark.parametrize("kind", ["shift", "affine"])
def test_flows_are_inverted(kind):
    torch.manual_seed(2)
    flows = varied(Flows(2, 3, 4, kind))
    z, features = torch.randn(2, 3, 4, 4).double(), torch.randn(2, 4, 4, 4).double()
    with torch.no_grad():
        there, log_det = flows(z, features)
        torch.testing.assert_close(flows.inverse(there, features), z, rtol=1e-5, atol=1e-5)
        assert (there - z).abs().max() > 0.1
        changed = flows(z, features + 1)[0]
    assert torch.equal(there, changed) == (kind == "shift")
    assert (log_det == 0).all() == (kind == "shift")


# -- regularisers --------------------------------------------------------------------------------------------------


def test_spectral_norms_are_those_of_the_svd():
    torch.manual_seed(0)
    cells = nn.ModuleList(
        [EncoderCell(4, 8, down=True), EncoderCell(8, 8), DECODER_CELLS["depthwise"](4, 4, 3)]
    )
    regulariser = SpectralRegulariser(cells)
    for _ in range(300):
        estimated = regulariser()
    expected = 0.0
    for layer in cells.modules():
        if isinstance(layer, nn.Conv2d):
            weight = effective_weight(layer).flatten(1)
            parts = weight.chunk(layer.groups) if layer.groups == 4 else [weight]
            expected += sum(torch.linalg.svdvals(part)[0].item() for part in parts)
    assert estimated.item() == pytest.approx(expected, rel=1e-3)
    estimated.backward()
    assert all(layer.weight.grad is not None for layer in cells.modules() if isinstance(layer, nn.Conv2d))


def test_batch_norm_scales():
    cells = nn.ModuleList([nn.BatchNorm2d(2), nn.BatchNorm2d(2), nn.BatchNorm2d(3)])
    for norm, scale in zip(cells, ([1.0, -3.0], [2.0, 0.5], [0.1, 0.2, 0.3]), strict=True):
        norm.weight.data = torch.tensor(scale)
    assert batch_norm_scales(cells).item() == pytest.approx(3 + 2 + 0.3)

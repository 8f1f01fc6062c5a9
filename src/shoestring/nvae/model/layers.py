"""The layers under the cells: weight-normalised convolutions, batch norm that forgets, gates, skips.

- `bn_conv` keeps only its input for the backward pass and recomputes norm and activation from it: of the three
  large tensors of BN, Swish and convolution one is kept. The numbers are those of the plain modules.
- Every layer runs in NCHW and in channels_last.

Weight norm: Salimans & Kingma 2016 (arXiv 1602.07868). Squeeze and excitation: Hu et al. 2018 (arXiv 1709.01507).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

Inputs = Float[Tensor, "batch inputs rows columns"]
Map = Float[Tensor, "batch channels height width"]
NORM_EPS = 1e-5
ENOUGH = 8192  # numbers of an image, from which on a call for each is worth while


class WeightNormConv2d(nn.Conv2d):
    """A convolution with weights exp(g) v / |v|, a norm g per output channel.

    Args:
        inputs: channels.
        outputs: channels.
        kernel: odd side.
        stride: of the kernel.
        groups: of channels that do not see each other.
        mask: 1 where a weight may be used, or None.
        scale: multiplies the norms that training starts with.
        bias: add one per output channel.
    """

    mask: Tensor | None

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1,
        mask: Tensor | None = None, scale: float = 1.0, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=bias)
        self.register_buffer("mask", mask, persistent=False)
        with torch.no_grad():  # start with the norms that the weights have
            norms = self.direction().flatten(1).norm(dim=1) + 0.01
            self.log_norm = nn.Parameter(torch.log(scale * norms))

    def direction(self) -> Tensor:
        """Returns v."""
        return self.weight if self.mask is None else self.weight * self.mask

    def effective(self) -> Tensor:
        """Returns the weights that the convolution uses."""
        direction = self.direction()
        norm = direction.flatten(1).norm(dim=1) + NORM_EPS
        return direction * (torch.exp(self.log_norm) / norm)[:, None, None, None]

    def forward(self, input: Inputs) -> Map:
        """Convolves."""
        return self._conv_forward(input, self.effective(), self.bias)


def conv(inputs: int, outputs: int, kernel: int, *, groups: int = 1) -> nn.Conv2d:
    """Returns a plain convolution without bias, as in the decoder's cells, where batch norms follow."""
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Returns a batch norm as published: momentum 0.05."""
    return nn.BatchNorm2d(channels, eps=1e-5, momentum=0.05)


def effective_weight(layer: nn.Conv2d) -> Tensor:
    """Returns the weights that a convolution of either kind uses."""
    return layer.effective() if isinstance(layer, WeightNormConv2d) else layer.weight


def bn_conv(x: Inputs, norm: Any, layer: Any, *, swish: bool = True) -> Map:
    """Returns layer(swish(norm(x))), or layer(norm(x)) without swish."""
    lean = isinstance(norm, nn.BatchNorm2d) and norm.training and norm.momentum is not None
    if (
        not (lean and isinstance(layer, nn.Conv2d) and torch.is_grad_enabled())
        or torch.compiler.is_compiling()
    ):
        # also: statistics over processes, cumulative statistics; a compiler fuses and recomputes by itself
        y = norm(x)
        return layer(functional.silu(y) if swish else y)
    norm.num_batches_tracked.add_(1)
    weight, bias = effective_weight(layer), layer.bias
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    return _BNConv.apply(
        x, norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.momentum, norm.eps,
        weight, bias, (layer.stride, layer.padding, layer.groups), swish,
    )  # fmt: skip


class _BNConv(torch.autograd.Function):
    """Batch norm, Swish and convolution that keep one tensor."""

    @staticmethod
    def forward(
        ctx: Any, x, gamma, beta, mean, variance, momentum, eps, weight, bias, shape, swish
    ) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            y, batch_mean, batch_scale = torch.native_batch_norm(
                x, gamma, beta, mean, variance, True, momentum, eps
            )
            y = functional.silu(y, inplace=True) if swish else y
            stride, padding, groups = shape
            out = functional.conv2d(y, weight, bias, stride, padding, 1, groups)
        ctx.save_for_backward(x, gamma, beta, batch_mean, batch_scale, weight)
        ctx.eps, ctx.shape, ctx.swish, ctx.with_bias = eps, shape, swish, bias is not None
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyrefly: ignore - the decorator hides the signature
        (grad,) = grad_outputs
        x, gamma, beta, mean, scale, weight = ctx.saved_tensors
        normed = functional.batch_norm(x, mean, scale.pow(-2) - ctx.eps, gamma, beta, False, 0.0, ctx.eps)
        stride, padding, groups = ctx.shape
        active = functional.silu(normed) if ctx.swish else normed
        grad, ours = grad.to(x.dtype), _is_slow(weight, stride, groups, x[0].numel())
        grad_y, grad_weight, grad_bias = torch.ops.aten.convolution_backward(
            grad, active, weight, [weight.shape[0]] if ctx.with_bias else None, stride, padding, [1, 1],
            False, [0, 0], groups, [True, not ours, ctx.with_bias],
        )  # fmt: skip
        if ours:
            grad_weight = depthwise_weight_gradient(active, grad, padding)
        if ctx.swish:
            grad_y = torch.ops.aten.silu_backward(grad_y, normed)
        grad_x, grad_gamma, grad_beta = torch.ops.aten.native_batch_norm_backward(
            grad_y, x, gamma, None, None, mean, scale, True, ctx.eps, [True, True, True]
        )
        return grad_x, grad_gamma, grad_beta, *[None] * 4, grad_weight, grad_bias, None, None


def _is_slow(weight: Tensor, stride: tuple[int, ...], groups: int, numbers: int) -> bool:
    """Tells whether PyTorch's weight gradient takes far longer than the convolution: depthwise ones on a CPU."""
    depthwise = weight.shape[:2] == (groups, 1) and weight.shape[-1] > 1 and max(stride) == 1
    return depthwise and numbers >= ENOUGH and weight.device.type == "cpu" and weight.dtype == torch.float32


def depthwise_weight_gradient(
    x: Inputs, grad: Map, padding: tuple[int, int]
) -> Float[Tensor, "channels 1 kernel_rows kernel_columns"]:
    """Returns the weight gradient of a depthwise convolution of stride 1: the sum over images of their x * grad.

    For one image that is a depthwise convolution again, whose kernel is the gradient, and those are fast: 2 to 4 times
    PyTorch's own weight gradient at sides from 4 to 32 (one core, channels_last).
    """
    channels = x.shape[1]
    parts = (
        functional.conv2d(image[None], kernel[:, None], padding=padding, groups=channels)
        for image, kernel in zip(x, grad, strict=True)
    )
    total = next(parts)
    for part in parts:
        total += part
    return total.transpose(0, 1).contiguous()


class SqueezeExcite(nn.Module):
    """Weighs channels by a gate that sees the mean over all positions: x * sigmoid(W relu(V mean(x)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // 16, 4)
        self.squeeze, self.excite = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def forward(self, x: Map) -> Map:
        """Applies the gate."""
        gate = torch.sigmoid(self.excite(functional.relu(self.squeeze(x.mean((2, 3))))))
        return x * gate[:, :, None, None]


class DownSkip(nn.Module):
    """The identity at half the resolution and twice the channels: each quarter of the outputs sees one pixel of four.

    Published as four strided convolutions; here one grouped convolution with the same weights.
    """

    OFFSETS = ((0, 0), (1, 1), (0, 1), (1, 0))

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.project = WeightNormConv2d(4 * inputs, outputs, 1, groups=4)

    def forward(self, x: Inputs) -> Map:
        """Halves the resolution."""
        x = functional.silu(x)
        return self.project(torch.cat([x[:, :, down::2, right::2] for down, right in self.OFFSETS], dim=1))


class UpSkip(nn.Module):
    """Twice the resolution by bilinear interpolation, and other channels by a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.project = WeightNormConv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Inputs) -> Map:
        """Doubles the resolution; the 1x1 convolution comes first, where there are fewer pixels."""
        return functional.interpolate(self.project(x), scale_factor=2, mode="bilinear", align_corners=True)

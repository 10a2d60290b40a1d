"""Rendering a chunk of rays without keeping its activations: they are computed again in the backward pass."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from objnerf.models.scene import SceneCode
from objnerf.rendering.volume import Rendering

Where = Bool[Tensor, "scenes slots points"]
"""Where a slot has density."""

RenderChunk = Callable[[SceneCode, Where | None], tuple[Rendering, Where]]


def tensors_of(rendering: Rendering) -> tuple[Tensor, ...]:
    """The tensors of a rendering in the order of its fields, those of single slots last."""
    together = (rendering.rgb, rendering.depth, rendering.opacity, rendering.slot_opacity)
    if rendering.per_slot is None:
        return together
    return (*together, rendering.per_slot.rgb, rendering.per_slot.depth, rendering.per_slot.density_mask)


def render_again(render: RenderChunk, code: SceneCode, parameters: list[nn.Parameter]) -> tuple[Tensor, ...]:
    """Render a chunk and keep no activations for the backward pass, which renders it again.

    The second time only samples with density are decoded: no gradient passes the ReLU of the others, and
    their share of their point is zero.

    Args:
        render: renders the chunk; given where density is, it decodes only there.
        code: the scenes.
        parameters: of the model.
    Returns:
        See ``tensors_of``.
    """
    names = [field.name for field in fields(code)]
    values = {name: getattr(code, name) for name in names}
    differentiable = [
        name for name, value in values.items() if isinstance(value, Tensor) and value.requires_grad
    ]
    learned = [parameter for parameter in parameters if parameter.requires_grad]
    inputs = [*(values[name] for name in differentiable), *learned]
    return _RenderAgain.apply(render, code, differentiable, *inputs)


class _RenderAgain(torch.autograd.Function):
    """See ``render_again``; a function of autograd so that the first pass leaves nothing behind."""

    @staticmethod
    def forward(
        ctx: Any, render: RenderChunk, code: SceneCode, differentiable: list[str], *inputs: Tensor
    ) -> tuple[Tensor, ...]:
        rendering, ctx.where = render(code, None)
        ctx.render, ctx.code, ctx.differentiable = render, code, differentiable
        device = code.slots.device.type
        ctx.autocast = {
            "device_type": device,
            "dtype": torch.get_autocast_dtype(device),
            "enabled": torch.is_autocast_enabled(device),
        }
        ctx.save_for_backward(*inputs)
        ctx.set_materialize_grads(False)
        return tensors_of(rendering)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        count = len(ctx.differentiable)
        leaves = [value.detach().requires_grad_() for value in ctx.saved_tensors[:count]]
        code = replace(ctx.code, **dict(zip(ctx.differentiable, leaves, strict=True)))
        with torch.enable_grad(), torch.autocast(**ctx.autocast):
            outputs = tensors_of(ctx.render(code, ctx.where)[0])
        asked = [(out, grad) for out, grad in zip(outputs, gradients, strict=True) if grad is not None]
        inputs = [*leaves, *ctx.saved_tensors[count:]]
        found = torch.autograd.grad(
            [out for out, _ in asked], inputs, [grad for _, grad in asked], allow_unused=True
        )
        return None, None, None, *found

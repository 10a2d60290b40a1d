"""What every scene model shares, and the whole of the faithful uORF model.

A scene model has three methods: ``encode`` makes a ``SceneCode`` from one posed image a scene, ``decode``
answers for points what each slot's field says there, ``render`` composites rays.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from objnerf.dataset.card import SceneScale
from objnerf.models.config import UorfConfig
from objnerf.models.encoder import Encoder
from objnerf.models.fields import Decoder
from objnerf.models.slots import SlotAttention
from objnerf.rendering.rays import azimuth_rotation, inside_box, points_on_rays
from objnerf.rendering.volume import Rendering, SlotRendering, SlotSamples, composite

# Spelled out because the run-time shape checks of the tests don't take typing.Self.
Code = TypeVar("Code", bound="SceneCode")


@dataclass(frozen=True)
class SceneCode:
    """What a model knows of some scenes after looking at one view of each.

    Every tensor's first axis is the scene, its second, where it has slots, the slot; slot 0 is the
    background.
    """

    slots: Float[Tensor, "scenes slots channels"]
    """Contents of the slots."""
    field_from_world: Float[Tensor, "scenes 4 4"]
    """Takes world points to the frame in which the foreground fields work, both in world units. The
    background field always works in the world frame."""
    offsets: Float[Tensor, "scenes slots 3"]
    """How far each foreground slot was moved from where it was seen; world frame, world units."""
    active: Bool[Tensor, "scenes slots"]
    """False for slots that were taken out of the scene; they have no density."""
    moved: bool = False
    """Whether any offset may differ from 0: known without asking the device."""
    attention: Float[Tensor, "scenes slots tokens"] | None = None
    """Attention over the feature map's tokens, row-major, summing to 1 over the slots."""

    def select_scenes(self: Code, index: Int[Tensor, "chosen"]) -> Code:
        """The same scenes in another order, or some of them, or one repeatedly."""
        return replace(
            self,
            slots=self.slots[index],
            field_from_world=self.field_from_world[index],
            offsets=self.offsets[index],
            active=self.active[index],
            attention=None if self.attention is None else self.attention[index],
        )

    def select_slots(self: Code, index: Int[Tensor, "chosen"]) -> Code:
        """The same slots in another order, or some repeated (a copy to be moved); index 0 must stay first."""
        return replace(
            self,
            slots=self.slots[:, index],
            offsets=self.offsets[:, index],
            active=self.active[:, index],
            attention=None if self.attention is None else self.attention[:, index],
        )

    def move(self: Code, slot: int, offset: Float[Tensor, "3"]) -> Code:
        """Move one foreground slot by ``offset`` world units."""
        offsets = self.offsets.clone()
        offsets[:, slot] += offset
        return replace(self, offsets=offsets, moved=True)

    def delete(self: Code, slot: int) -> Code:
        """Take one slot out of the scene."""
        active = self.active.clone()
        active[:, slot] = False
        return replace(self, active=active)

    def duplicate(self: Code, slot: int, offset: Float[Tensor, "3"]) -> Code:
        """Add a copy of a foreground slot, ``offset`` world units from the original, as the last slot."""
        count = self.slots.shape[1]
        index = torch.tensor([*range(count), slot], device=self.slots.device)
        return self.select_slots(index).move(count, offset)

    def with_background(self: Code, other: Code) -> Code:
        """Take the background slots of other scenes, one for one."""
        slots = torch.cat([other.slots[:, :1], self.slots[:, 1:]], dim=1)
        return replace(self, slots=slots)


@dataclass(frozen=True)
class NovelRays:
    """Rays of views that are inputs themselves.

    Each scene has ``views`` inputs after each other, and the rays of each input belong to the others.
    """

    views: int
    """Inputs of each scene."""
    view: Int[Tensor, "inputs rays"]
    """Which of its scene's inputs each ray belongs to."""
    where: Float[Tensor, "inputs rays 2"]
    """Where in that view the ray's pixel is, the image's outer edges at -1 and 1."""


class SceneModel(nn.Module):
    """What training and evaluation know of a model.

    Args:
        geometry: of the dataset.
    """

    recordable = False
    """Whether a training step does the same work whatever it sees, and never waits for the device, so that
    a GPU can replay a recording of it."""

    def __init__(self, geometry: SceneScale) -> None:
        super().__init__()
        self.geometry = geometry

    def encode(
        self,
        images: Float[Tensor, "scenes 3 height width"],
        world_from_camera: Float[Tensor, "scenes 4 4"],
        *,
        pinholes: Float[Tensor, "scenes 4"] | None = None,
        world_from_azimuth: Float[Tensor, "scenes 3 3"] | None = None,
        generator: torch.Generator | None = None,
        step: int | Tensor | None = None,
    ) -> SceneCode:
        """Slots of scenes, each seen in one image.

        Args:
            images: values in [-1, 1], of the size that the network is used at.
            world_from_camera: the images' poses, OpenCV axes.
            pinholes: the images' lenses (``rays.pinhole_tensor``); when None all are centred and have the
                geometry's focal ratio.
            world_from_azimuth: the images' azimuth frames; derived from the poses when None. Give the
                dataset's own where its zero direction is another (the reference's published files).
            generator: source of what is random in it, on the images' device.
            step: steps of training that lie behind, for models whose learning has a schedule; None when the
                model is used, not trained. A scalar tensor where the step is recorded to be replayed.
        """
        raise NotImplementedError

    def decode(
        self, code: SceneCode, points: Float[Tensor, "scenes points 3"], *, locality: bool
    ) -> SlotSamples:
        """Density and colour of every slot at points in the world.

        Args:
            code: the scenes.
            points: world units.
            locality: whether foreground slots are confined to the locality box.
        """
        raise NotImplementedError

    def render(
        self,
        code: SceneCode,
        origins: Float[Tensor, "scenes rays 3"],
        directions: Float[Tensor, "scenes rays 3"],
        depths: Float[Tensor, "scenes rays samples"],
        *,
        locality: bool,
        chunk_rays: int | None = None,
        per_slot: bool = False,
        pixel: float = 0.0,
    ) -> Rendering:
        """Decode and composite rays, a chunk at a time where asked.

        Args:
            code: the scenes.
            origins: ray origins, world units.
            directions: ray directions with camera z-depth 1.
            depths: planar depths of the samples, ascending, world units.
            locality: whether foreground slots are confined to the locality box.
            chunk_rays: rays of every scene that are rendered at a time; None for all at once. The result is
                the same. While gradients are recorded, chunks keep no activations but compute them again in
                the backward pass, and gradients reach the code and the weights, not the rays.
            per_slot: also composite each slot by itself, as if the others were not there.
            pixel: side of the pixels that the rays look through, in the plane of depth 1 before the camera,
                for models that average over it; 0 for rays without width.
        """
        raise NotImplementedError

    def auxiliary_losses(
        self, code: SceneCode, rendering: Rendering, novel: NovelRays, step: int | Tensor
    ) -> dict[str, Tensor]:
        """Weighted losses by name beside that of the colours, where every view of a scene is an input.

        Args:
            code: of all inputs.
            rendering: of the rays.
            novel: which view each ray belongs to.
            step: steps of training that lie behind.
        """
        return {}


_Where = Bool[Tensor, "scenes slots points"]
_RenderChunk = Callable[[SceneCode, _Where | None], tuple[Rendering, _Where]]


def _tensors(rendering: Rendering) -> tuple[Tensor, ...]:
    together = (rendering.rgb, rendering.depth, rendering.opacity, rendering.slot_opacity)
    if rendering.per_slot is None:
        return together
    return (*together, rendering.per_slot.rgb, rendering.per_slot.depth, rendering.per_slot.density_mask)


def _render_again(
    render: _RenderChunk, code: SceneCode, parameters: list[nn.Parameter]
) -> tuple[Tensor, ...]:
    """Render a chunk and keep no activations for the backward pass, which renders it again.

    The second time only samples with density are decoded: no gradient passes the ReLU of the others, and
    their share of their point is zero. So nothing is done twice for its own sake: the first pass is needed to
    know the colours, and tells the second where to look.
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
    """See ``_render_again``; a function of autograd so that the first pass leaves nothing behind."""

    @staticmethod
    def forward(
        ctx: Any, render: _RenderChunk, code: SceneCode, differentiable: list[str], *inputs: Tensor
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
        return _tensors(rendering)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        count = len(ctx.differentiable)
        leaves = [value.detach().requires_grad_() for value in ctx.saved_tensors[:count]]
        code = replace(ctx.code, **dict(zip(ctx.differentiable, leaves, strict=True)))
        with torch.enable_grad(), torch.autocast(**ctx.autocast):
            outputs = _tensors(ctx.render(code, ctx.where)[0])
        asked = [(out, grad) for out, grad in zip(outputs, gradients, strict=True) if grad is not None]
        inputs = [*leaves, *ctx.saved_tensors[count:]]
        found = torch.autograd.grad(
            [out for out, _ in asked], inputs, [grad for _, grad in asked], allow_unused=True
        )
        return None, None, None, *found


class UORF(SceneModel):
    """The model of uORF (Yu, Guibas, Wu, ICLR 2022), number for number.

    Args:
        config: widths and counts.
        geometry: of the dataset.
    """

    def __init__(self, config: UorfConfig, geometry: SceneScale) -> None:
        super().__init__(geometry)
        self.config = config
        self.encoder = Encoder(config.z_dim, config.bottom)
        self.slot_attention = SlotAttention(config.num_slots, config.z_dim, config.attn_iter)
        self.decoder = Decoder(config.z_dim, config.n_freq, config.n_layers)

    def encode(
        self,
        images: Float[Tensor, "scenes 3 height width"],
        world_from_camera: Float[Tensor, "scenes 4 4"],
        *,
        pinholes: Float[Tensor, "scenes 4"] | None = None,
        world_from_azimuth: Float[Tensor, "scenes 3 3"] | None = None,
        generator: torch.Generator | None = None,
        step: int | Tensor | None = None,
    ) -> SceneCode:
        """See ``SceneModel.encode``. The reference takes 64 × 64 images, or 128 × 128 with ``bottom``.

        Its encoder knows nothing of the lens.
        """
        features = self.encoder(images)
        slots, attention = self.slot_attention(features.flatten(2).transpose(1, 2), generator)
        return SceneCode(
            slots=slots,
            field_from_world=self.field_from_world(world_from_camera, world_from_azimuth),
            offsets=slots.new_zeros(*slots.shape[:2], 3),
            active=torch.ones(slots.shape[:2], dtype=torch.bool, device=slots.device),
            attention=attention,
        )

    def field_from_world(
        self,
        world_from_camera: Float[Tensor, "scenes 4 4"],
        world_from_azimuth: Float[Tensor, "scenes 3 3"] | None = None,
    ) -> Float[Tensor, "scenes 4 4"]:
        """Frame of the foreground fields: the input view's azimuth, or its camera with fixed locality."""
        if self.config.fixed_locality:
            frame = torch.linalg.inv(world_from_camera)
            if self.config.reference_translation_quirk:
                frame = frame.clone()
                frame[:, :3, 3] *= self.geometry.nss_scale
            return frame
        if world_from_azimuth is None:
            world_from_azimuth = azimuth_rotation(world_from_camera)
        frame = torch.eye(4).to(world_from_camera).repeat(len(world_from_camera), 1, 1)
        frame[:, :3, :3] = world_from_azimuth.transpose(1, 2)
        return frame

    def decode(
        self, code: SceneCode, points: Float[Tensor, "scenes points 3"], *, locality: bool
    ) -> SlotSamples:
        """See ``SceneModel.decode``.

        Foreground slots are asked only where they may have density: with ``locality``, inside the box, whose
        axes are those of the azimuth frame, or the world's with fixed locality.
        """
        return self._decode(code, points, locality, None)

    def render(
        self,
        code: SceneCode,
        origins: Float[Tensor, "scenes rays 3"],
        directions: Float[Tensor, "scenes rays 3"],
        depths: Float[Tensor, "scenes rays samples"],
        *,
        locality: bool,
        chunk_rays: int | None = None,
        per_slot: bool = False,
        pixel: float = 0.0,
    ) -> Rendering:
        """See ``SceneModel.render``. In chunks, only samples that have density are decoded again."""
        rays = origins.shape[1]
        step = rays if chunk_rays is None else chunk_rays

        def render_chunk(chunk: slice, code: SceneCode, where: _Where | None) -> tuple[Rendering, _Where]:
            points = points_on_rays(origins[:, chunk], directions[:, chunk], depths[:, chunk]).flatten(1, 2)
            samples = self._decode(code, points, locality, where)
            rendering = composite(
                samples,
                depths[:, chunk],
                directions[:, chunk],
                unit=self.geometry.depth_range,
                per_slot=per_slot,
            )
            return rendering, samples.density > 0

        chunks = []
        for first in range(0, rays, step):
            render = partial(render_chunk, slice(first, first + step))
            if chunk_rays is not None and torch.is_grad_enabled():
                chunks.append(_render_again(render, code, list(self.parameters())))
            else:
                chunks.append(_tensors(render(code, None)[0]))
        rgb, depth, opacity, slot_opacity, *rest = (
            torch.cat(part, dim=1) for part in zip(*chunks, strict=True)
        )
        return Rendering(
            rgb, depth, opacity, slot_opacity, per_slot=SlotRendering(*rest) if per_slot else None
        )

    def _decode(
        self,
        code: SceneCode,
        points: Float[Tensor, "scenes points 3"],
        locality: bool,
        where: _Where | None,
    ) -> SlotSamples:
        """``decode``, or its answer for a caller who knows that there is density only ``where``."""
        scenes, count, _ = points.shape
        slots = code.slots.shape[1]
        scale = self.geometry.nss_scale
        everywhere = torch.arange(count, device=points.device)
        indices, densities, colours = [], [], []

        def ask(field: _Field, scene: int, slot: int, local: Tensor, index: Tensor) -> None:
            if where is not None:
                index = where[scene, slot].nonzero()[:, 0]
            density, colour = field(local[index] / scale, code.slots[scene, slot])
            indices.append(index + (scene * slots + slot) * count)
            densities.append(density)
            colours.append(colour)

        for scene in range(scenes):
            active = code.active[scene].tolist()
            if active[0]:
                ask(self.decoder.background, scene, 0, points[scene], everywhere)
            for group, offset in _slots_by_offset(code.offsets[scene], active):
                here = points[scene] - offset
                frame = code.field_from_world[scene]
                with torch.autocast(points.device.type, enabled=False):  # sixteen bits are no coordinates
                    in_field = here @ frame[:3, :3].T + frame[:3, 3]
                index = everywhere
                if locality:
                    boxed = here if self.config.fixed_locality else in_field
                    index = inside_box(boxed, self.geometry.obj_scale).nonzero()[:, 0]
                for slot in group:
                    ask(self.decoder.foreground, scene, slot, in_field, index)

        index = torch.cat(indices)
        density = points.new_zeros(scenes * slots * count)
        colour = points.new_zeros(scenes * slots * count, 3)
        return SlotSamples(
            density.index_copy(0, index, torch.cat(densities).to(density)).view(scenes, slots, count),
            colour.index_copy(0, index, torch.cat(colours).to(colour)).view(scenes, slots, count, 3),
        )


_Field = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def _slots_by_offset(
    offsets: Float[Tensor, "slots 3"], active: list[bool]
) -> list[tuple[list[int], Float[Tensor, "3"]]]:
    """The foreground slots that are there, in groups that see the same points."""
    groups: dict[tuple[float, ...], list[int]] = {}
    for slot, offset in enumerate(offsets.tolist()):
        if slot > 0 and active[slot]:
            groups.setdefault(tuple(offset), []).append(slot)
    return [(slots, offsets[slots[0]]) for slots in groups.values()]

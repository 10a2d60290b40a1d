"""What every scene model shares, and the whole of the faithful uORF model.

A scene model has three methods: ``encode`` makes a ``SceneCode`` from one posed image a scene, ``decode``
answers for points what each slot's field says there, ``render`` composites rays.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from objnerf.models.config import UorfConfig
from objnerf.models.encoder import Encoder
from objnerf.models.fields import Decoder
from objnerf.models.slots import SlotAttention
from objnerf.rendering.rays import azimuth_rotation, inside_box, points_on_rays
from objnerf.rendering.volume import Mixing, Rendering, SlotRendering, SlotSamples, composite


@dataclass(frozen=True)
class SceneGeometry:
    """What a dataset fixes about space; lengths in world units."""

    near: float = 6.0
    """Planar depth at which sampling starts."""
    far: float = 20.0
    """Planar depth at which sampling ends; densities are per (far - near) of length."""
    nss_scale: float = 7.0
    """World coordinates are divided by this before they enter a network."""
    obj_scale: float = 4.5
    """Half side of the locality box centred on the world's origin."""
    focal_ratio: tuple[float, float] = (350 / 320, 350 / 240)
    """(fx / width, fy / height)."""

    @property
    def depth_range(self) -> float:
        """far - near: the unit of length of densities."""
        return self.far - self.near


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
    present: Bool[Tensor, "scenes slots"]
    """False for slots that were taken out of the scene; they have no density."""
    attention: Float[Tensor, "scenes slots tokens"] | None = None
    """Attention over the feature map's tokens, row-major, summing to 1 over the slots."""

    def select_scenes(self, index: Int[Tensor, "chosen"]) -> Self:
        """The same scenes in another order, or some of them, or one repeatedly."""
        return replace(
            self,
            slots=self.slots[index],
            field_from_world=self.field_from_world[index],
            offsets=self.offsets[index],
            present=self.present[index],
            attention=None if self.attention is None else self.attention[index],
        )

    def select_slots(self, index: Int[Tensor, "chosen"]) -> Self:
        """The same slots in another order, or some repeated (a copy to be moved); index 0 must stay first."""
        return replace(
            self,
            slots=self.slots[:, index],
            offsets=self.offsets[:, index],
            present=self.present[:, index],
            attention=None if self.attention is None else self.attention[:, index],
        )

    def move(self, slot: int, offset: Float[Tensor, "3"]) -> Self:
        """Move one foreground slot by ``offset`` world units."""
        offsets = self.offsets.clone()
        offsets[:, slot] += offset
        return replace(self, offsets=offsets)

    def delete(self, slot: int) -> Self:
        """Take one slot out of the scene."""
        present = self.present.clone()
        present[:, slot] = False
        return replace(self, present=present)

    def duplicate(self, slot: int, offset: Float[Tensor, "3"]) -> Self:
        """Add a copy of a foreground slot, ``offset`` world units from the original, as the last slot."""
        count = self.slots.shape[1]
        index = torch.tensor([*range(count), slot], device=self.slots.device)
        return self.select_slots(index).move(count, offset)

    def with_background(self, other: Self) -> Self:
        """Take the background slots of other scenes, one for one."""
        slots = torch.cat([other.slots[:, :1], self.slots[:, 1:]], dim=1)
        return replace(self, slots=slots)


class SceneModel(Protocol):
    """What rendering needs to know of a model."""

    geometry: SceneGeometry

    def decode(
        self, code: SceneCode, points: Float[Tensor, "scenes points 3"], *, locality: bool
    ) -> SlotSamples: ...


def render_rays(
    model: SceneModel,
    code: SceneCode,
    origins: Float[Tensor, "scenes rays 3"],
    directions: Float[Tensor, "scenes rays 3"],
    depths: Float[Tensor, "scenes rays samples"],
    *,
    locality: bool,
    mixing: Mixing = "share",
    chunk_rays: int | None = None,
    recompute: bool = False,
    alone: bool = False,
) -> Rendering:
    """Decode and composite rays, a chunk at a time where asked.

    Args:
        model: whose fields to ask.
        code: the scenes.
        origins: ray origins, world units.
        directions: ray directions with camera z-depth 1.
        depths: planar depths of the samples, ascending, world units.
        locality: whether foreground slots are confined to the locality box.
        mixing: how slots mix in a point, see ``composite``.
        chunk_rays: rays (of every scene) in flight at once; all when None. The answer is the same.
        recompute: keep no activations of a chunk, but compute them again in the backward pass. Needs
            ``chunk_rays`` to be worth anything.
        alone: also composite each slot by itself.
    """
    rays = origins.shape[1]
    step = rays if chunk_rays is None else chunk_rays

    def render_chunk(first: int) -> tuple[Tensor, ...]:
        last = min(first + step, rays)
        chunk_depths = depths[:, first:last]
        points = points_on_rays(origins[:, first:last], directions[:, first:last], chunk_depths)
        samples = model.decode(code, points.flatten(1, 2), locality=locality)
        rendering = composite(
            samples,
            chunk_depths,
            directions[:, first:last],
            unit=model.geometry.depth_range,
            mixing=mixing,
            alone=alone,
        )
        parts = (rendering.rgb, rendering.depth, rendering.opacity, rendering.slot_opacity)
        if rendering.alone is None:
            return parts
        return (*parts, rendering.alone.rgb, rendering.alone.depth, rendering.alone.density_mask)

    run: Callable[[int], tuple[Tensor, ...]] = render_chunk
    if recompute and torch.is_grad_enabled():

        def run(first: int) -> tuple[Tensor, ...]:
            return checkpoint(render_chunk, first, use_reentrant=False, preserve_rng_state=False)

    chunks = [run(first) for first in range(0, rays, step)]
    rgb, depth, opacity, slot_opacity, *rest = (torch.cat(part, dim=1) for part in zip(*chunks, strict=True))
    return Rendering(rgb, depth, opacity, slot_opacity, alone=SlotRendering(*rest) if rest else None)


class UORF(nn.Module):
    """The model of uORF (Yu, Guibas, Wu, ICLR 2022), number for number.

    Args:
        config: widths and counts.
        geometry: of the dataset.
    """

    def __init__(self, config: UorfConfig, geometry: SceneGeometry) -> None:
        super().__init__()
        self.config = config
        self.geometry = geometry
        self.encoder = Encoder(config.z_dim, config.bottom)
        self.slot_attention = SlotAttention(config.num_slots, config.z_dim, config.attn_iter)
        self.decoder = Decoder(config.z_dim, config.n_freq, config.n_layers)

    def encode(
        self,
        images: Float[Tensor, "scenes 3 height width"],
        world_from_camera: Float[Tensor, "scenes 4 4"],
        *,
        world_from_azimuth: Float[Tensor, "scenes 3 3"] | None = None,
        generator: torch.Generator | None = None,
    ) -> SceneCode:
        """Slots of scenes, each seen in one image.

        Args:
            images: values in [-1, 1]; resized to the network's input size where they differ from it.
            world_from_camera: the images' poses, OpenCV axes.
            world_from_azimuth: the images' azimuth frames; derived from the poses when None. Give the
                dataset's own where its zero direction is another (the reference's published files).
            generator: source of the slots' random start, on the images' device.
        """
        size = (self.config.input_size, self.config.input_size)
        if images.shape[-2:] != size:
            images = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
        features = self.encoder(images)
        slots, attention = self.slot_attention(features.flatten(2).transpose(1, 2), generator)
        return SceneCode(
            slots=slots,
            field_from_world=self.field_from_world(world_from_camera, world_from_azimuth),
            offsets=slots.new_zeros(*slots.shape[:2], 3),
            present=torch.ones(slots.shape[:2], dtype=torch.bool, device=slots.device),
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
        frame = torch.eye(4, device=world_from_camera.device).repeat(len(world_from_camera), 1, 1)
        frame[:, :3, :3] = world_from_azimuth.transpose(1, 2)
        return frame

    def decode(
        self, code: SceneCode, points: Float[Tensor, "scenes points 3"], *, locality: bool
    ) -> SlotSamples:
        """Density and colour of every slot at points in the world.

        Foreground slots are asked only where they may have density: with ``locality``, inside the box
        (in the azimuth frame, or in the world's with fixed locality).
        """
        scenes, count, _ = points.shape
        density = points.new_zeros(scenes, code.slots.shape[1], count)
        colour = points.new_zeros(scenes, code.slots.shape[1], count, 3)
        scale = self.geometry.nss_scale
        for scene in range(scenes):
            present = code.present[scene].tolist()
            if present[0]:
                density[scene, :1], colour[scene, :1] = self.decoder.background(
                    points[scene] / scale, code.slots[scene, :1]
                )
            for slots, offset in _slots_by_offset(code.offsets[scene], present):
                local = points[scene] - offset
                in_field = (
                    local @ code.field_from_world[scene, :3, :3].T + code.field_from_world[scene, :3, 3]
                )
                contents = code.slots[scene, slots]
                if not locality:
                    density[scene, slots], colour[scene, slots] = self.decoder.foreground(
                        in_field / scale, contents
                    )
                    continue
                boxed = local if self.config.fixed_locality else in_field
                inside = inside_box(boxed, self.geometry.obj_scale).nonzero()[:, 0]
                there = (scene, torch.tensor(slots, device=points.device)[:, None], inside)
                density[there], colour[there] = self.decoder.foreground(in_field[inside] / scale, contents)
        return SlotSamples(density, colour)

    def render(
        self,
        code: SceneCode,
        origins: Float[Tensor, "scenes rays 3"],
        directions: Float[Tensor, "scenes rays 3"],
        depths: Float[Tensor, "scenes rays samples"],
        *,
        locality: bool,
        chunk_rays: int | None = None,
        recompute: bool = False,
        alone: bool = False,
    ) -> Rendering:
        """Colour, depth and opacities of rays; see ``render_rays``."""
        return render_rays(
            self,
            code,
            origins,
            directions,
            depths,
            locality=locality,
            chunk_rays=chunk_rays,
            recompute=recompute,
            alone=alone,
        )


def _slots_by_offset(
    offsets: Float[Tensor, "slots 3"], present: list[bool]
) -> list[tuple[list[int], Float[Tensor, "3"]]]:
    """The foreground slots that are there, in groups that see the same points."""
    groups: dict[tuple[float, ...], list[int]] = {}
    for slot, offset in enumerate(offsets.tolist()):
        if slot > 0 and present[slot]:
            groups.setdefault(tuple(offset), []).append(slot)
    return [(slots, offsets[slots[0]]) for slots in groups.values()]

"""The faithful uORF model: slot attention over an encoder, two fields, compositing."""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from objnerf.dataset.card import SceneScale
from objnerf.models.config import UorfConfig
from objnerf.models.encoder import Encoder
from objnerf.models.fields import Decoder
from objnerf.models.recompute import Where, render_again, tensors_of
from objnerf.models.scene import SceneCode, SceneModel
from objnerf.models.slots import SlotAttention
from objnerf.rendering.rays import azimuth_rotation, inside_box, points_on_rays
from objnerf.rendering.volume import Rendering, SlotRendering, SlotSamples, composite


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
        """See ``SceneModel.encode``. uORF takes 64 × 64 images, or 128 × 128 with ``bottom``.

        The encoder does not use the lens.
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

        def render_chunk(chunk: slice, code: SceneCode, where: Where | None) -> tuple[Rendering, Where]:
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
                chunks.append(render_again(render, code, list(self.parameters())))
            else:
                chunks.append(tensors_of(render(code, None)[0]))
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
        where: Where | None,
    ) -> SlotSamples:
        """``decode``, restricted to ``where``, for a caller who knows that there is no density elsewhere."""
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

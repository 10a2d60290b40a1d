"""Rendering object volumes: samples in the grid, then the ground or a wall behind them."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from objnerf.dataset.card import SceneScale
from objnerf.models.volumes.background import Background, Source
from objnerf.models.volumes.code import VolumesCode, VolumesRendering
from objnerf.models.volumes.compositing import Segments, alphas, distortion, segments, transmittance
from objnerf.models.volumes.foreground import sample_foreground, slots_by_offset, voxel_opacity
from objnerf.models.volumes.grid import Grid, Square, in_view, look_up_channels, project
from objnerf.models.volumes.instances import seen_from_above
from objnerf.models.volumes.layout import behind_wall
from objnerf.models.volumes.pattern import continue_pattern
from objnerf.models.volumes.shadows import find_shadows
from objnerf.models.volumes.surfaces import Surfaces, find_surfaces
from objnerf.rendering.rays import camera_directions, world_rays
from objnerf.rendering.volume import SlotRendering


@dataclass(frozen=True)
class _MixedSamples:
    """The foreground at the samples of rays."""

    total: Float[Tensor, "scenes rays samples"]
    """Density of all slots together, per world unit."""
    tint: Float[Tensor, "scenes rays samples 3"]
    """Colour times density, summed over the slots."""
    shares: Float[Tensor, "scenes objects rays samples"]
    """Density of each foreground slot."""
    colours: dict[int, Tensor]
    """Colour of each foreground slot, (scenes, rays, samples, 3)."""


@dataclass(frozen=True)
class VolumeRenderer:
    """Renders codes of object volumes. It has no parameters but those of the background network."""

    geometry: SceneScale
    grid: Grid
    background: Background
    ground_subrays: int
    """Look-ups in the ground along each side of a pixel."""
    square: Square
    """Of the map in which the ground's pattern is continued."""

    def surfaces(
        self,
        code: VolumesCode,
        origins: Float[Tensor, "scenes rays 3"],
        directions: Float[Tensor, "scenes rays 3"],
        pixel: float,
    ) -> tuple[Surfaces, Float[Tensor, "scenes rays"]]:
        """Where rays meet the background, and at which planar depth; see ``find_surfaces``."""
        return find_surfaces(code, origins, directions, self.geometry, pixel, self.ground_subrays)

    def background_colour(self, code: VolumesCode, surfaces: Surfaces) -> Float[Tensor, "scenes rays 3"]:
        """Colours in [0, 1] of what rays meet behind the objects."""
        ground = surfaces.ground.mean(2)
        local = ground @ code.ground_field_from_world.transpose(1, 2)
        shade = self.grid.sample_columns(code.shade, local)[:, 0]
        pattern = self.square.sample_columns(code.pattern, local).transpose(1, 2)
        mapped = (local[..., :2].abs() <= self.square.half).all(-1, keepdim=True)
        pattern = torch.cat([pattern, torch.ones_like(pattern[..., :1])], dim=-1) * mapped
        source = Source(code.ground, code.ground_means, code.ground_world_from_camera, code.ground_pinholes)
        colour = self.background(source, surfaces, pattern, shade, code.ground_field_from_world)
        return self._with_edits(code, colour, ground, surfaces.is_wall)

    @torch.no_grad()
    def mean_colours(
        self, code: VolumesCode, image: Float[Tensor, "scenes 8 height width"]
    ) -> Float[Tensor, "scenes 2 3"]:
        """Mean colours of ground and walls in the input view, objects left out."""
        small = F.interpolate(image, scale_factor=1 / 8, mode="area")
        height, width = small.shape[-2:]
        directions = camera_directions(code.pinholes, width, height).flatten(1, 2)
        origins, directions = world_rays(directions, code.world_from_camera)
        wall = find_surfaces(code, origins, directions, self.geometry)[0].is_wall
        seen = small.flatten(2).transpose(1, 2)
        weights = torch.stack([1 - wall, wall], dim=1) * seen[:, None, :, 7]
        everything = seen[:, None, :, 7] * 0.02
        total = (weights + everything).sum(-1, keepdim=True).clamp(min=1e-6)
        return (weights + everything) @ seen[..., :3] / total

    @torch.no_grad()
    def with_ground_map(self, code: VolumesCode, shadows: bool) -> VolumesCode:
        """The scenes with the pattern of their ground, and on demand with the shadows of their objects.

        Args:
            code: of input views, with the image that the background is looked up in.
            shadows: whether shadows are to go with objects that are moved or taken out.
        """
        columns = self.square.columns(code.ground.device)
        local = F.pad(columns.flatten(0, 1), (0, 1)).expand(len(code.ground), -1, -1)
        where, depth = project(local @ code.ground_field_from_world, code.world_from_camera, code.pinholes)
        found = look_up_channels(code.ground, where)
        hidden = behind_wall(code.walls, local, self.geometry.obj_scale)
        side = (self.square.cells, self.square.cells)
        seen = (found[:, 7:] * (in_view(where, depth) * (1 - hidden))[:, None]).unflatten(2, side)
        ground = continue_pattern(found[:, :3].unflatten(2, side), seen)
        code = replace(code, pattern=torch.cat([ground.colours, ground.known], dim=1))
        if not shadows:
            return code
        above = seen_from_above(voxel_opacity(code.volume))[:, None] * code.owner
        above = above * code.active[:, 1:, None, None]
        shares = self.grid.sample_columns(above, local, beyond="zeros").unflatten(2, side)
        shade = self.grid.sample_columns(code.shade, local).unflatten(2, side)
        found_shadows = find_shadows(ground, seen, shade, shares, self.square, self.geometry.obj_scale)
        return replace(
            code,
            shadows=found_shadows.cast,
            zones=found_shadows.zones,
            cleared=found_shadows.cleared,
            ground_zone=found_shadows.zones.sum(1, keepdim=True),
        )

    def _with_edits(
        self,
        code: VolumesCode,
        background: Float[Tensor, "scenes rays 3"],
        points: Float[Tensor, "scenes rays 3"],
        is_wall: Float[Tensor, "scenes rays"],
    ) -> Float[Tensor, "scenes rays 3"]:
        """Colours of the background after edits: objects take their shadows with them.

        Args:
            code: the scenes.
            background: colours as the view that is looked up shows them.
            points: of the ground.
            is_wall: how surely rays do not show the ground.
        """
        if code.shadows is None or code.zones is None or code.cleared is None or code.ground_zone is None:
            return background
        there = code.active[:, 1:]
        stays = there & (code.offsets[:, 1:] == 0).all(-1) & code.own_ground
        own, ground = code.field_from_world[:, :3, :3], code.ground_field_from_world
        weights = stays[:, :, None, None].to(background)
        left = (code.ground_zone - (code.zones * weights).sum(1, keepdim=True)).clamp(0, 1)
        dark = (code.shadows * weights).sum(1, keepdim=True)
        maps = torch.cat([code.cleared, left, dark], dim=1)
        local = points @ ground.transpose(1, 2)
        on_map = (local[..., :2].abs() <= self.square.half).all(-1)
        cleared, left, dark = self.square.sample_columns(maps, local).transpose(1, 2).split([3, 1, 1], dim=-1)
        left = left * (on_map * (1 - is_wall))[..., None]
        edited = background + left * (cleared * dark.exp() - background)
        brought = (there & ~stays)[:, :, None, None].to(background) * code.shadows
        for slots, offset in slots_by_offset(code):
            moved = brought[:, [slot - 1 for slot in slots]].sum(1, keepdim=True)
            local = (points - offset[:, None]) @ own.transpose(1, 2)
            light = self.square.sample_columns(moved, local, beyond="zeros")[:, 0]
            edited = edited * ((1 - is_wall) * light).exp()[..., None]
        return edited

    def render(
        self,
        code: VolumesCode,
        origins: Float[Tensor, "scenes rays 3"],
        directions: Float[Tensor, "scenes rays 3"],
        depths: Float[Tensor, "scenes rays samples"],
        per_slot: bool,
        pixel: float,
    ) -> VolumesRendering:
        """Render rays, all at once; see ``ObjectVolumes.render``."""
        surfaces, ground = self.surfaces(code, origins, directions, pixel)
        placed = self._place_samples(code, origins, directions, depths, ground)
        points = (origins[:, :, None] + placed.depths[..., None] * directions[:, :, None]).flatten(1, 2)
        samples = self._mix(code, points, depths)
        alpha = alphas(samples.total, placed.lengths)
        light = transmittance(alpha)
        weights = alpha * light[..., :-1]
        passed = light[..., -1:]
        safe = samples.total.clamp(min=1e-8)
        slot_opacity = torch.einsum("brs,bkrs->brk", weights / safe, samples.shares)
        behind = passed * code.active[:, None, :1]
        rgb = (weights[..., None] * (samples.tint / safe[..., None])).sum(2)
        background = self.background_colour(code, surfaces)
        rgb = rgb + behind * background
        depth = (weights * placed.depths).sum(-1) + behind[..., 0] * ground
        opacity = weights.sum(-1) + behind[..., 0]
        return VolumesRendering(
            rgb=rgb,
            depth=depth / opacity.clamp(min=1e-4),
            opacity=opacity,
            slot_opacity=torch.cat([behind, slot_opacity], dim=-1),
            per_slot=_render_slots(code, samples, placed, background, ground) if per_slot else None,
            spread=distortion(weights, placed.fractions),
            behind=surfaces.met.detach(),
        )

    def _place_samples(
        self, code: VolumesCode, origins: Tensor, directions: Tensor, depths: Tensor, ground: Tensor
    ) -> Segments:
        """Samples between where rays enter the grid and where they leave it or meet the background."""
        geometry, grid = self.geometry, self.grid
        rotation = code.field_from_world[:, :3, :3].transpose(1, 2)
        if code.moved:
            # Moved objects may stand outside of the grid, so samples cover more of the ray above the ground.
            reach = float(code.offsets.abs().amax())
            grid = replace(grid, half=grid.half + reach, height=grid.height + reach)
        enter, leave = grid.intersect(origins @ rotation, directions @ rotation)
        enter = enter.clamp(min=geometry.near / 4)
        fractions = (depths - geometry.near) / geometry.depth_range
        return segments(fractions, enter, torch.minimum(leave, ground), directions)

    def _mix(
        self,
        code: VolumesCode,
        points: Float[Tensor, "scenes points 3"],
        depths: Float[Tensor, "scenes rays samples"],
    ) -> _MixedSamples:
        """All groups of foreground slots at the samples of rays; of ``depths`` only the shape counts."""
        scenes, rays, samples = depths.shape
        slots = code.slots.shape[1]
        total = points.new_zeros(scenes, rays, samples)
        tint = points.new_zeros(scenes, rays, samples, 3)
        parts, order, colours = [], [], {}
        for group in sample_foreground(code, points, self.grid):
            density = group.density.unflatten(1, (rays, samples))
            share = group.share.unflatten(2, (rays, samples)) * density[:, None]
            colour = group.colour.unflatten(1, (rays, samples))
            together = share.sum(1)
            parts.append(share)
            order.extend(group.slots)
            total, tint = total + together, tint + together[..., None] * colour
            colours.update(dict.fromkeys(group.slots, colour))
        shares = parts[0]
        if len(parts) > 1:
            shares = torch.cat(parts, dim=1)[:, [order.index(slot) for slot in range(1, slots)]]
        return _MixedSamples(total, tint, shares, colours)


def _render_slots(
    code: VolumesCode, samples: _MixedSamples, placed: Segments, background: Tensor, ground: Tensor
) -> SlotRendering:
    """Each slot by itself.

    uORF's mask of a slot is its density summed with the ray's weights. A surface has no density, so here
    it is the slot's opacity, and that of the background one half: it is seen where no object hides more.
    """
    alpha = alphas(samples.shares, placed.lengths[:, None].expand_as(samples.shares))
    weights = alpha * transmittance(alpha)[..., :-1]
    opacity = weights.sum(-1)
    colour = torch.stack([samples.colours[slot] for slot in sorted(samples.colours)], dim=1)
    rgb = (weights[..., None] * colour).sum(3).transpose(1, 2)
    depth = (weights * placed.depths[:, None]).sum(-1) / opacity.clamp(min=1e-4)
    there = code.active[:, None, :1].to(rgb)
    return SlotRendering(
        rgb=torch.cat([(background * there)[:, :, None], rgb], dim=2),
        depth=torch.cat([ground[..., None], depth.transpose(1, 2)], dim=-1),
        density_mask=torch.cat(
            [0.5 * there.expand(-1, ground.shape[1], -1), opacity.transpose(1, 2)], dim=-1
        ),
    )


def join(parts: list[VolumesRendering]) -> VolumesRendering:
    """Renderings of chunks of the same rays, one after the other, as one."""
    if len(parts) == 1:
        return parts[0]
    values = {
        name: torch.cat([getattr(part, name) for part in parts], dim=1)
        for name in ("rgb", "depth", "opacity", "slot_opacity", "spread", "behind")
    }
    per_slot = [part.per_slot for part in parts if part.per_slot is not None]
    return VolumesRendering(
        **values,
        per_slot=SlotRendering(
            **{
                name: torch.cat([getattr(slot, name) for slot in per_slot], dim=1)
                for name in ("rgb", "depth", "density_mask")
            }
        )
        if per_slot
        else None,
    )

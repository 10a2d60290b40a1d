"""Object volumes: one picture to a voxel grid over the ground, whose objects stand apart seen from above.

1. ``lifting`` takes features of the input view's pixels into voxels, mixes them by convolutions seen from
   above, and predicts raw density and colour. Rays look the raw values up and activate them after
   interpolation, so that surfaces are sharper than voxels. No network is asked for a sample.
2. ``background`` looks the ground up in the input view by homography, objects left out. While training that
   view is never explained itself, so the background cannot paint what does not lie in the ground's plane.
3. ``instances`` gives every cell seen from above to one object. All slots share one volume, and each owns its
   cells, so that a slot rendered by itself shows one object.
4. An *outline*, a logit for each pixel of the input view, is added to the raw density of all voxels on the
   pixel's ray: shapes are sharper seen from the input camera than the grid's resolution. It is learned from
   the opacity that the volumes of other views show there.

Everything starts from the colours of the input view, so the first gradients are those of stereo: density
grows where views agree.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from objnerf.dataset.card import SceneScale
from objnerf.errors import InputError
from objnerf.models.config import VolumesConfig
from objnerf.models.scene import NovelRays, SceneCode, SceneModel
from objnerf.models.volumes import losses
from objnerf.models.volumes.background import (
    Background,
    Source,
    Surfaces,
    log_shade,
    source_image,
    subpixel_offsets,
)
from objnerf.models.volumes.consistency import photo_consistency
from objnerf.models.volumes.grid import Grid, ground_depth, in_view, look_up, project
from objnerf.models.volumes.instances import InstanceHead, assign, find_centers, fuse, seen_from_above, split
from objnerf.models.volumes.layout import WallLayout, wall_depth
from objnerf.models.volumes.lifting import Lifting, ground_map
from objnerf.models.volumes.networks import PixelNetwork
from objnerf.models.volumes.rendering import (
    Segments,
    activated_density,
    alphas,
    distortion,
    segments,
    transmittance,
)
from objnerf.rendering.rays import azimuth_rotation, camera_directions, world_rays
from objnerf.rendering.volume import Rendering, SlotRendering, SlotSamples

GROUND_DENSITY = 40.0
"""Raw density, a voxel's side, of what ``decode`` reports below the ground."""

OWN_VIEW_SAMPLES = 24
"""Samples of the rays through the input view's own pixels."""

GROUND_BAND = 0.1
"""Height above z = 0, in sides of a voxel, up to which ``decode`` takes points for ground."""

VOLUME_STEPS = 300
"""Steps over which the weight of the voxels' opacity grows."""

WALL_SOFTNESS = 0.05
"""Difference of depths, in obj_scale, over which ground turns into wall."""

Code = TypeVar("Code", bound="VolumesCode")


@dataclass(frozen=True, kw_only=True)
class VolumesCode(SceneCode):
    """What the model knows of some scenes."""

    volume: Float[Tensor, "scenes 5 layers rows columns"]
    """Raw density, raw colour and raw share of the looked-up colour; field frame."""
    owner: Float[Tensor, "scenes objects rows columns"]
    """Share of each foreground slot in each cell seen from above; they sum to 1."""
    centers: Float[Tensor, "scenes objects 2"]
    """Of the foreground slots on the ground, field frame, world units."""
    heat: Float[Tensor, "scenes rows columns"]
    """Logits of the centre heatmap."""
    votes: Float[Tensor, "scenes rows columns 2"]
    """Offsets from cells to their objects' centres, world units."""
    pixels: Float[Tensor, "scenes 4 half_height half_width"]
    """Colour in [0, 1] and outline logit of the input view."""
    world_from_camera: Float[Tensor, "scenes 4 4"]
    """Pose of the input view."""
    pinholes: Float[Tensor, "scenes 4"]
    """Lens of the input view."""
    ground: Float[Tensor, "scenes 7 height width"]
    """What the background is looked up in; see ``background.source_image``."""
    ground_means: Float[Tensor, "scenes 2 3"]
    """Mean colour of its ground and of its walls."""
    walls: Float[Tensor, "scenes directions"]
    """Distance of the walls in directions of the ground's field frame; see ``layout``."""
    shade: Float[Tensor, "scenes 1 rows columns"]
    """Logarithm of the light on the ground seen from above."""
    ground_world_from_camera: Float[Tensor, "scenes 4 4"]
    """Pose of the view that the ground is looked up in."""
    ground_pinholes: Float[Tensor, "scenes 4"]
    ground_field_from_world: Float[Tensor, "scenes 3 3"]

    def select_scenes(self: Code, index: Int[Tensor, "chosen"]) -> Code:
        """See ``SceneCode.select_scenes``."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        chosen: dict[str, Any] = {
            name: value.index_select(0, index) for name, value in values.items() if isinstance(value, Tensor)
        }
        return replace(self, **chosen)

    def select_slots(self: Code, index: Int[Tensor, "chosen"]) -> Code:
        """See ``SceneCode.select_slots``. A repeated slot owns the same cells."""
        objects = index[1:] - 1
        return replace(
            self,
            slots=self.slots[:, index],
            offsets=self.offsets[:, index],
            active=self.active[:, index],
            owner=self.owner[:, objects],
            centers=self.centers[:, objects],
        )

    def with_background(self: Code, other: Code) -> Code:
        """See ``SceneCode.with_background``."""
        return replace(
            super().with_background(other),
            ground=other.ground,
            ground_means=other.ground_means,
            walls=other.walls,
            shade=other.shade,
            ground_world_from_camera=other.ground_world_from_camera,
            ground_pinholes=other.ground_pinholes,
            ground_field_from_world=other.ground_field_from_world,
        )


@dataclass(frozen=True, kw_only=True)
class VolumesRendering(Rendering):
    """What rays see, and how far the foreground is spread along them."""

    spread: Float[Tensor, "scenes rays"]
    """Distortion of the foreground's weights; see ``rendering.distortion``."""
    behind: Float[Tensor, "scenes rays 3"]
    """Where they meet the ground or a wall, world units; without a gradient."""


@dataclass(frozen=True)
class _Foreground:
    """The slots that were moved alike, at some points."""

    slots: list[int]
    density: Float[Tensor, "scenes points"]
    """Of all objects together, per world unit."""
    colour: Float[Tensor, "scenes points 3"]
    share: Float[Tensor, "scenes group points"]
    """Of each slot in the density; 0 for slots that were taken out."""


class ObjectVolumes(SceneModel):
    """Object volumes.

    Args:
        config: widths, resolutions, schedules and weights of the model's own losses.
        geometry: of the dataset.
    """

    recordable = True

    def __init__(self, config: VolumesConfig, geometry: SceneScale) -> None:
        super().__init__(geometry)
        self.config = config
        half = config.half_share * geometry.obj_scale
        self.grid = Grid(half, config.height_share * geometry.obj_scale, config.cells, config.layers)
        self.lifting = Lifting(self.grid, config.width, config.features, config.mixed)
        self.outline = PixelNetwork(5, config.outline_width, 1)
        nn.init.zeros_(self.outline.out.weight)
        assert self.outline.out.bias is not None
        nn.init.zeros_(self.outline.out.bias)
        self.background = Background(geometry.nss_scale, config.width)
        self.layout = WallLayout(config.features, geometry.obj_scale)
        self.instances = InstanceHead(config.width, half)
        self.register_buffer("columns", self.grid.columns(), persistent=False)
        self.columns: Tensor
        self.register_buffer("pinhole", torch.tensor([*geometry.focal_ratio, 0.0, 0.0]), persistent=False)
        self.pinhole: Tensor

    # -- looking at the input view

    def encode(
        self,
        images: Float[Tensor, "scenes 3 height width"],
        world_from_camera: Float[Tensor, "scenes 4 4"],
        *,
        pinholes: Float[Tensor, "scenes 4"] | None = None,
        world_from_azimuth: Float[Tensor, "scenes 3 3"] | None = None,
        generator: torch.Generator | None = None,
        step: int | Tensor | None = None,
    ) -> VolumesCode:
        """See ``SceneModel.encode``. Height and width are multiples of 8.

        Raises:
            InputError: a size that is no multiple of 8.
        """
        scenes, _, height, width = images.shape
        if height % 8 or width % 8:
            raise InputError(
                f"input_size: expected width and height to be multiples of 8, got {width} × {height}"
            )
        if self.config.fixed_locality:
            world_from_azimuth = torch.eye(3, device=images.device).expand(scenes, 3, 3)
        elif world_from_azimuth is None:
            world_from_azimuth = azimuth_rotation(world_from_camera)
        rotation = world_from_azimuth.transpose(1, 2).contiguous()
        if pinholes is None:
            pinholes = self.pinhole.expand(scenes, 4)
        ground = ground_map(world_from_camera, pinholes, rotation, (width, height), self.geometry.nss_scale)
        volume, cells, features = self.lifting(images, ground, world_from_camera, pinholes, rotation)
        outline = self.outline(torch.cat([images, ground], dim=1))
        colours = (images + 1) / 2
        heat, votes = self.instances(cells.detach() if self.config.detach_instances else cells)
        config = self.config
        centers, active = find_centers(
            heat.detach().sigmoid(),
            self.columns,
            config.num_slots - 1,
            config.center_threshold,
            config.center_apart,
        )
        owner = assign(votes.detach(), self.columns, centers, active, config.owner_softness)
        fine = F.interpolate(colours, size=outline.shape[-2:], mode="area")
        frame = torch.eye(4, device=images.device).repeat(scenes, 1, 1)
        frame[:, :3, :3] = rotation
        code = VolumesCode(
            slots=self._latents(cells.detach(), volume.detach(), owner),
            field_from_world=frame,
            offsets=images.new_zeros(scenes, config.num_slots, 3),
            active=torch.cat([torch.ones_like(active[:, :1]), active], dim=1),
            volume=volume,
            owner=owner,
            centers=centers,
            heat=heat,
            votes=votes,
            pixels=torch.cat([fine, outline], dim=1),
            world_from_camera=world_from_camera,
            pinholes=pinholes,
            ground=source_image(colours, torch.zeros_like(colours[:, :1])),
            ground_means=colours.new_zeros(scenes, 2, 3),
            walls=self.layout(features, world_from_camera, pinholes, rotation),
            shade=log_shade(self.background.shade(cells)),
            ground_world_from_camera=world_from_camera,
            ground_pinholes=pinholes,
            ground_field_from_world=rotation,
        )
        if step is None:
            shown = self._own_opacity(code)
            objects = F.max_pool2d((shown * config.mask_gain).clamp(max=1), 5, 1, 2)
        else:
            objects = self._growing_mask(outline.detach().sigmoid(), step)
        objects = F.interpolate(objects, size=colours.shape[-2:], mode="bilinear", align_corners=False)
        image = source_image(colours, objects)
        return replace(code, ground=image, ground_means=self._means(code, image))

    @torch.no_grad()
    def _means(
        self, code: VolumesCode, image: Float[Tensor, "scenes 7 height width"]
    ) -> Float[Tensor, "scenes 2 3"]:
        """Mean colours of ground and walls in the input view, objects left out."""
        small = F.interpolate(image, scale_factor=1 / 8, mode="area")
        height, width = small.shape[-2:]
        directions = camera_directions(code.pinholes, width, height).flatten(1, 2)
        origins, directions = world_rays(directions, code.world_from_camera)
        wall = self._surfaces(code, origins, directions, 0.0)[0].is_wall
        seen = small.flatten(2).transpose(1, 2)
        weights = torch.stack([1 - wall, wall], dim=1) * seen[:, None, :, 6]
        everything = seen[:, None, :, 6] * 0.02
        total = (weights + everything).sum(-1, keepdim=True).clamp(min=1e-6)
        return (weights + everything) @ seen[..., :3] / total

    def _growing_mask(
        self, shown: Float[Tensor, "scenes 1 rows columns"], step: int | Tensor
    ) -> Float[Tensor, "scenes 1 rows columns"]:
        """Pixels that are left out of the ground: at first those that surely show objects, then all around.

        A wide mask from the first step on would leave nothing to compare the ground with.
        """
        wide = ramp(step, *self.config.mask_steps)
        mask = F.max_pool2d((shown * (1 + (self.config.mask_gain - 1) * wide)).clamp(max=1), 3, 1, 1)
        return mask + wide * (F.max_pool2d(mask, 3, 1, 1) - mask)

    @torch.no_grad()
    def _own_opacity(self, code: VolumesCode) -> Float[Tensor, "scenes 1 rows columns"]:
        """The foreground's opacity in the input view itself, at the outline's resolution."""
        height, width = code.pixels.shape[-2:]
        directions = camera_directions(code.pinholes, width, height).flatten(1, 2)
        origins, directions = world_rays(directions, code.world_from_camera)
        depths = torch.linspace(0, 1, 48, device=directions.device)
        near, far = self.geometry.near, self.geometry.far
        depths = (near + (far - near) * depths).expand(*directions.shape[:2], -1)
        rendering = self.render(code, origins, directions, depths, locality=True, chunk_rays=4096)
        return rendering.slot_opacity[..., 1:].sum(-1)[:, None].unflatten(2, (height, width))

    def _latents(
        self, cells: Tensor, volume: Tensor, owner: Tensor
    ) -> Float[Tensor, "scenes slots channels"]:
        """A vector for each slot: the mean of its cells' features, weighted by their opacity."""
        opacity = seen_from_above(self._opacity(volume))
        weight = torch.cat([1 - opacity[:, None], owner * opacity[:, None]], dim=1).flatten(2)
        weight = weight / weight.sum(-1, keepdim=True).clamp(min=1e-6)
        return weight @ cells.flatten(2).transpose(1, 2)

    def _opacity(self, volume: Float[Tensor, "scenes 5 layers rows columns"]) -> Tensor:
        """Opacity of each voxel, seen along the side of a cell."""
        return 1 - torch.exp(-F.softplus(volume[:, 0]))

    # -- answering for points

    def decode(
        self, code: SceneCode, points: Float[Tensor, "scenes points 3"], *, locality: bool
    ) -> SlotSamples:
        """See ``SceneModel.decode``. The background is what lies below the ground."""
        assert isinstance(code, VolumesCode)
        unit = self.geometry.depth_range
        slots = code.slots.shape[1]
        density = points.new_zeros(len(points), slots, points.shape[1])
        colour = points.new_zeros(len(points), slots, points.shape[1], 3)
        for part in self._foreground(code, points):
            density[:, part.slots] = unit * part.density[:, None] * part.share
            colour[:, part.slots] = part.colour[:, None].expand(-1, len(part.slots), -1, -1)
        # The surface itself is ground, to within rounding and what a depth map's pixels leave open.
        below = (points[..., 2] <= GROUND_BAND * self.grid.cell) & code.active[:, :1]
        density[:, 0] = below * (unit * GROUND_DENSITY / self.grid.cell)
        # A point is its own ground; no wall is asked for, since there is no ray.
        at_points = Surfaces(points[:, :, None], points[:, :, None], torch.zeros_like(points[..., 0]))
        colour[:, 0] = self._background_colour(code, at_points)
        return SlotSamples(density, colour)

    def _foreground(
        self, code: VolumesCode, points: Float[Tensor, "scenes points 3"]
    ) -> Iterator[_Foreground]:
        """What the foreground is at world points, slots that were moved alike together."""
        rotation = code.field_from_world[:, :3, :3]
        for slots, offset in _moved_alike(code):
            here = points - offset[:, None]
            local = here @ rotation.transpose(1, 2)
            raw = self.grid.sample(code.volume, local)
            where, _ = project(here, code.world_from_camera, code.pinholes)
            seen = look_up(code.pixels, where)
            inside = (local[..., :2].abs() <= self.grid.half).all(-1)
            inside &= (local[..., 2] >= 0) & (local[..., 2] <= self.grid.height)
            density = activated_density(raw[:, 0] + seen[..., 3], self.grid.cell) * inside
            mix = raw[:, 4].sigmoid()[..., None]
            own = raw[:, 1:4].transpose(1, 2).sigmoid()
            objects = [slot - 1 for slot in slots] if code.moved else slice(None)
            share = self.grid.sample_columns(code.owner[:, objects], local)
            share = share * code.active[:, 1:][:, objects, None]
            yield _Foreground(slots, density, mix * seen[..., :3] + (1 - mix) * own, share)

    def _background_colour(self, code: VolumesCode, surfaces: Surfaces) -> Float[Tensor, "scenes rays 3"]:
        local = surfaces.ground.mean(2) @ code.ground_field_from_world.transpose(1, 2)
        shade = self.grid.sample_columns(code.shade, local)[:, 0]
        source = Source(code.ground, code.ground_means, code.ground_world_from_camera, code.ground_pinholes)
        return self.background(source, surfaces, shade, code.ground_field_from_world)

    def _surfaces(
        self,
        code: VolumesCode,
        origins: Float[Tensor, "scenes rays 3"],
        directions: Float[Tensor, "scenes rays 3"],
        pixel: float,
    ) -> tuple[Surfaces, Float[Tensor, "scenes rays"]]:
        """Where rays meet the background, and at which planar depth."""
        near, far = self.geometry.near, self.geometry.far
        ground = ground_depth(origins, directions, near, far)
        frame = code.ground_field_from_world.transpose(1, 2)
        # Rays that rise meet the walls beyond far, if anything; a wall is a wall.
        wall = wall_depth(code.walls, origins @ frame, directions @ frame, near, 2 * far)
        is_wall = ((ground - wall) / (WALL_SOFTNESS * self.geometry.obj_scale)).sigmoid()
        spread = _spread(directions, pixel, self.config.ground_subrays)
        start = origins[:, :, None].expand(spread.shape)
        return (
            Surfaces(
                ground=start + ground_depth(start, spread, near, far)[..., None] * spread,
                wall=start + wall[..., None, None] * spread,
                is_wall=is_wall,
            ),
            torch.minimum(ground, wall),
        )

    # -- rendering

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
    ) -> VolumesRendering:
        """See ``SceneModel.render``.

        ``depths`` say how samples are spread between near and far; they are moved to where the ray is in the
        grid and above the ground.
        """
        assert isinstance(code, VolumesCode)
        rays = origins.shape[1]
        chunk = rays if chunk_rays is None else chunk_rays
        parts = []
        for first in range(0, rays, chunk):
            part = slice(first, first + chunk)
            arguments = (code, origins[:, part], directions[:, part], depths[:, part], per_slot, pixel)
            if chunk_rays is not None and torch.is_grad_enabled():
                parts.append(checkpoint(self._render, *arguments, use_reentrant=False))
            else:
                parts.append(self._render(*arguments))
        return _joined(parts)

    def _render(
        self,
        code: VolumesCode,
        origins: Tensor,
        directions: Tensor,
        depths: Tensor,
        per_slot: bool,
        pixel: float,
    ) -> VolumesRendering:
        geometry, grid = self.geometry, self.grid
        scenes, rays, samples = depths.shape
        rotation = code.field_from_world[:, :3, :3].transpose(1, 2)
        surfaces, ground = self._surfaces(code, origins, directions, pixel)
        if code.moved:
            # Moved objects may stand outside of the grid; all of the ray above the ground is looked at.
            reach = code.offsets.abs().amax()
            wide = replace(grid, half=grid.half + float(reach), height=grid.height + float(reach))
            enter, leave = wide.intersect(origins @ rotation, directions @ rotation)
        else:
            enter, leave = grid.intersect(origins @ rotation, directions @ rotation)
        enter = enter.clamp(min=geometry.near / 4)
        fractions = (depths - geometry.near) / geometry.depth_range
        placed = segments(fractions, enter, torch.minimum(leave, ground), directions)
        points = (origins[:, :, None] + placed.depths[..., None] * directions[:, :, None]).flatten(1, 2)
        slots = code.slots.shape[1]
        total = points.new_zeros(scenes, rays, samples)
        tint = points.new_zeros(scenes, rays, samples, 3)
        parts, order, tints = [], [], {}
        for part in self._foreground(code, points):
            density = part.density.unflatten(1, (rays, samples))
            share = part.share.unflatten(2, (rays, samples)) * density[:, None]
            colour = part.colour.unflatten(1, (rays, samples))
            together = share.sum(1)
            parts.append(share)
            order.extend(part.slots)
            total, tint = total + together, tint + together[..., None] * colour
            tints.update(dict.fromkeys(part.slots, colour))
        shares = parts[0]
        if len(parts) > 1:
            shares = torch.cat(parts, dim=1)[:, [order.index(slot) for slot in range(1, slots)]]
        alpha = alphas(total, placed.lengths)
        light = transmittance(alpha)
        weights = alpha * light[..., :-1]
        passed = light[..., -1:]
        safe = total.clamp(min=1e-8)
        slot_opacity = torch.einsum("brs,bkrs->brk", weights / safe, shares)
        behind = passed * code.active[:, None, :1]
        rgb = (weights[..., None] * (tint / safe[..., None])).sum(2)
        background = self._background_colour(code, surfaces)
        rgb = rgb + behind * background
        depth = (weights * placed.depths).sum(-1) + behind[..., 0] * ground
        opacity = weights.sum(-1) + behind[..., 0]
        return VolumesRendering(
            rgb=rgb,
            depth=depth / opacity.clamp(min=1e-4),
            opacity=opacity,
            slot_opacity=torch.cat([behind, slot_opacity], dim=-1),
            per_slot=self._per_slot(code, shares, tints, placed, background, ground) if per_slot else None,
            spread=distortion(weights, placed.fractions),
            behind=surfaces.met.detach(),
        )

    def _per_slot(
        self,
        code: VolumesCode,
        shares: Tensor,
        tints: dict[int, Tensor],
        placed: Segments,
        background: Tensor,
        ground: Tensor,
    ) -> SlotRendering:
        """Each slot by itself.

        uORF's mask of a slot is its density summed with the ray's weights. A surface has no density, so here
        it is the slot's opacity, and that of the background one half: it is seen where no object hides more.
        """
        alpha = alphas(shares, placed.lengths[:, None].expand_as(shares))
        weights = alpha * transmittance(alpha)[..., :-1]
        opacity = weights.sum(-1)
        colour = torch.stack([tints[slot] for slot in sorted(tints)], dim=1)
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

    # -- learning

    def auxiliary_losses(
        self,
        code: SceneCode,
        rendering: Rendering,
        novel: NovelRays,
        step: int | Tensor,
    ) -> dict[str, Tensor]:
        """Weighted losses by name, beside that of the colours.

        Args:
            code: of all views of some scenes: ``views`` entries after each other for each.
            rendering: of rays of the other views.
            novel: which of its scene's views each ray belongs to, and where in it.
            step: steps of training that lie behind.
        """
        assert isinstance(code, VolumesCode)
        assert isinstance(rendering, VolumesRendering)
        config, views = self.config, novel.views
        share = ramp(step, 0, config.ramp_steps)
        shown = rendering.slot_opacity[..., 1:].sum(-1)
        opacity = self._opacity(code.volume)
        losses_ = {
            "sparsity": config.sparsity_weight * shown.mean(),
            # A foreground that is gone would have nothing to learn from.
            "floor": config.floor_weight * (config.floor - shown.mean()).clamp(min=0),
            "decided": config.decided_weight * share * losses.decided(shown),
            "spread": config.spread_weight * share * rendering.spread.mean(),
            "volume": config.volume_weight * ramp(step, 0, VOLUME_STEPS) * opacity.mean(),
        }
        scenes = len(code.slots) // views
        # Outlines of all views of a scene, at the pixels that the rays look through.
        outlines = code.pixels[:, 3:].unflatten(0, (scenes, views)).flatten(1, 2)
        first = torch.arange(scenes, device=shown.device).repeat_interleave(views)
        at = look_up(outlines.index_select(0, first), novel.where)
        losses_["outline"] = config.outline_weight * F.binary_cross_entropy_with_logits(
            at.gather(2, novel.view[..., None])[..., 0], shown.detach().clamp(0, 1)
        )
        explained = self._explained(code, views, novel.view, novel.where, rendering.behind)
        losses_["explained"] = config.explained_weight * (explained * shown).mean()
        if config.own_view_weight > 0:
            losses_["own_view"] = config.own_view_weight * self._own_view_error(code, views, step)
        # A step that is recorded has to hold all that any step needs.
        if config.instance_weight > 0 and (isinstance(step, Tensor) or step >= config.instance_from):
            found = self._instance_losses(code, opacity, views)
            losses_ |= {name: value * (step >= config.instance_from) for name, value in found.items()}
        return losses_

    def _explained(
        self,
        code: VolumesCode,
        views: int,
        view: Int[Tensor, "inputs rays"],
        where: Float[Tensor, "inputs rays 2"],
        points: Float[Tensor, "inputs rays 3"],
    ) -> Float[Tensor, "inputs rays"]:
        """How surely other views explain pixels by the background: from 0 where it is as likely as not."""
        scenes = (len(code.slots) // views, views)
        agreement = photo_consistency(
            code.pixels[:, :3].detach().unflatten(0, scenes),
            code.world_from_camera.unflatten(0, scenes),
            code.pinholes.unflatten(0, scenes),
            view.unflatten(0, scenes),
            where.unflatten(0, scenes),
            points.unflatten(0, scenes),
        )
        return (2 * agreement - 1).clamp(min=0).flatten(0, 1)

    def _own_view_error(self, code: VolumesCode, views: int, step: int | Tensor) -> Float[Tensor, ""]:
        """Squared error of the input views themselves, before a background that another view shows.

        The foreground has the colours of the input view for nothing, so this says where it must be: at each
        pixel whose ground the other view shows in another colour. Counted where that view sees the ground,
        and not where views agree that it is ground: there the errors are those of resampling.
        """
        entries = len(code.slots)
        height, width = code.pixels.shape[-2:]
        # A sparse raster of pixels that moves from step to step; another of the other views each time.
        count, total = self.config.own_view_rays, height * width
        index = (torch.arange(count, device=code.pixels.device) * (total // count) + step * 7919) % total
        entry = torch.arange(entries, device=code.pixels.device)
        other = entry // views * views + (entry + 1 + step % (views - 1)) % views
        seen = code.with_background(code.select_scenes(other))
        directions = camera_directions(code.pinholes, width, height).flatten(1, 2).index_select(1, index)
        origins, directions = world_rays(directions, code.world_from_camera)
        near, far = self.geometry.near, self.geometry.far
        steps = (torch.arange(OWN_VIEW_SAMPLES, device=directions.device) + 0.5) / OWN_VIEW_SAMPLES
        depths = (near + (far - near) * steps).expand(entries, count, -1)
        pixel = 1 / (self.geometry.focal_ratio[0] * width)
        rendering = self._render(seen, origins, directions, depths, False, pixel)
        with torch.no_grad():
            surfaces, _ = self._surfaces(seen, origins, directions, 0.0)
            ground = surfaces.ground[:, :, 0]
            where, depth = project(ground, seen.ground_world_from_camera, seen.ground_pinholes)
            visible = look_up(seen.ground[:, 6:], where)[..., 0] * in_view(where, depth)
            visible = visible * (1 - surfaces.is_wall)
        truth = code.pixels[:, :3].detach().flatten(2).index_select(2, index).transpose(1, 2)
        own = (entry % views)[:, None].expand(-1, count)
        columns, rows = index % width, torch.div(index, width, rounding_mode="floor")
        at = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], dim=-1)
        explained = self._explained(code, views, own, at.expand(entries, -1, -1), rendering.behind)
        error = (rendering.rgb - truth).square().mean(-1)
        return (visible * (1 - explained) * error).mean()

    def teacher(self, code: VolumesCode, views: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Objects of scenes seen in all their views: fused opacity, labels, centres, and which exist; all in
        the world's frame."""
        scenes = len(code.slots) // views
        rotation = code.field_from_world[:, :3, :3].unflatten(0, (scenes, views))
        opacity = self._opacity(code.volume.detach()).unflatten(0, (scenes, views))
        fused = fuse(opacity, rotation, self.grid)
        above = seen_from_above(fused)
        labels, centers, exists = split(
            above,
            self.columns,
            count=self.config.num_slots - 1,
            sigma=self.config.split_sigma,
            reach=self.config.split_reach,
            threshold=self.config.split_threshold,
        )
        return fused, labels, centers, exists

    def _instance_losses(self, code: VolumesCode, opacity: Tensor, views: int) -> dict[str, Tensor]:
        """Centres, votes and whole shapes, as all views of a scene tell together."""
        config, grid = self.config, self.grid
        fused, labels, centers, exists = self.teacher(code, views)
        rotation = code.field_from_world[:, :3, :3]
        # The teacher's map, looked at in each view's own frame.
        world = (
            torch.cat([self.columns, torch.zeros_like(self.columns[..., :1])], dim=-1).flatten(0, 1)
            @ rotation
        )
        index = ((world[..., :2] + grid.half) / grid.cell).floor().long()
        inside = ((index >= 0) & (index < grid.cells)).all(-1)
        index = index.clamp(0, grid.cells - 1)
        flat = labels.flatten(1).repeat_interleave(views, 0)
        own = flat.gather(1, index[..., 1] * grid.cells + index[..., 0]) * inside
        own = own.unflatten(1, (grid.cells, grid.cells))
        middles = torch.cat([centers, torch.zeros_like(centers[..., :1])], dim=-1).repeat_interleave(views, 0)
        middles = (middles @ rotation.transpose(1, 2))[..., :2]
        heat, votes = losses.instance_losses(
            code.heat,
            code.votes,
            self.columns,
            own,
            middles,
            exists.repeat_interleave(views, 0),
            config.center_sigma,
        )
        result = {
            "centers": config.instance_weight * heat,
            "votes": config.instance_weight * config.vote_weight * votes,
        }
        if config.whole_weight > 0:
            points = grid.centers(opacity.device) @ rotation
            whole = grid.sample(fused[:, None].repeat_interleave(views, 0), points)[:, 0]
            # What most views agree on is there; means of views that differ are not half an object.
            whole = ((whole - config.whole_threshold) / 0.08).sigmoid()
            # Only what is there is taught: teaching what is not would let empty volumes confirm each other.
            result["whole"] = config.whole_weight * -(whole * opacity.flatten(1).clamp(min=1e-4).log()).mean()
        return result


def ramp(step: int | Tensor, begin: int, end: int) -> float | Tensor:
    """How far a step lies between two others: 0 before the first, 1 after the second."""
    share = (step - begin) / max(1, end - begin)
    return share.clamp(0, 1) if isinstance(share, Tensor) else min(1.0, max(0.0, share))


def _moved_alike(code: SceneCode) -> Iterator[tuple[list[int], Float[Tensor, "scenes 3"]]]:
    """Foreground slots that have the same offset in every scene, in groups."""
    offsets = code.offsets
    slots = offsets.shape[1]
    if not code.moved:
        yield list(range(1, slots)), offsets[:, 1]
        return
    groups: dict[tuple[float, ...], list[int]] = {}
    for slot in range(1, slots):
        groups.setdefault(tuple(offsets[:, slot].flatten().tolist()), []).append(slot)
    for group in groups.values():
        yield group, offsets[:, group[0]]


def _spread(
    directions: Float[Tensor, "scenes rays 3"], pixel: float, count: int
) -> Float[Tensor, "scenes rays subrays 3"]:
    """Directions spread evenly over each ray's pixel; only the ray itself where ``pixel`` is 0."""
    if pixel == 0:
        return directions[:, :, None]
    x, y, _ = directions.unbind(-1)
    right = F.normalize(torch.stack([y, -x, torch.zeros_like(x)], dim=-1), dim=-1, eps=1e-6)
    down = F.normalize(torch.cross(directions, right, dim=-1), dim=-1, eps=1e-6)
    return torch.stack(
        [directions + pixel * (x * right + y * down) for x, y in subpixel_offsets(count)], dim=2
    )


def _joined(parts: list[VolumesRendering]) -> VolumesRendering:
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

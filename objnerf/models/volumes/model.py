"""Object volumes: one image to a voxel grid over the ground, whose objects stand apart seen from above.

1. ``lifting`` takes features of the input view's pixels into voxels, mixes them by convolutions seen from
   above, and predicts raw density and colour. Rays look the raw values up and activate them after
   interpolation, so that surfaces are sharper than voxels. No network is evaluated for a sample.
2. ``background`` looks the ground up in the input view by homography, objects left out. In training that view
   is never the one that is rendered, so the background cannot paint what does not lie in the ground's plane.
3. ``instances`` gives every cell seen from above to one object. All slots share one volume, and each owns its
   cells, so that a slot rendered by itself shows one object.
4. An *outline*, a logit for each pixel of the input view, is added to the raw density of all voxels on the
   pixel's ray: shapes are sharper seen from the input camera than the grid's resolution.
5. ``fusion`` predicts one volume from all views of a training scene, which are far easier to understand than
   one. It teaches (``teacher``) single-view volumes their shape, outlines, and which cells are one object.

Everything starts from the colours of the input view, so the first gradients are those of stereo: density
grows where views agree.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from objnerf.dataset.card import SceneScale
from objnerf.errors import InputError
from objnerf.models.config import VolumesConfig
from objnerf.models.scene import AuxiliaryLosses, NovelRays, SceneCode, SceneModel
from objnerf.models.volumes.background import Background, growing_mask, log_shade, source_image
from objnerf.models.volumes.code import VolumesCode, VolumesRendering
from objnerf.models.volumes.foreground import sample_foreground, slot_latents
from objnerf.models.volumes.fusion import Fusion
from objnerf.models.volumes.grid import Grid, Square
from objnerf.models.volumes.instances import InstanceHead, assign, find_centers
from objnerf.models.volumes.layout import WallLayout
from objnerf.models.volumes.lifting import Lifting, ground_map
from objnerf.models.volumes.losses import ramp
from objnerf.models.volumes.maps import widen
from objnerf.models.volumes.networks import PixelNetwork
from objnerf.models.volumes.objectives import Objectives
from objnerf.models.volumes.renderer import VolumeRenderer, join
from objnerf.models.volumes.surfaces import Surfaces
from objnerf.models.volumes.teacher import Teacher
from objnerf.rendering.rays import azimuth_rotation, camera_directions, world_rays
from objnerf.rendering.volume import Rendering, SlotSamples

GROUND_DENSITY = 40.0
"""Raw density, a voxel's side, of what ``decode`` reports below the ground."""

GROUND_BAND = 0.1
"""Height above z = 0, in sides of a voxel, up to which ``decode`` takes points for ground."""


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
        self.grid = Grid(half, config.cells, config.height_share * geometry.obj_scale, config.layers)
        self.lifting = Lifting(self.grid, config.width, config.features, config.mixed)
        self.outline = PixelNetwork(5, config.outline_width, 1)
        nn.init.zeros_(self.outline.out.weight)
        assert self.outline.out.bias is not None
        nn.init.zeros_(self.outline.out.bias)
        self.background = Background(geometry.nss_scale, config.width)
        self.renderer = VolumeRenderer(
            geometry,
            self.grid,
            self.background,
            config.ground_subrays,
            Square(config.pattern_share * geometry.obj_scale, config.pattern_cells),
        )
        self.layout = WallLayout(config.features, geometry.obj_scale)
        self.fusion = Fusion(self.grid, config.width, config.features, config.mixed)
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
        height, width = images.shape[-2:]
        if height % 8 or width % 8:
            raise InputError(
                f"input_size: expected width and height to be multiples of 8, got {width} × {height}"
            )
        rotation = self._field_from_world(world_from_camera, world_from_azimuth)
        if pinholes is None:
            pinholes = self.pinhole.expand(len(images), 4)
        code = self._predict(images, world_from_camera, pinholes, rotation)
        objects = self._object_mask(code, step)
        colours = (images + 1) / 2
        objects = F.interpolate(objects, size=colours.shape[-2:], mode="bilinear", align_corners=False)
        image = source_image(colours, objects[:, :1], objects[:, 1:])
        code = replace(code, ground=image, ground_means=self.renderer.mean_colours(code, image))
        return self.renderer.with_ground_map(code, shadows=step is None)

    def _field_from_world(
        self,
        world_from_camera: Float[Tensor, "scenes 4 4"],
        world_from_azimuth: Float[Tensor, "scenes 3 3"] | None,
    ) -> Float[Tensor, "scenes 3 3"]:
        """Rotation into the field frame: the input view's azimuth, or the world's with fixed locality."""
        if self.config.fixed_locality:
            scenes = len(world_from_camera)
            world_from_azimuth = torch.eye(3, device=world_from_camera.device).expand(scenes, 3, 3)
        elif world_from_azimuth is None:
            world_from_azimuth = azimuth_rotation(world_from_camera)
        return world_from_azimuth.transpose(1, 2).contiguous()

    def _predict(
        self, images: Tensor, world_from_camera: Tensor, pinholes: Tensor, rotation: Tensor
    ) -> VolumesCode:
        """All that the networks predict from input views; the ground still has its objects."""
        config = self.config
        scenes, _, height, width = images.shape
        ground = ground_map(world_from_camera, pinholes, rotation, (width, height), self.geometry.nss_scale)
        volume, cells, features = self.lifting(images, ground, world_from_camera, pinholes, rotation)
        outline = self.outline(torch.cat([images, ground], dim=1))
        colours = (images + 1) / 2
        heat, votes = self.instances(cells.detach() if config.detach_instances else cells)
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
        return VolumesCode(
            slots=slot_latents(cells.detach(), volume.detach(), owner),
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
            pattern=colours.new_zeros(scenes, 4, config.pattern_cells, config.pattern_cells),
            walls=self.layout(features, world_from_camera, pinholes, rotation),
            seen=features,
            shade=log_shade(self.background.shade(cells)),
            ground_world_from_camera=world_from_camera,
            ground_pinholes=pinholes,
            ground_field_from_world=rotation,
        )

    def _object_mask(
        self, code: VolumesCode, step: int | Tensor | None
    ) -> Float[Tensor, "scenes 2 half_height half_width"]:
        """Share of each pixel of the input view that is left out of the ground, since it shows an object.

        The second one is what other places are filled from; outlines are too uncertain for a difference.
        """
        config = self.config
        if step is None:
            shown = (self._own_opacity(code) * config.mask_gain).clamp(max=1)
            return torch.cat([widen(shown, reach) for reach in (1, 2)], dim=1)
        outline = code.pixels[:, 3:].detach().sigmoid()
        return growing_mask(outline, config.mask_gain, ramp(step, *config.mask_steps)).expand(-1, 2, -1, -1)

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
        for part in sample_foreground(code, points, self.grid):
            density[:, part.slots] = unit * part.density[:, None] * part.share
            colour[:, part.slots] = part.colour[:, None].expand(-1, len(part.slots), -1, -1)
        # The surface itself is ground, to within rounding and what a depth map's pixels leave open.
        below = (points[..., 2] <= GROUND_BAND * self.grid.cell) & code.active[:, :1]
        density[:, 0] = below * (unit * GROUND_DENSITY / self.grid.cell)
        # A point is its own ground; without a ray there is no wall.
        at_points = Surfaces(points[:, :, None], points[:, :, None], torch.zeros_like(points[..., 0]))
        colour[:, 0] = self.renderer.background_colour(code, at_points)
        return SlotSamples(density, colour)

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

        The samples keep the spacing that ``depths`` have between near and far, but are placed where the ray
        is in the grid and above the ground.
        """
        assert isinstance(code, VolumesCode)
        rays = origins.shape[1]
        chunk = rays if chunk_rays is None else chunk_rays
        parts = []
        for first in range(0, rays, chunk):
            part = slice(first, first + chunk)
            arguments = (code, origins[:, part], directions[:, part], depths[:, part], per_slot, pixel)
            if chunk_rays is not None and torch.is_grad_enabled():
                parts.append(checkpoint(self.renderer.render, *arguments, use_reentrant=False))
            else:
                parts.append(self.renderer.render(*arguments))
        return join(parts)

    # -- learning

    def auxiliary_losses(
        self,
        code: SceneCode,
        rendering: Rendering,
        novel: NovelRays,
        step: int | Tensor,
    ) -> AuxiliaryLosses:
        """See ``SceneModel.auxiliary_losses``.

        Args:
            code: of all views of some scenes: ``views`` entries after each other for each.
            rendering: of rays of the other views.
            novel: which of its scene's views each ray belongs to, and where in it.
            step: training steps done.
        """
        assert isinstance(code, VolumesCode)
        assert isinstance(rendering, VolumesRendering)
        teacher = Teacher(self.config, self.renderer, self.columns, self.fusion)
        return Objectives(teacher).auxiliary_losses(code, rendering, novel, step)

"""What object volumes are trained by beside the colour error, where every view of a scene is an input."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from objnerf.models.config import VolumesConfig
from objnerf.models.scene import AuxiliaryLosses, NovelRays
from objnerf.models.volumes import losses
from objnerf.models.volumes.code import VolumesCode, VolumesRendering
from objnerf.models.volumes.consistency import photo_consistency
from objnerf.models.volumes.foreground import voxel_opacity
from objnerf.models.volumes.grid import in_view, look_up, project
from objnerf.models.volumes.instances import fuse, seen_from_above, split
from objnerf.models.volumes.renderer import VolumeRenderer
from objnerf.rendering.rays import camera_directions, world_rays

OWN_VIEW_SAMPLES = 24
"""Samples of the rays through the input view's own pixels."""

VOLUME_STEPS = 300
"""Steps over which the weight of the voxels' opacity grows."""


@dataclass(frozen=True)
class Objectives:
    """The auxiliary losses of object volumes.

    Codes hold all views of some scenes: ``views`` entries after each other for each scene.
    """

    config: VolumesConfig
    renderer: VolumeRenderer
    columns: Float[Tensor, "rows columns 2"]
    """Centres of the cells seen from above, field frame, world units."""

    def auxiliary_losses(
        self, code: VolumesCode, rendering: VolumesRendering, novel: NovelRays, step: int | Tensor
    ) -> AuxiliaryLosses:
        """See ``SceneModel.auxiliary_losses``."""
        config, views = self.config, novel.views
        share = losses.ramp(step, 0, config.ramp_steps)
        shown = rendering.slot_opacity[..., 1:].sum(-1)
        opacity = voxel_opacity(code.volume)
        result = {
            "sparsity": config.sparsity_weight * shown.mean(),
            # A foreground that is gone would have nothing to learn from.
            "floor": config.floor_weight * (config.floor - shown.mean()).clamp(min=0),
            "decided": config.decided_weight * share * losses.decided(shown),
            "spread": config.spread_weight * share * rendering.spread.mean(),
            "volume": config.volume_weight * losses.ramp(step, 0, VOLUME_STEPS) * opacity.mean(),
            "outline": config.outline_weight * _outline_error(code, shown, novel),
        }
        explained = self.explained(code, views, novel.view, novel.where, rendering.behind)
        result["explained"] = config.explained_weight * (explained * shown).mean()
        if config.own_view_weight > 0:
            result["own_view"] = config.own_view_weight * self.own_view_error(code, views, step)
        # A step that is recorded has to hold all that any step needs.
        if config.instance_weight > 0 and (isinstance(step, Tensor) or step >= config.instance_from):
            found = self.instances(code, opacity, views)
            result |= {name: value * (step >= config.instance_from) for name, value in found.items()}
        # Opacity where the background explains the pixel: near 1 when the foreground has become a fog.
        fog = (explained * shown.detach()).sum() / explained.sum().clamp(min=1e-6)
        return AuxiliaryLosses(result, {"slots/explained_opacity": fog})

    def explained(
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

    def own_view_error(self, code: VolumesCode, views: int, step: int | Tensor) -> Float[Tensor, ""]:
        """Squared error of the input views themselves, before a background that is taken from another view.

        The foreground has the input view's own colours, so it can only lower this error by being opaque where
        the other view shows the ground in another colour. Counted where that view sees the ground, and not
        where views agree that it is ground: there the errors are those of resampling.
        """
        geometry = self.renderer.geometry
        entries = len(code.slots)
        height, width = code.pixels.shape[-2:]
        # A sparse raster of pixels that shifts from step to step, and another of the other views each time.
        count, total = self.config.own_view_rays, height * width
        index = (torch.arange(count, device=code.pixels.device) * (total // count) + step * 7919) % total
        entry = torch.arange(entries, device=code.pixels.device)
        other = entry // views * views + (entry + 1 + step % (views - 1)) % views
        seen = code.with_background(code.select_scenes(other))
        directions = camera_directions(code.pinholes, width, height).flatten(1, 2).index_select(1, index)
        origins, directions = world_rays(directions, code.world_from_camera)
        near, far = geometry.near, geometry.far
        steps = (torch.arange(OWN_VIEW_SAMPLES, device=directions.device) + 0.5) / OWN_VIEW_SAMPLES
        depths = (near + (far - near) * steps).expand(entries, count, -1)
        pixel = 1 / (geometry.focal_ratio[0] * width)
        rendering = self.renderer.render(seen, origins, directions, depths, False, pixel)
        with torch.no_grad():
            surfaces, _ = self.renderer.surfaces(seen, origins, directions, 0.0)
            ground = surfaces.ground[:, :, 0]
            where, depth = project(ground, seen.ground_world_from_camera, seen.ground_pinholes)
            visible = look_up(seen.ground[:, 6:], where)[..., 0] * in_view(where, depth)
            visible = visible * (1 - surfaces.is_wall)
        truth = code.pixels[:, :3].detach().flatten(2).index_select(2, index).transpose(1, 2)
        own = (entry % views)[:, None].expand(-1, count)
        columns, rows = index % width, torch.div(index, width, rounding_mode="floor")
        at = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], dim=-1)
        explained = self.explained(code, views, own, at.expand(entries, -1, -1), rendering.behind)
        error = (rendering.rgb - truth).square().mean(-1)
        return (visible * (1 - explained) * error).mean()

    def pseudo_labels(self, code: VolumesCode, views: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pseudo-labels of scenes seen in all their views, from their fused volumes.

        Returns:
            Fused opacity (scenes, layers, rows, columns), labels of the cells seen from above, centres of the
            objects, and which of these exist; all in the world's frame.
        """
        scenes = len(code.slots) // views
        rotation = code.field_from_world[:, :3, :3].unflatten(0, (scenes, views))
        opacity = voxel_opacity(code.volume.detach()).unflatten(0, (scenes, views))
        fused = fuse(opacity, rotation, self.renderer.grid)
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

    def instances(self, code: VolumesCode, opacity: Tensor, views: int) -> dict[str, Tensor]:
        """Centres, votes and whole shapes against the pseudo-labels from all views of a scene."""
        config, grid = self.config, self.renderer.grid
        fused, labels, centers, exists = self.pseudo_labels(code, views)
        rotation = code.field_from_world[:, :3, :3]
        own = self._labels_in_views(labels, rotation, views)
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
            # Opaque where most views are; the mean of views that differ is no half of an object.
            whole = ((whole - config.whole_threshold) / 0.08).sigmoid()
            # Only opacity is taught, not emptiness, or empty volumes would confirm each other.
            result["whole"] = config.whole_weight * -(whole * opacity.flatten(1).clamp(min=1e-4).log()).mean()
        return result

    def _labels_in_views(
        self, labels: Int[Tensor, "scenes rows columns"], rotation: Tensor, views: int
    ) -> Int[Tensor, "inputs rows columns"]:
        """The pseudo-labels, taken from the world's frame into each view's field frame."""
        grid = self.renderer.grid
        world = (
            torch.cat([self.columns, torch.zeros_like(self.columns[..., :1])], dim=-1).flatten(0, 1)
            @ rotation
        )
        index = ((world[..., :2] + grid.half) / grid.cell).floor().long()
        inside = ((index >= 0) & (index < grid.cells)).all(-1)
        index = index.clamp(0, grid.cells - 1)
        flat = labels.flatten(1).repeat_interleave(views, 0)
        own = flat.gather(1, index[..., 1] * grid.cells + index[..., 0]) * inside
        return own.unflatten(1, (grid.cells, grid.cells))


def _outline_error(
    code: VolumesCode, shown: Float[Tensor, "inputs rays"], novel: NovelRays
) -> Float[Tensor, ""]:
    """Cross-entropy of the outlines at the pixels that rays look through, against the rays' opacity."""
    views = novel.views
    scenes = len(code.slots) // views
    # Outlines of all views of a scene.
    outlines = code.pixels[:, 3:].unflatten(0, (scenes, views)).flatten(1, 2)
    first = torch.arange(scenes, device=shown.device).repeat_interleave(views)
    at = look_up(outlines.index_select(0, first), novel.where)
    logits = at.gather(2, novel.view[..., None])[..., 0]
    return F.binary_cross_entropy_with_logits(logits, shown.detach().clamp(0, 1))

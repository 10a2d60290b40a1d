"""From a request and a scene's number, or from a plan alone, to the pictures of that scene."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from generation.plan.plan import PlacementError, ScenePlan, Stock, plan_scene
from generation.plan.request import GenerationRequest
from generation.plan.visibility import Sightings, count_pixels, judge, silhouette
from generation.render.denoise import Denoiser
from generation.render.materials import srgb_from_linear
from generation.render.passes import ColourPass, GeometryPass, render_colour, render_geometry
from generation.render.scene import MeshSource, build_scene, point_camera
from objnerf.dataset.cameras import Intrinsics
from objnerf.errors import WorkError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ViewPictures:
    """All pictures of one view.

    Attributes:
        image: 8-bit sRGB.
        geometry: exact labels, depth and normals.
        albedo: 8-bit sRGB surface colour without light.
        silhouettes: of object i at index i - 1, as if the others were not there.
    """

    image: UInt8[np.ndarray, "height width 3"]
    geometry: GeometryPass
    albedo: UInt8[np.ndarray, "height width 3"]
    silhouettes: Bool[np.ndarray, "objects height width"]


@dataclass(frozen=True)
class Timing:
    """Where a scene's seconds went; `colour` is Cycles at work on the colour passes and nothing else."""

    plan: float = 0.0
    build: float = 0.0
    geometry: float = 0.0
    colour: float = 0.0
    denoise: float = 0.0


@dataclass(frozen=True)
class Shot:
    """A finished scene.

    Attributes:
        plan: with `seen` filled in.
        views: in the order of the plan's.
        replans: why earlier attempts were given up.
    """

    plan: ScenePlan
    views: tuple[ViewPictures, ...]
    replans: tuple[str, ...]
    timing: Timing


class Studio:
    """Makes scenes one after the other in this process; keeps what scenes share, never what they show."""

    def __init__(self, meshes: MeshSource, stock: Stock, folder: Path) -> None:
        self._meshes = meshes
        self._stock = stock
        self._roots = stock.catalogue.roots
        self._folder = folder
        self._denoisers: dict[tuple[int, int], Denoiser] = {}

    def make(self, request: GenerationRequest, scene: int) -> Shot:
        """Plan a scene until every object is well seen in every view, then take its pictures.

        Raises:
            WorkError: none of the preset's `placement.attempts` plans would do.
        """
        replans: list[str] = []
        clock = _Clock()
        for attempt in range(request.preset.placement.attempts):
            try:
                plan = plan_scene(request, self._stock, scene, attempt)
            except PlacementError as reason:
                replans.append(str(reason))
                continue
            finally:
                clock.lap("plan")
            shot = self._try(plan, clock, tuple(replans))
            if isinstance(shot, Shot):
                return shot
            replans.append(shot)
        reasons = {reason: replans.count(reason) for reason in replans}
        common = sorted(reasons, key=lambda reason: -reasons[reason])[:3]
        raise WorkError(
            f"scene {scene}: none of {len(replans)} plans would do (most often: {'; '.join(common)}); "
            "loosen the preset's placement rules"
        )

    def remake(self, plan: ScenePlan) -> Shot:
        """Take the pictures of a plan again.

        Raises:
            WorkError: an object is not seen as the plan asks.
        """
        shot = self._try(plan, _Clock(), ())
        if isinstance(shot, Shot):
            return shot
        raise WorkError(f"scene {plan.scene}: {shot}")

    def _try(self, plan: ScenePlan, clock: "_Clock", replans: tuple[str, ...]) -> Shot | str:
        """The pictures of a plan, or why it won't do."""
        poses = [view.matrix() for view in plan.views]
        scene = build_scene(plan, self._meshes, self._roots)
        clock.lap("build")
        geometry = []
        for view, pose in enumerate(poses):
            point_camera(scene, pose)
            geometry.append(render_geometry(scene, self._folder))
            fault = _too_small(plan, view, geometry[-1])
            if fault is not None:
                clock.lap("geometry")
                return fault
        silhouettes = self._silhouettes(plan)
        sightings = judge(np.stack([taken.labels for taken in geometry]), silhouettes)
        fault = _too_hidden(plan, sightings)
        clock.lap("geometry")
        if fault is not None:
            return fault
        passes = []
        for view, pose in enumerate(poses):
            point_camera(scene, pose)
            # Another pattern a view, or all views would share one noise.
            passes.append(render_colour(scene, self._folder, plan.render.samples, plan.render.seed + view))
        clock.lap("colour")
        images = [self._develop(plan, taken) for taken in passes]
        clock.lap("denoise")
        views = tuple(
            ViewPictures(image, taken, _quantised(colour.albedo), outline)
            for image, taken, colour, outline in zip(images, geometry, passes, silhouettes, strict=True)
        )
        seen = tuple(tuple(round(float(share), 4) for share in view) for view in sightings.shares)
        return Shot(plan.model_copy(update={"seen": seen}), views, replans, clock.timing())

    def _silhouettes(self, plan: ScenePlan) -> Bool[np.ndarray, "views objects height width"]:
        intrinsics = Intrinsics(plan.render.width, plan.render.height, plan.render.fx, plan.render.fy)
        meshes = []
        for item in plan.objects:
            mesh, pose = self._meshes(item), item.world_from_object()
            meshes.append((mesh.vertices @ pose[:3, :3].T + pose[:3, 3], mesh.faces))
        return np.stack(
            [
                np.stack(
                    [silhouette(vertices, faces, intrinsics, view.matrix()) for vertices, faces in meshes]
                )
                for view in plan.views
            ]
        )

    def _develop(self, plan: ScenePlan, taken: ColourPass) -> UInt8[np.ndarray, "height width 3"]:
        size = plan.render.width, plan.render.height
        if size not in self._denoisers:
            self._denoisers[size] = Denoiser(*size)
        clean = self._denoisers[size](taken.colour, taken.albedo, taken.normal)
        return _quantised(clean * np.float32(plan.render.exposure))


def _too_small(plan: ScenePlan, view: int, taken: GeometryPass) -> str | None:
    least = plan.acceptance.min_pixels * taken.labels.size
    pixels = count_pixels(taken.labels[None], len(plan.objects))[0]
    if not np.all(pixels >= max(least, 1)):
        return f"an object shows less than {plan.acceptance.min_pixels:.2%} of a view's pixels"
    return None


def _too_hidden(plan: ScenePlan, sightings: Sightings) -> str | None:
    if not np.all(sightings.shares >= plan.acceptance.min_visible):
        return f"less than {plan.acceptance.min_visible:.0%} of an object is visible in a view"
    return None


def _quantised(linear: Float32[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """8-bit sRGB without dithering."""
    return np.rint(srgb_from_linear(linear.astype(np.float64)) * 255.0).astype(np.uint8)


class _Clock:
    """Seconds by what was done since the last lap."""

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(Timing.__dataclass_fields__, 0.0)
        self._last = time.perf_counter()

    def lap(self, what: str) -> None:
        now = time.perf_counter()
        self._seconds[what] += now - self._last
        self._last = now

    def timing(self) -> Timing:
        return Timing(**self._seconds)


def blender_version() -> str:
    """Version of the renderer, for `dataset.yaml`."""
    return str(bpy.app.version_string)

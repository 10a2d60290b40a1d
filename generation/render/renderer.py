"""From a request and a scene's number, or from a plan alone, to the images of that scene."""

import logging
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import bpy
import numpy as np
from jaxtyping import Bool, UInt8

from generation.assets.catalogue import Roots
from generation.assets.sampling import is_solid
from generation.edits import EDIT_TRIES, changed_plan, edited_plan, moved_plan, providing_plan
from generation.plan.plan import AssetPool, PlacementError, ScenePlan, plan_scene
from generation.plan.request import GenerationRequest
from generation.plan.visibility import Sightings, count_pixels, judge, silhouette
from generation.render.denoise import Denoiser
from generation.render.oversampling import OVERSAMPLING, reduce_picture
from generation.render.passes import (
    GeometryPass,
    LightPass,
    SurfacePass,
    render_geometry,
    render_light,
    render_surfaces,
)
from generation.render.scene import build_scene, mesh_source, point_camera, show
from generation.srgb import quantised
from objnerf.errors import WorkError

logger = logging.getLogger(__name__)

#: A surface darker than this scatters nothing visible.
_BLACK = np.float32(1e-4)


@dataclass(frozen=True)
class ViewPictures:
    """All images of one view.

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
    """Where a scene's CPU seconds went; in `surfaces` and `light`, Cycles is at work and nothing else."""

    plan: float = 0.0
    build: float = 0.0
    geometry: float = 0.0
    surfaces: float = 0.0
    light: float = 0.0
    denoise: float = 0.0


@dataclass(frozen=True)
class EditPictures:
    """One view of the manipulation test: the three images and what their masks show."""

    moved: UInt8[np.ndarray, "height width 3"]
    changed: UInt8[np.ndarray, "height width 3"]
    providing: UInt8[np.ndarray, "height width 3"]
    moving_object: Bool[np.ndarray, "height width"]
    foreground: Bool[np.ndarray, "height width"]
    providing_foreground: Bool[np.ndarray, "height width"]


@dataclass(frozen=True)
class RenderedScene:
    """A finished scene.

    Attributes:
        plan: with `seen` filled in.
        views: in the order of the plan's.
        edits: of the manipulation test, in the same order; empty without it.
        replans: why earlier attempts were given up.
    """

    plan: ScenePlan
    views: tuple[ViewPictures, ...]
    edits: tuple[EditPictures, ...]
    replans: tuple[str, ...]
    timing: Timing


class Unfit(Exception):
    """The views of a plan don't show what they must."""


@dataclass(frozen=True)
class _Look:
    """The exact pass over all views of a plan that will do."""

    plan: ScenePlan
    geometry: tuple[GeometryPass, ...]
    silhouettes: Bool[np.ndarray, "views objects height width"]
    sightings: Sightings


class SceneRenderer:
    """Makes scenes one after the other in this process; keeps what scenes share, never what they show."""

    def __init__(self, roots: Roots, folder: Path, device: str = "cpu") -> None:
        self._roots = roots
        self._meshes = mesh_source(roots)
        self._folder = folder
        self._device = device
        self._denoisers: dict[tuple[int, int], tuple[Denoiser, Denoiser]] = {}
        self._built: tuple[ScenePlan, bpy.types.Scene] | None = None
        self._clock = _Clock()

    def make(self, request: GenerationRequest, pool: AssetPool, scene: int) -> RenderedScene:
        """Plan a scene until every object is well seen in every view, then take its pictures.

        Raises:
            WorkError: none of the preset's `placement.attempts` plans would do.
        """
        replans: list[str] = []
        self._clock = _Clock()
        for attempt in range(request.preset.placement.attempts):
            try:
                plan = plan_scene(request, pool, scene, attempt)
                self._clock.lap("plan")
                look = self._look(plan)
                edited = None
                if request.manipulations:
                    plan, edited = self._draw_edits(request, pool, plan)
            except (PlacementError, Unfit) as reason:
                replans.append(str(reason))
                continue
            return self._take_all(plan, look, edited, tuple(replans))
        reasons = {reason: replans.count(reason) for reason in replans}
        common = sorted(reasons, key=lambda reason: -reasons[reason])[:3]
        raise WorkError(
            f"none of {len(replans)} plans meets the visibility rules (most often: {'; '.join(common)}); "
            "loosen the preset's placement rules"
        )

    def remake(self, plan: ScenePlan) -> RenderedScene:
        """Take the images of a plan again.

        Raises:
            WorkError: an object is not seen as the plan asks.
        """
        self._clock = _Clock()
        try:
            look = self._look(plan)
            edited = (
                None
                if plan.edits is None
                else (self._look(moved_plan(plan)), self._look(providing_plan(plan)))
            )
        except Unfit as reason:
            raise WorkError(str(reason)) from reason
        return self._take_all(plan, look, edited, ())

    def _draw_edits(
        self, request: GenerationRequest, pool: AssetPool, plan: ScenePlan
    ) -> tuple[ScenePlan, tuple[_Look, _Look]]:
        """The plan with edits that show all objects well."""
        for number in range(EDIT_TRIES):
            try:
                with_edits = edited_plan(request, pool, plan, number)
                return with_edits, (
                    self._look(moved_plan(with_edits)),
                    self._look(providing_plan(with_edits)),
                )
            except (PlacementError, Unfit):
                continue
        raise Unfit(f"none of {EDIT_TRIES} edits meets the visibility rules")

    def _look(self, plan: ScenePlan) -> _Look:
        """Labels, depth and normals of all views.

        Raises:
            Unfit: an object shows too little.
        """
        scene = self._scene(plan)
        geometry = []
        try:
            show(scene, "surfaces")
            for view in plan.views:
                point_camera(scene, view.matrix())
                geometry.append(render_geometry(scene, self._folder))
                _check_size(plan, geometry[-1])
            silhouettes = self._silhouettes(plan)
            sightings = judge(np.stack([taken.labels for taken in geometry]), silhouettes)
            _check_visibility(plan, sightings)
        finally:
            self._clock.lap("geometry")
        return _Look(plan, tuple(geometry), silhouettes, sightings)

    def _take_all(
        self, plan: ScenePlan, look: _Look, edited: tuple[_Look, _Look] | None, replans: tuple[str, ...]
    ) -> RenderedScene:
        """Colour, now that it is sure to be wanted."""
        surfaces, light = self._take(look.plan, 0)
        # By the plan, not the look's: edits may have changed the exposure.
        images = self._develop(plan, surfaces, light)
        views = tuple(
            ViewPictures(image, geometry, quantised(reduce_picture(surface.colour)), outlines)
            for image, geometry, surface, outlines in zip(
                images, look.geometry, surfaces, look.silhouettes, strict=True
            )
        )
        edits = () if edited is None else self._take_edits(plan, look, *edited)
        seen = tuple(tuple(round(float(share), 4) for share in view) for view in look.sightings.shares)
        timing = self._clock.timing()
        return RenderedScene(plan.model_copy(update={"seen": seen}), views, edits, replans, timing)

    def _take_edits(
        self, plan: ScenePlan, look: _Look, moved: _Look, providing: _Look
    ) -> tuple[EditPictures, ...]:
        assert plan.edits is not None
        pictures = [
            self._develop(edit, *self._take(edit, number))
            for number, edit in enumerate((moved.plan, changed_plan(plan), providing.plan), start=1)
        ]
        return tuple(
            EditPictures(
                moved=moved_image,
                changed=changed_image,
                providing=providing_image,
                moving_object=geometry.labels == plan.edits.moved_label,
                foreground=geometry.labels > 0,
                providing_foreground=other.labels > 0,
            )
            for moved_image, changed_image, providing_image, geometry, other in zip(
                *pictures, look.geometry, providing.geometry, strict=True
            )
        )

    def _take(self, plan: ScenePlan, number: int) -> tuple[list[SurfacePass], list[LightPass]]:
        """Surfaces and light of all views; `number` tells a scene's edits apart."""
        scene, samples = self._scene(plan), plan.render.samples
        surface_samples = plan.render.surface_samples * samples
        # Another pattern an image, or all of them would share one noise.
        seeds = [plan.render.seed + number * len(plan.views) + index for index in range(len(plan.views))]
        # Surfaces first, always: in which order Cycles meets the lamps decides how it samples them.
        show(scene, "surfaces")
        surfaces = []
        for view, seed in zip(plan.views, seeds, strict=True):
            point_camera(scene, view.matrix())
            surfaces.append(render_surfaces(scene, self._folder, surface_samples, seed))
        self._clock.lap("surfaces")
        show(scene, "light")
        light = []
        for view, seed in zip(plan.views, seeds, strict=True):
            point_camera(scene, view.matrix())
            light.append(render_light(scene, self._folder, samples, seed))
        self._clock.lap("light")
        return surfaces, light

    def _develop(
        self, plan: ScenePlan, surfaces: list[SurfacePass], light: list[LightPass]
    ) -> list[UInt8[np.ndarray, "height width 3"]]:
        """Images as they are written.

        What surfaces scatter is their own colour times the light that falls on them. The light has no
        texture, so that denoising takes nothing from it; the colour needs no denoising, having many samples.
        Dividing by the colour of the same samples takes out what of the noise is the texture's.
        """
        denoise, denoise_rest = self._denoisers_of(plan.render.width, plan.render.height)
        exposure = np.float32(plan.render.exposure)
        images = []
        for surface, taken in zip(surfaces, light, strict=True):
            falling = np.where(
                taken.diffuse > _BLACK, taken.scattered / np.maximum(taken.diffuse, _BLACK), np.float32(0)
            )
            scattered = denoise(falling, taken.normal) * surface.diffuse
            rest = denoise_rest(taken.rest, taken.normal)
            images.append(quantised(reduce_picture(scattered + rest) * exposure))
        self._clock.lap("denoise")
        return images

    def _denoisers_of(self, width: int, height: int) -> tuple[Denoiser, Denoiser]:
        """Of light that falls on surfaces, and of what is mirrored."""
        size = OVERSAMPLING * width, OVERSAMPLING * height
        if size not in self._denoisers:
            self._denoisers[size] = Denoiser(*size), Denoiser(*size, fast=True)
        return self._denoisers[size]

    def _scene(self, plan: ScenePlan) -> bpy.types.Scene:
        """Blender's scene of a plan; built unless it is the one that is there."""
        if self._built is None or self._built[0] is not plan:
            self._built = None
            self._built = plan, build_scene(plan, self._meshes, self._roots, self._device)
            self._clock.lap("build")
        return self._built[1]

    def _silhouettes(self, plan: ScenePlan) -> Bool[np.ndarray, "views objects height width"]:
        intrinsics = plan.render.intrinsics
        meshes = []
        for item in plan.objects:
            mesh, pose = self._meshes(item), item.world_from_object()
            holed = any(part.cutout is not None for part in mesh.materials)
            solid = partial(is_solid, mesh) if holed else None
            meshes.append((mesh.vertices @ pose[:3, :3].T + pose[:3, 3], mesh.faces, solid))
        return np.stack(
            [
                np.stack(
                    [
                        silhouette(vertices, faces, intrinsics, view.matrix(), solid)
                        for vertices, faces, solid in meshes
                    ]
                )
                for view in plan.views
            ]
        )


def _check_size(plan: ScenePlan, taken: GeometryPass) -> None:
    if plan.acceptance is None:
        return
    least = plan.acceptance.min_pixels * taken.labels.size
    pixels = count_pixels(taken.labels[None], len(plan.objects))[0]
    if not np.all(pixels >= max(least, 1)):
        raise Unfit(f"an object shows less than {plan.acceptance.min_pixels:.2%} of a view's pixels")


def _check_visibility(plan: ScenePlan, sightings: Sightings) -> None:
    if plan.acceptance is None:
        return
    if not np.all(sightings.shares >= plan.acceptance.min_visible):
        raise Unfit(f"less than {plan.acceptance.min_visible:.0%} of an object is visible in a view")


class _Clock:
    """Seconds by what was done since the last lap."""

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(Timing.__dataclass_fields__, 0.0)
        self._last = time.process_time()

    def lap(self, what: str) -> None:
        now = time.process_time()
        self._seconds[what] += now - self._last
        self._last = now

    def timing(self) -> Timing:
        return Timing(**self._seconds)


def blender_version() -> str:
    """Version of the renderer, for `dataset.yaml`."""
    return str(bpy.app.version_string)

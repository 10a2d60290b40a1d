"""A scene as data, and how one is planned from a request, a pool of assets and the scene's number."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from generation.assets.catalogue import Catalogue, FloorAsset, ShapeAsset, WallAsset
from generation.assets.mesh import Extent
from generation.plan.cameras import plan_cameras
from generation.plan.lights import LightPlan, plan_lights
from generation.plan.materials import Colour, Material, draw_materials
from generation.plan.placement import Placed, PlacementError, place
from generation.plan.preset import Split
from generation.plan.request import GenerationRequest, PassName
from generation.plan.room import RoomPlan, plan_room, unclipped_exposure
from generation.plan.seeds import Stream, stream_rng
from generation.plan.sizes import draw_scale, size_check
from objnerf.dataset.cameras import Intrinsics
from objnerf.dataset.card import FORMAT_VERSION
from objnerf.dataset.names import make_view_stem
from objnerf.errors import InputError

__all__ = ["AssetPool", "ObjectPlan", "PlacementError", "ScenePlan", "ViewPlan", "fit_request", "plan_scene"]

#: Wall coverings to draw from; walls are no option of their own.
N_WALLS = 12


class ObjectPlan(BaseModel):
    """An object on the floor. Its world matrix is translate(position) · rotate_z(yaw) · scale."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: int = Field(ge=1, description="its label in the masks: 1 is blue")
    asset: str = Field(description="id of the shape")
    shape: ShapeAsset
    position: tuple[float, float, float] = Field(
        description="of the bounding box's centre on the ground, world units"
    )
    yaw: float = Field(description="about world z, radians")
    scale: float = Field(gt=0, description="the bounding box's diagonal, world units")
    size: tuple[float, float, float] | None = Field(
        default=None, description="of the bounding box along the object's own axes, world units"
    )
    materials: dict[str, Material] = Field(
        validation_alias=AliasChoices("materials", "finishes"),  # plans that are older have the latter
        description="of each role of the shape's parts",
    )
    tint: Colour | None = Field(
        default=None, description="sRGB that a mesh of a file takes on; None: the colours of the file"
    )

    def world_from_object(self) -> Float[np.ndarray, "4 4"]:
        """From the shape's frame (diagonal 1, standing on z = 0) to the world."""
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        pose = np.eye(4)
        pose[:2, :2] = np.array([[cos, -sin], [sin, cos]])
        pose[:3, :3] *= self.scale
        pose[:3, 3] = self.position
        return pose


class ViewPlan(BaseModel):
    """A camera and the name of its image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stem: str = Field(description="file name without .png")
    world_from_camera: tuple[tuple[float, float, float, float], ...] = Field(
        description="4x4 camera-to-world, OpenCV axes"
    )

    def matrix(self) -> Float[np.ndarray, "4 4"]:
        """``world_from_camera`` as an array."""
        return np.array(self.world_from_camera, dtype=np.float64)


class RenderPlan(BaseModel):
    """How the images are taken."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int
    height: int
    fx: float = Field(description="pixels")
    fy: float = Field(description="pixels")
    samples: int = Field(description="of light, a pixel")
    surface_samples: int = Field(ge=1, description="of the surfaces' own colours, for each one of light")
    seed: int = Field(description="of the renderer's sampling pattern")
    exposure: float
    passes: tuple[PassName, ...]

    @classmethod
    def of(cls, request: GenerationRequest, seed: int, unclipped: float) -> "RenderPlan":
        """What a request says of every image; seed and factor of exposure are the scene's own."""
        preset, intrinsics = request.preset, request.intrinsics
        return cls(
            width=request.width,
            height=request.height,
            fx=intrinsics.fx,
            fy=intrinsics.fy,
            samples=request.samples,
            surface_samples=preset.render.surface_samples,
            seed=seed,
            exposure=round(preset.lights.exposure * unclipped, 4),
            passes=request.passes,
        )

    @property
    def intrinsics(self) -> Intrinsics:
        """The camera of all views."""
        return Intrinsics(self.width, self.height, self.fx, self.fy)


class Acceptance(BaseModel):
    """What must be seen of each object in each view; see `generation.plan.visibility`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_pixels: float
    min_visible: float


class EditPlan(BaseModel):
    """What the manipulation test changes; see `generation.edits`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    moved_label: int = Field(ge=1, description="the object that moves")
    movement: tuple[float, float] = Field(description="how far: dx and dy, world units")
    providing_room: RoomPlan = Field(description="the other background")
    providing_objects: tuple[ObjectPlan, ...] = Field(description="objects of the scene that provides it")


class ScenePlan(BaseModel):
    """Everything that a scene's files follow from: ``scenes/*.json``, a superset of `SceneCard`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    generator: int = Field(default=1, description="version of the planner; 1 where none is said")
    scene: int
    seed: int
    split: Split
    attempt: int = Field(description="how many plans of this scene were given up before this one")
    preset: str
    objects: tuple[ObjectPlan, ...]
    views: tuple[ViewPlan, ...]
    room: RoomPlan
    lights: LightPlan
    render: RenderPlan
    acceptance: Acceptance | None = Field(
        default=None, description="None where somebody chose objects and cameras: then nothing is judged"
    )
    edits: EditPlan | None = Field(default=None, description="of the manipulation test")
    seen: tuple[tuple[float, ...], ...] | None = Field(
        default=None,
        description="what came out: for each view, the share of each object's silhouette that is visible",
    )


@dataclass(frozen=True)
class AssetPool:
    """The assets that a dataset draws from. Made once a process; extents are remembered in the catalogue.

    Attributes:
        catalogue: knows the roots of files and the extents of shapes.
    """

    catalogue: Catalogue
    shapes: tuple[ShapeAsset, ...]
    floors: tuple[FloorAsset, ...]
    walls: tuple[WallAsset, ...]

    @classmethod
    def draw(cls, catalogue: Catalogue, request: GenerationRequest) -> "AssetPool":
        """The shapes, floors and walls of a request.

        Raises:
            InputError: the catalogue offers less than the request asks for.
        """
        preset = request.preset
        misfit = size_check(request, catalogue)
        if preset.split_shapes == "disjoint":
            # A longer list begins with the shorter one, so train keeps its shapes whoever asks for test.
            count = request.shapes * (2 if request.split == "test" else 1)
            try:
                shapes = catalogue.shapes(preset.objects.source, count, request.seed, misfit=misfit)
                shapes = shapes[-request.shapes :]
            except InputError as error:
                if count == request.shapes:
                    raise
                raise InputError(
                    f"split_shapes: disjoint keeps {request.shapes} shapes for train and as many "
                    f"others for test, but {preset.objects.source!r} offers fewer than {count}; use fewer "
                    "--shapes for both, or split_shapes: shared"
                ) from error
        else:
            shapes = catalogue.shapes(preset.objects.source, request.shapes, request.seed, misfit=misfit)
        floors = catalogue.floors(request.backgrounds) if preset.room.floors == "floors" else []
        walls = catalogue.walls(N_WALLS) if preset.room.walls else []
        return cls(catalogue, tuple(shapes), tuple(floors), tuple(walls))


def fit_request(
    request: GenerationRequest, catalogue: Catalogue
) -> tuple[GenerationRequest, tuple[str, ...]]:
    """The request with no more shapes and backgrounds than the user's folders offer.

    A preset's counts are those of the published sets; a folder of eleven meshes offers eleven. What is left
    is a plain request, so that a dataset is resumed, and its command repeated, with the counts it really has.
    Shapes of disjoint splits are left alone: fewer of them for one split would change the other.

    Returns:
        The request to use, and one sentence about each count that was lowered.
    Raises:
        InputError: nothing of the preset's kind is offered, or nothing of it can be used.
    """
    preset, roots = request.preset, catalogue.roots
    changes: dict[str, int] = {}
    notes = []
    if preset.split_shapes == "shared":
        source = preset.objects.source
        misfit = size_check(request, catalogue)
        shapes = len(catalogue.offered_shapes(source, request.shapes, request.seed, misfit=misfit))
        if shapes < request.shapes:
            changes["shapes"] = shapes
            given = [
                f"{option} {folder}"
                for option, folder in (("--meshes", roots.meshes), ("--shapenet-root", roots.shapenet))
                if folder is not None
            ]
            offerer = " and ".join(given) or repr(source)
            if catalogue.mixed:
                offerer += " and as many procedural ones"
            notes.append(
                f"usable shapes in {offerer}: {shapes}, of the {request.shapes} requested. All are used"
            )
    if preset.room.floors == "floors":
        floors = len(catalogue.offered_floors(request.backgrounds))
        if floors < request.backgrounds:
            changes["backgrounds"] = floors
            offerer = "the manifest's floors" if roots.textures is None else f"--textures {roots.textures}"
            notes.append(
                f"usable images in {offerer}: {floors}, of the {request.backgrounds} backgrounds requested. "
                "All are used"
            )
    elif roots.textures is not None:
        notes.append(f"--textures is not used: the floor of preset {preset.name} has no texture")
    return request.model_copy(update=changes), tuple(notes)


def plan_scene(request: GenerationRequest, pool: AssetPool, scene: int, attempt: int = 0) -> ScenePlan:
    """Plan one scene: a pure function of its arguments.

    Args:
        request: the dataset.
        pool: what `AssetPool.draw` gave for the same request.
        scene: id, from 0.
        attempt: 0, or how many earlier plans of this scene were given up.
    Raises:
        PlacementError: the objects of this attempt found no place; try the next attempt.
    """
    preset = request.preset

    def rng(stream: Stream) -> np.random.Generator:
        return stream_rng(request.seed, scene, stream, request.split, attempt)

    poses = plan_cameras(preset.cameras, request.views, rng(Stream.CAMERAS))
    objects = plan_objects(request, pool, rng(Stream.OBJECTS), rng(Stream.PLACEMENT))
    room = plan_room(
        preset.room, preset.obj_scale, poses[:, :2, 3], pool.floors, pool.walls, rng(Stream.ROOM)
    )
    lights = plan_lights(preset.lights, rng(Stream.LIGHTS))
    unclipped = unclipped_exposure(room, lights, preset.obj_scale, pool.catalogue.light_albedo)
    views = tuple(
        ViewPlan(
            stem=make_view_stem(scene * request.views + view, scene, view, request.scenes),
            world_from_camera=tuple(tuple(row) for row in pose.tolist()),
        )
        for view, pose in enumerate(poses)
    )
    return ScenePlan(
        generator=request.generator,
        scene=scene,
        seed=request.seed,
        split=request.split,
        attempt=attempt,
        preset=preset.name,
        objects=objects,
        views=views,
        room=room,
        lights=lights,
        render=RenderPlan.of(request, int(rng(Stream.RENDER).integers(2**31)), unclipped),
        acceptance=Acceptance(
            min_pixels=preset.placement.min_pixels, min_visible=preset.placement.min_visible
        ),
    )


def plan_objects(
    request: GenerationRequest, pool: AssetPool, rng: np.random.Generator, placement_rng: np.random.Generator
) -> tuple[ObjectPlan, ...]:
    """Draw shapes, sizes, materials and places.

    Raises:
        PlacementError: an object found no place.
    """
    preset, rules = request.preset, request.preset.objects
    count = int(rng.integers(rules.count[0], rules.count[1] + 1))
    shapes = [pool.shapes[int(i)] for i in rng.integers(len(pool.shapes), size=count)]
    if rules.one_shape:
        shapes = [shapes[0]] * count
    extents = [pool.catalogue.extent(shape) for shape in shapes]
    scales = [
        draw_scale(request, pool.catalogue, shape, extent, rng)
        for shape, extent in zip(shapes, extents, strict=True)
    ]
    drawn = draw_materials(rules.materials, count, rng)
    placed = place(preset.placement, preset.obj_scale, extents, scales, placement_rng)
    tints = [
        materials["paint"].colour if request.recolour and shape.kind != "procedural" else None
        for shape, materials in zip(shapes, drawn, strict=True)
    ]
    return tuple(
        _object_plan(label, shape, spot, extent, scale, materials, tints[label - 1])
        for label, (shape, spot, extent, scale, materials) in enumerate(
            zip(shapes, placed, extents, scales, drawn, strict=True), start=1
        )
    )


def _object_plan(
    label: int,
    shape: ShapeAsset,
    spot: Placed,
    extent: Extent,
    scale: float,
    materials: dict[str, Material],
    tint: Colour | None,
) -> ObjectPlan:
    width, depth, height = (round(float(side) * scale, 6) for side in extent.size)
    return ObjectPlan(
        label=label,
        asset=shape.id,
        shape=shape,
        position=(spot.x, spot.y, 0.0),
        yaw=spot.yaw,
        scale=scale,
        size=(width, depth, height),
        materials=materials,
        tint=tint,
    )

"""Scenes by hand: a plan from shapes, places and cameras of one's own, and a plan seen from other cameras."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from generation.assets.catalogue import Catalogue, ShapeAsset
from generation.plan.lights import LightPlan, plan_lights
from generation.plan.materials import ROLES, Material, draw_materials
from generation.plan.plan import N_WALLS, ObjectPlan, RenderPlan, ScenePlan, ViewPlan
from generation.plan.request import GenerationRequest
from generation.plan.room import RoomPlan, plan_room, unclipped_exposure
from generation.plan.seeds import Stream, stream_rng
from objnerf.dataset.convert.posed import checked_pose, rigid
from objnerf.dataset.files import OBJECT_COLOURS
from objnerf.dataset.names import make_view_stem, parse_view_name
from objnerf.dataset.untrusted import read_json
from objnerf.errors import InputError


def place_object(
    shape: ShapeAsset,
    position: Sequence[float],
    *,
    diagonal: float,
    yaw: float = 0.0,
    material: Material | None = None,
    seed: int = 0,
) -> ObjectPlan:
    """An object for `compose_scene`.

    Args:
        shape: of a `Catalogue`, such as ``catalogue.shapes("chair", 1, seed=0)[0]``.
        position: (x, y) of the bounding box's centre on the ground, or (x, y, z) with z its lower side,
            world units.
        diagonal: of the bounding box, world units; a cube's side is diagonal / √3.
        yaw: about world z, radians.
        material: of all parts, its colour sRGB in [0, 1]; None to draw those of furniture by ``seed``. A mesh
            file keeps its own materials, which take the colour as `recoloured` does.
        seed: draws the materials.
    Raises:
        InputError: a position of another length, or numbers that are not finite.
    """
    if len(position) not in (2, 3) or not np.isfinite([*position, diagonal, yaw]).all() or diagonal <= 0:
        raise InputError(
            f"{shape.id}: expected a position of two or three finite numbers, a positive diagonal and a "
            f"finite yaw; got {list(position)}, {diagonal} and {yaw}"
        )
    if material is not None:
        materials = dict.fromkeys(ROLES, material)
    else:
        (materials,) = draw_materials("furniture", 1, np.random.default_rng(seed))
    x, y, z = position if len(position) == 3 else (*position, 0.0)
    return ObjectPlan(
        label=1,
        asset=shape.id,
        shape=shape,
        position=(x, y, z),
        yaw=yaw,
        scale=diagonal,
        materials=materials,
        tint=material.colour if material is not None and shape.kind != "procedural" else None,
    )


def compose_scene(
    request: GenerationRequest,
    catalogue: Catalogue,
    objects: Sequence[ObjectPlan],
    world_from_camera: Float[np.ndarray, "views 4 4"],
    *,
    scene: int = 0,
    room: RoomPlan | None = None,
    lights: LightPlan | None = None,
) -> ScenePlan:
    """A plan of these objects, seen from these cameras. Nothing is judged: objects may hide one another.

    Args:
        request: size, lens, samples, passes and seed; its ``scenes`` is the size of the dataset.
        catalogue: floors and walls of the preset's room.
        objects: see `place_object`; their labels become 1, 2, … in this order.
        world_from_camera: camera-to-world poses, OpenCV axes, world units.
        scene: id of the scene.
        room: floor and walls; None for one of the preset's.
        lights: None for the preset's.
    Raises:
        InputError: too many objects, a matrix that is no pose, or a camera below the ground or outside the
            room.
    """
    if len(objects) > len(OBJECT_COLOURS):
        raise InputError(f"expected at most {len(OBJECT_COLOURS)} objects, got {len(objects)}")
    if not 0 <= scene < request.scenes:
        raise InputError(f"expected a scene from 0 to {request.scenes - 1}, got {scene}")
    poses = check_poses(world_from_camera)
    preset = request.preset

    def rng(stream: Stream) -> np.random.Generator:
        return stream_rng(request.seed, scene, stream, request.split, 0)

    if room is None:
        floors = catalogue.floors(request.backgrounds) if preset.room.floors == "floors" else []
        walls = catalogue.walls(N_WALLS) if preset.room.walls else []
        room = plan_room(preset.room, preset.obj_scale, poses[:, :2, 3], floors, walls, rng(Stream.ROOM))
    check_cameras(poses, room)
    lights = lights or plan_lights(preset.lights, rng(Stream.LIGHTS))
    unclipped = unclipped_exposure(room, lights, preset.obj_scale, catalogue.light_albedo)
    return ScenePlan(
        generator=request.generator,
        scene=scene,
        seed=request.seed,
        split=request.split,
        attempt=0,
        preset=preset.name,
        objects=tuple(
            item.model_copy(update={"label": label}) for label, item in enumerate(objects, start=1)
        ),
        views=_views(poses, scene, request.scenes),
        room=room,
        lights=lights,
        render=RenderPlan.of(request, int(rng(Stream.RENDER).integers(2**31)), unclipped),
        acceptance=None,
    )


def with_cameras(plan: ScenePlan, world_from_camera: Float[np.ndarray, "views 4 4"]) -> ScenePlan:
    """The same scene from other cameras, however many; what they show of the objects is not judged.

    Args:
        plan: the scene.
        world_from_camera: camera-to-world poses, OpenCV axes, world units.
    Raises:
        InputError: a matrix that is no pose, or a camera below the ground or outside the room.
    """
    poses = check_poses(world_from_camera)
    check_cameras(poses, plan.room)
    if plan.edits is not None:
        check_cameras(poses, plan.edits.providing_room)
    name = parse_view_name(f"{plan.views[0].stem}.png")
    # As wide as the ids of the dataset that the scene comes from.
    n_scenes = 10 ** (name.digits if name is not None else 4)
    views = _views(poses, plan.scene, n_scenes)
    return plan.model_copy(update={"views": views, "acceptance": None, "seen": None})


def read_poses(path: Path) -> Float[np.ndarray, "views 4 4"]:
    """Camera-to-world poses from a JSON file: a list of 4×4 matrices, OpenCV axes, world units.

    Raises:
        InputError: the file cannot be read, or holds something else.
    """
    content = read_json(path)
    if not isinstance(content, list) or not content:
        raise InputError(f"{path}: expected a list of 4x4 camera-to-world matrices, OpenCV axes")
    return np.stack([_pose(matrix, f"{path}: pose {number}") for number, matrix in enumerate(content)])


def check_poses(world_from_camera: Float[np.ndarray, "views 4 4"]) -> Float[np.ndarray, "views 4 4"]:
    """The poses, with rotations made exactly orthonormal.

    Raises:
        InputError: there is none, or a matrix is further from a rigid motion than rounding explains.
    """
    if len(world_from_camera) == 0:
        raise InputError("expected at least one camera, got none")
    return np.stack([_pose(matrix, f"camera {number}") for number, matrix in enumerate(world_from_camera)])


def check_cameras(world_from_camera: Float[np.ndarray, "views 4 4"], room: RoomPlan) -> None:
    """Refuse cameras that would see the room from outside.

    Raises:
        InputError: a camera is not above the ground, or is behind a wall.
    """
    for number, (x, y, z) in enumerate(world_from_camera[:, :3, 3].tolist()):
        if z <= 0:
            raise InputError(f"camera {number} is at z = {z:.4g}; expected it above the ground, z = 0")
        for wall in room.walls:
            (x0, y0), (x1, y1) = wall.start, wall.end
            # A wall's inner side is to the left of start → end.
            if (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) <= 0:
                raise InputError(
                    f"camera {number} at ({x:.4g}, {y:.4g}) is behind a wall of the room, from "
                    f"({x0:.4g}, {y0:.4g}) to ({x1:.4g}, {y1:.4g}); move it inside, or compose the scene "
                    "with a larger room"
                )


def _pose(matrix: object, where: str) -> Float[np.ndarray, "4 4"]:
    return rigid(checked_pose(matrix, where), where, "a camera")


def _views(poses: Float[np.ndarray, "views 4 4"], scene: int, n_scenes: int) -> tuple[ViewPlan, ...]:
    return tuple(
        ViewPlan(
            stem=make_view_stem(scene * len(poses) + number, scene, number, n_scenes),
            world_from_camera=tuple(tuple(row) for row in pose.tolist()),
        )
        for number, pose in enumerate(poses)
    )

"""The generator's part of the public face: whole datasets, and single scenes by hand.

``from objnerf import generate`` is the way in. Rendering needs the extra ``generate`` (Blender).
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

import numpy as np
from jaxtyping import Float

from generation.assets.catalogue import ShapeAsset
from generation.jobs import AssetFolders, Workers, generate_dataset, render_plan
from generation.plan import compose
from generation.plan.lights import LightPlan
from generation.plan.materials import Colour, Material
from generation.plan.plan import ObjectPlan, ScenePlan
from generation.plan.request import DatasetOptions, SceneOptions, build_request
from generation.plan.room import RoomPlan
from objnerf.console import Progress, no_progress
from objnerf.dataset.index import Dataset, Scene, open_dataset
from objnerf.errors import InputError

__all__ = [
    "AssetFolders",
    "ScenePlan",
    "compose_scene",
    "generate",
    "place_object",
    "render_scene",
    "shapes",
]


def generate(
    preset: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    assets: AssetFolders | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    device: str = "cpu",
    progress: Progress = no_progress,
    **options: Unpack[DatasetOptions],
) -> Dataset:
    """Make a dataset with Blender. Called again with the same arguments, it continues where it stopped.

    Equal arguments give equal files, on however many workers. Shards and clusters are options of
    `generation.jobs.generate_dataset`.

    Args:
        preset: "room-diverse", "room-chair", "clevr-567", "clevr-567-metal", or the path of a YAML file.
        out: folder of the dataset; made when missing.
        assets: folders of meshes and textures of your own; None for the embedded assets.
        workers: Blender processes at a time; None for one a core.
        overwrite: replace another generated dataset in ``out``.
        device: what Cycles computes on: "cpu", "auto", "cuda", "optix", "hip" or "metal".
        progress: called with (done, total, note) after each scene.
        **options: see `DatasetOptions`: size, samples, passes, seed, scenes, split, views, shapes,
            backgrounds, manipulations, real_scale, recolour.
    Returns:
        The dataset, opened.
    Raises:
        InputError: the request cannot be met, Blender is not installed, or ``out`` holds something else.
        WorkError: scenes failed, or the disk is full.

    >>> import objnerf
    >>> dataset = objnerf.generate("clevr-567", tmp_path / "clevr", scenes=1, size=(64, 48), samples=1)
    >>> view = dataset.scenes[0].views[0]
    >>> view.image().shape, view.depth().shape, view.pose().shape
    ((48, 64, 3), (48, 64), (4, 4))
    """
    request = build_request(os.fspath(preset), **options)
    report = generate_dataset(
        request,
        Path(out),
        assets,
        workers=Workers(count=workers, device=device),
        overwrite=overwrite,
        progress=progress,
    )
    report.raise_failures()
    return open_dataset(out)


def shapes(
    source: str, count: int = 1, *, seed: int = 0, assets: AssetFolders | None = None
) -> list[ShapeAsset]:
    """Shapes to place by hand.

    Args:
        source: an entry of the asset manifest ("furniture", "primitives") or a family of one ("chair",
            "cube"); ``objnerf assets list`` shows them.
        count: how many different ones.
        seed: chooses them; a longer list begins with the shorter one.
        assets: folders of meshes of your own, which then stand in for the procedural shapes.
    Raises:
        InputError: nothing of that name, or fewer shapes than asked for.

    >>> [shape.family for shape in shapes("chair", 2)]
    ['chair', 'chair']
    """
    return (assets or AssetFolders()).load().shapes(source, count, seed)


def place_object(
    shape: str | ShapeAsset,
    position: Sequence[float],
    *,
    diagonal: float = 3.0,
    yaw: float = 0.0,
    colour: Colour | None = None,
    roughness: float = 0.5,
    metallic: float = 0.0,
    seed: int = 0,
) -> ObjectPlan:
    """An object for `compose_scene`.

    Args:
        shape: a family of the manifest, such as "chair" or "cube", or one of `shapes`.
        position: (x, y) of the bounding box's centre on the ground, or (x, y, z) with z its lower side, world
            units.
        diagonal: of the bounding box, world units; a cube's side is diagonal / √3.
        yaw: about world z, radians.
        colour: sRGB in [0, 1] of all parts. A mesh file becomes shades of this colour: its mean over the
            surface is ``colour``, dark parts stay dark and textures visible. None: a mesh file keeps its
            colours, and those of other shapes are drawn by ``seed``.
        roughness: of the surface, in [0, 1], where a colour is given. Materials of a mesh file keep theirs.
        metallic: 0 for plastics and wood, 1 for metal; as ``roughness``.
        seed: chooses among the shapes of the family, and draws colours.
    Raises:
        InputError: no such shape, numbers that are not finite, or a colour, roughness or metallic that is not
            in [0, 1].

    >>> cube = place_object("cube", (1, 0), diagonal=2 * 3**0.5, colour=(0.8, 0.1, 0.1))
    >>> cube.position, round(float(cube.world_from_object()[0, 0]), 3)
    ((1.0, 0.0, 0.0), 3.464)
    """
    asset = shapes(shape, seed=seed)[0] if isinstance(shape, str) else shape
    material = None if colour is None else _plain_material(colour, roughness, metallic)
    place = [float(value) for value in position]
    return compose.place_object(
        asset, place, diagonal=float(diagonal), yaw=float(yaw), material=material, seed=seed
    )


def _plain_material(colour: Sequence[float], roughness: float, metallic: float) -> Material:
    """A surface of one colour.

    Raises:
        InputError: the colour is not three numbers in [0, 1], or one of the others is outside of it.
    """
    values = [float(value) for value in (*colour, roughness, metallic)]
    if len(values) != 5 or not all(0 <= value <= 1 for value in values):
        raise InputError(
            "expected a colour of three sRGB numbers, a roughness and a metallic, each in [0, 1]; got "
            f"{tuple(colour)}, {roughness} and {metallic}"
        )
    red, green, blue = values[:3]
    return Material(colour=(red, green, blue), roughness=values[3], metallic=values[4])


def compose_scene(
    objects: Sequence[ObjectPlan],
    world_from_camera: Float[np.ndarray, "views 4 4"] | Sequence[Float[np.ndarray, "4 4"]],
    *,
    preset: str | os.PathLike[str] = "clevr-567",
    scene: int = 0,
    scenes: int = 1,
    room: RoomPlan | None = None,
    lights: LightPlan | None = None,
    **options: Unpack[SceneOptions],
) -> ScenePlan:
    """A scene of your own: these objects, seen from these cameras. Needs no Blender; `render_scene` does.

    Nothing is judged: objects may touch, hide one another, and be out of a view.

    Args:
        objects: see `place_object`; in the masks they get the labels 1, 2, … in this order.
        world_from_camera: camera-to-world poses, OpenCV axes (x right, y down, z forward), world units;
            ``objnerf.dataset.cameras.look_at`` makes one.
        preset: gives lens, lights, floor, walls and samples.
        scene: id of the scene.
        scenes: number of scenes of the dataset that it is for.
        room: floor and walls; None for the preset's.
        lights: lamps and ambient light; None for the preset's.
        **options: see `SceneOptions`: size, samples, passes, seed.
    Raises:
        InputError: too many objects, a matrix that is no pose, a camera below the ground or behind a wall, or
            an option that cannot be used.

    >>> from objnerf.dataset.cameras import look_at
    >>> camera = look_at(np.array([8.0, -6.0, 6.0]), np.zeros(3))
    >>> plan = compose_scene([place_object("cube", (0, 0)), place_object("sphere", (3, 1))], [camera])
    >>> [(item.label, item.shape.family) for item in plan.objects], len(plan.views)
    ([(1, 'cube'), (2, 'sphere')], 1)
    """
    poses = np.asarray(world_from_camera, dtype=np.float64)
    request = build_request(os.fspath(preset), scenes=scenes, views=max(1, len(poses)), **options)
    catalogue = AssetFolders().load()
    return compose.compose_scene(request, catalogue, objects, poses, scene=scene, room=room, lights=lights)


def render_scene(
    plan: ScenePlan,
    out: str | os.PathLike[str],
    *,
    world_from_camera: Float[np.ndarray, "views 4 4"] | None = None,
    assets: AssetFolders | None = None,
    device: str = "cpu",
) -> Scene:
    """Render a scene with Blender: images, poses and passes of each view, and the plan, as files.

    Args:
        plan: of `compose_scene`, or read from a dataset's ``scenes/*.json`` with
            ``ScenePlan.model_validate_json``. An edited copy (``plan.model_copy``) is rendered as edited.
        out: folder of the dataset; made when missing. More scenes may be added to it.
        world_from_camera: see the scene from these cameras instead of the plan's own: camera-to-world poses,
            OpenCV axes, world units.
        assets: folders of meshes and textures that the plan uses.
        device: what Cycles computes on: "cpu", "auto", "cuda", "optix", "hip" or "metal".
    Returns:
        The scene, opened.
    Raises:
        InputError: Blender is not installed, or the dataset in ``out`` has another size or lens.
        WorkError: the plan's views don't show what it asks for, or a file cannot be written.
    """
    if world_from_camera is not None:
        plan = compose.with_cameras(plan, np.asarray(world_from_camera, dtype=np.float64))
    render_plan(plan, Path(out), assets, device=device)
    return open_dataset(out).scenes[plan.scene]

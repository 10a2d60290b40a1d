"""Cameras as geometry for other programs: GLB (a scene of nodes) and PLY (one coloured mesh).

GLB prescribes y up, the dataset has z up. A root node, `WORLD_NODE`, turns the one into the other; below it
everything is in the dataset's own coordinates. Each camera is a node named as its view's stem whose matrix
*is* its `world_from_camera` (OpenCV axes): its translation is the camera's position as `_RT.txt` has it.
PLY prescribes no axes: its vertices are in the dataset's coordinates, z up, and header comments say so and
list the cameras' positions.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from objnerf.dataset.cameras import Intrinsics, frustum_corners
from objnerf.dataset.files import atomic_path
from objnerf.pictures.rig import (
    Rig,
    RigCamera,
    Strokes,
    box_strokes,
    camera_strokes,
    ground_strokes,
    plumb_strokes,
    rig_strokes,
    world_axes_strokes,
)
from objnerf.pictures.sheets import Colour

if TYPE_CHECKING:
    import trimesh

WORLD_NODE = "dataset_world_z_up"

#: Takes the dataset's world (z up) to that of GLB (y up): (x, y, z) becomes (x, z, -y).
GLB_FROM_WORLD = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


def write_glb(rig: Rig, path: Path) -> Path:
    """Write a rig as binary glTF. Atomic.

    Node names: `WORLD_NODE` at the root; below it `ground`, `plumb_lines`, `locality_box`, `world_axes` and
    one node a camera, named as the view's stem, with `extras` `scene`, `position` and `world_from_camera`.
    """
    content: bytes = _scene(rig).export(file_type="glb")
    with atomic_path(path) as partial:
        partial.write_bytes(content)
    return path


def write_ply(rig: Rig, path: Path) -> Path:
    """Write a rig as a binary PLY mesh with coloured vertices, in the dataset's coordinates. Atomic."""
    mesh = _tubes(rig_strokes(rig), _line_radius(rig))
    content = mesh.export(file_type="ply", encoding="binary")
    assert isinstance(content, bytes)
    comments = ["axes: right-handed, z up, ground at z = 0; units and origin of the dataset"]
    for camera in rig.cameras:
        x, y, z = camera.world_from_camera[:3, 3]
        comments.append(f"camera {camera.stem} at {float(x)!r} {float(y)!r} {float(z)!r}")
    header, body = content.split(b"end_header\n", 1)
    first_lines, rest = header.split(b"\nelement ", 1)
    noted = io.BytesIO()
    noted.write(first_lines + b"\n")
    for comment in comments:
        noted.write(b"comment " + comment.encode("ascii", "replace") + b"\n")
    noted.write(b"element " + rest + b"end_header\n" + body)
    with atomic_path(path) as partial:
        partial.write_bytes(noted.getvalue())
    return path


def _scene(rig: Rig) -> "trimesh.Scene":
    """A rig as trimesh's scene graph."""
    import trimesh

    scene = trimesh.Scene()
    scene.graph.update(frame_to=WORLD_NODE, matrix=GLB_FROM_WORLD, metadata={"axes": "below: z up"})
    radius = _line_radius(rig)
    for name, strokes in (
        ("ground", [ground_strokes(rig.ground_half)]),
        ("plumb_lines", [plumb_strokes(rig)]),
        ("locality_box", [box_strokes(rig.obj_scale)]),
        ("world_axes", world_axes_strokes(rig.obj_scale / 2)),
    ):
        thickness = radius * (2 if name == "world_axes" else 1)
        scene.add_geometry(
            _tubes(strokes, thickness), geom_name=name, node_name=name, parent_node_name=WORLD_NODE
        )
    bodies: dict[tuple[Colour, Intrinsics], str] = {}
    for camera in rig.cameras:
        look = camera.colour, rig.intrinsics_of(camera)
        if look not in bodies:
            outline = camera_strokes(look[1], np.eye(4), rig.frustum_depth, camera.colour)
            name = "camera_{:02x}{:02x}{:02x}".format(*camera.colour)
            # Cameras of one colour may have different lenses.
            bodies[look] = name if name not in scene.geometry else f"{name}_{len(bodies)}"
            scene.geometry[bodies[look]] = _tubes(outline, radius)
        scene.graph.update(
            frame_to=camera.stem,
            frame_from=WORLD_NODE,
            matrix=camera.world_from_camera,
            geometry=bodies[look],
            metadata={
                "scene": camera.scene,
                "position": camera.world_from_camera[:3, 3].tolist(),
                "world_from_camera": camera.world_from_camera.tolist(),
            },
        )
        if camera.thumbnail is not None:
            _add_picture(scene, rig, camera)
    return scene


def _add_picture(scene: "trimesh.Scene", rig: Rig, camera: RigCamera) -> None:
    """Hang a camera's thumbnail, as a textured rectangle, on its image plane."""
    import trimesh

    # Pulled a little towards the camera, so that it does not flicker against the frame around it.
    corners = frustum_corners(rig.intrinsics_of(camera), np.eye(4), 0.995 * rig.frustum_depth)
    assert camera.thumbnail is not None
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=Image.fromarray(camera.thumbnail),
        metallicFactor=0.0,
        roughnessFactor=1.0,
        doubleSided=True,
    )
    # trimesh counts v upwards: the upper corners of the picture have v = 1.
    visual = trimesh.visual.TextureVisuals(uv=np.array([[0, 1], [1, 1], [1, 0], [0, 0]]), material=material)
    rectangle = trimesh.Trimesh(corners, [[0, 2, 1], [0, 3, 2]], visual=visual, process=False)
    name = f"picture of {camera.stem}"
    scene.add_geometry(rectangle, geom_name=name, node_name=name, parent_node_name=camera.stem)


def _line_radius(rig: Rig) -> float:
    return 0.012 * rig.frustum_depth


def _tubes(strokes: list[Strokes], radius: float) -> "trimesh.Trimesh":
    """Line segments as thin four-sided rods, since many viewers draw bare lines a hair wide or not at all."""
    import trimesh

    segments = np.concatenate([stroke.segments for stroke in strokes])
    colours = np.concatenate([np.tile(stroke.colour, (len(stroke.segments), 1)) for stroke in strokes])
    vertices, faces = _rods(segments, radius)
    return trimesh.Trimesh(
        vertices, faces, vertex_colors=np.repeat(colours.astype(np.uint8), 8, axis=0), process=False
    )


def _rods(
    segments: Float[np.ndarray, "segments 2 3"], radius: float
) -> tuple[Float[np.ndarray, "vertices 3"], Any]:
    """A square rod about each segment: eight vertices, four round its start and four round its end."""
    along = segments[:, 1] - segments[:, 0]
    length = np.linalg.norm(along, axis=1, keepdims=True)
    along = along / np.where(length > 0, length, 1)
    # Any direction that is not along the rod gives a first normal; the axis it leans on least is safest.
    least = np.eye(3)[np.abs(along).argmin(axis=1)]
    first = np.cross(along, least)
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-12)
    second = np.cross(along, first)
    ring = np.stack([first + second, second - first, -first - second, first - second], axis=1) * radius
    vertices = np.concatenate([segments[:, :1] + ring, segments[:, 1:] + ring], axis=1).reshape(-1, 3)
    sides = [[a, (a + 1) % 4, 4 + (a + 1) % 4] for a in range(4)] + [
        [a, 4 + (a + 1) % 4, 4 + a] for a in range(4)
    ]
    caps = [[0, 2, 1], [0, 3, 2], [4, 5, 6], [4, 6, 7]]
    one = np.array(sides + caps)
    return vertices, (one + 8 * np.arange(len(segments))[:, None, None]).reshape(-1, 3)

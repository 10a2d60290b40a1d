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
from objnerf.visualization.camera_plot import (
    CameraPlot,
    LineSet,
    PlottedCamera,
    box_lines,
    camera_lines,
    ground_lines,
    plot_lines,
    plumb_lines,
    world_axes_lines,
)
from objnerf.visualization.contact_sheets import Colour

if TYPE_CHECKING:
    import trimesh

WORLD_NODE = "dataset_world_z_up"

#: Takes the dataset's world (z up) to that of GLB (y up): (x, y, z) becomes (x, z, -y).
GLB_FROM_WORLD = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


def write_glb(plot: CameraPlot, path: Path) -> Path:
    """Write a plot as binary glTF. Atomic.

    Node names: `WORLD_NODE` at the root; below it `ground`, `plumb_lines`, `locality_box`, `world_axes` and
    one node a camera, named as the view's stem, with `extras` `scene`, `position` and `world_from_camera`.
    """
    content: bytes = _scene(plot).export(file_type="glb")
    with atomic_path(path) as partial:
        partial.write_bytes(content)
    return path


def write_ply(plot: CameraPlot, path: Path) -> Path:
    """Write a plot as a binary PLY mesh with coloured vertices, in the dataset's coordinates. Atomic."""
    mesh = _tubes(plot_lines(plot), _line_radius(plot))
    content = mesh.export(file_type="ply", encoding="binary")
    assert isinstance(content, bytes)
    comments = ["axes: right-handed, z up, ground at z = 0; units and origin of the dataset"]
    for camera in plot.cameras:
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


def _scene(plot: CameraPlot) -> "trimesh.Scene":
    """A plot as trimesh's scene graph."""
    import trimesh

    scene = trimesh.Scene()
    scene.graph.update(frame_to=WORLD_NODE, matrix=GLB_FROM_WORLD, metadata={"axes": "below: z up"})
    radius = _line_radius(plot)
    for name, lines in (
        ("ground", [ground_lines(plot.ground_half)]),
        ("plumb_lines", [plumb_lines(plot)]),
        ("locality_box", [box_lines(plot.obj_scale)]),
        ("world_axes", world_axes_lines(plot.obj_scale / 2)),
    ):
        thickness = radius * (2 if name == "world_axes" else 1)
        scene.add_geometry(
            _tubes(lines, thickness), geom_name=name, node_name=name, parent_node_name=WORLD_NODE
        )
    bodies: dict[tuple[Colour, Intrinsics], str] = {}
    for camera in plot.cameras:
        look = camera.colour, plot.intrinsics_of(camera)
        if look not in bodies:
            outline = camera_lines(look[1], np.eye(4), plot.frustum_depth, camera.colour)
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
            _add_picture(scene, plot, camera)
    return scene


def _add_picture(scene: "trimesh.Scene", plot: CameraPlot, camera: PlottedCamera) -> None:
    """Hang a camera's thumbnail, as a textured rectangle, on its image plane."""
    import trimesh

    # Pulled a little towards the camera, so that it does not flicker against the frame around it.
    corners = frustum_corners(plot.intrinsics_of(camera), np.eye(4), 0.995 * plot.frustum_depth)
    assert camera.thumbnail is not None
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=Image.fromarray(camera.thumbnail),
        metallicFactor=0.0,
        roughnessFactor=1.0,
        doubleSided=True,
    )
    # trimesh counts v upwards: the upper corners of the image have v = 1.
    visual = trimesh.visual.TextureVisuals(uv=np.array([[0, 1], [1, 1], [1, 0], [0, 0]]), material=material)
    rectangle = trimesh.Trimesh(corners, [[0, 2, 1], [0, 3, 2]], visual=visual, process=False)
    name = f"image of {camera.stem}"
    scene.add_geometry(rectangle, geom_name=name, node_name=name, parent_node_name=camera.stem)


def _line_radius(plot: CameraPlot) -> float:
    return 0.012 * plot.frustum_depth


def _tubes(lines: list[LineSet], radius: float) -> "trimesh.Trimesh":
    """Line segments as thin four-sided rods, since many viewers draw bare lines a hair wide or not at all."""
    import trimesh

    segments = np.concatenate([line_set.segments for line_set in lines])
    colours = np.concatenate([np.tile(line_set.colour, (len(line_set.segments), 1)) for line_set in lines])
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

"""What every view of the viewer stands on: the server, the ground, the locality box, cameras.

viser's cameras have OpenCV axes like ours (x right, y down, z forward), and its world is told that z is up,
so poses pass through unchanged.
"""

import logging
import socket
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

from objnerf.dataset.cameras import Intrinsics, look_at
from objnerf.errors import InputError
from objnerf.visualization.camera_plot import AXIS_COLOURS, BOX_COLOUR, box_lines

if TYPE_CHECKING:
    import viser


def start_server(host: str, port: int) -> "viser.ViserServer":
    """A server that listens; its scene has z up and is empty.

    Raises:
        InputError: the extra ``viewer`` is not installed, or nothing can listen at this address.
    """
    try:
        import viser
    except ImportError as error:
        raise InputError(
            "the viewer needs the optional part `viewer`: pip install 'objnerf[viewer]'"
        ) from error
    # Browsers open connections that they don't use, each of which would be reported with a traceback.
    logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
    _check_address(host)
    server = viser.ViserServer(host=host, port=port, verbose=False)
    server.scene.set_up_direction("+z")
    server.gui.configure_theme(dark_mode=False, show_logo=False, show_share_button=False)
    return server


def _check_address(host: str) -> None:
    """Refuse an address at which nothing can listen: viser's own thread would die, and the caller wait on."""
    try:
        with socket.socket() as probe:
            probe.bind((host, 0))
    except OSError as error:
        raise InputError(
            f"--host {host}: nothing can listen there ({error.strerror or error}); 127.0.0.1 is this machine "
            "alone, 0.0.0.0 is everybody who can reach it"
        ) from error


def add_surroundings(server: "viser.ViserServer", obj_scale: float, reach: float) -> dict[str, list[Any]]:
    """Ground, world axes and locality box; returns their handles by what the user calls them.

    Args:
        obj_scale: half side of the locality box, world units.
        reach: the ground's half side, world units.
    """
    segments = box_lines(obj_scale).segments.astype(np.float32)
    box = server.scene.add_line_segments(
        "/locality box", points=segments, colors=BOX_COLOUR, thickness=2.0, thickness_units="screen"
    )
    grid = server.scene.add_grid(
        "/ground", width=2 * reach, height=2 * reach, cell_size=1.0, section_size=5.0, plane_opacity=0.0
    )
    axes = []
    for axis, colour in enumerate(AXIS_COLOURS):
        tip = 0.25 * obj_scale * np.eye(3, dtype=np.float32)[axis]
        axes.append(
            server.scene.add_line_segments(
                f"/world axes/{'xyz'[axis]}",
                points=np.stack([np.zeros(3, np.float32), tip])[None],
                colors=colour,
                thickness=4.0,
                thickness_units="screen",
            )
        )
    return {"locality box": [box], "ground": [grid], "world axes": axes}


class Doors:
    """Cameras that the user can step into by a click; the one that is entered hides its own picture."""

    def __init__(self) -> None:
        self._entered: Any = None

    def add(self, handle: Any, world_from_camera: Float[np.ndarray, "4 4"]) -> None:
        """Let a click on a camera's pyramid lead to where that camera stands.

        Args:
            handle: viser's handle of the pyramid.
            world_from_camera: its pose, OpenCV axes.
        """

        @handle.on_click
        def _(event: Any) -> None:
            self.enter(event.client.camera, handle, world_from_camera)

    def enter(self, camera: Any, handle: Any, world_from_camera: Float[np.ndarray, "4 4"]) -> None:
        """Put the user's camera where one of the dataset's stands."""
        self.leave()
        distance = float(np.linalg.norm(world_from_camera[:3, 3]))
        target = world_from_camera[:3, 3] + max(distance, 0.1) * world_from_camera[:3, 2]
        look_from(camera, world_from_camera, target)
        # From inside, the camera's picture would hide what it shows.
        self._entered = handle
        handle.visible = False

    def leave(self, *, gone: bool = False) -> None:
        """Show the camera that was entered again, unless it is gone."""
        if self._entered is not None and not gone:
            self._entered.visible = True
        self._entered = None


def overview(reach: int | float) -> Float[np.ndarray, "4 4"]:
    """``world_from_camera`` of a place that sees everything: from the front, to the right and above.

    Args:
        reach: half side of the ground that is drawn, world units.
    """
    return look_at(2.1 * reach * np.array([0.45, -0.8, 0.55]), np.zeros(3))


def look_from(
    camera: Any, world_from_camera: Float[np.ndarray, "4 4"], target: Float[np.ndarray, "3"]
) -> None:
    """Put a viser camera where a dataset's camera is, turning about ``target`` from then on."""
    camera.position = world_from_camera[:3, 3]
    camera.look_at = target
    camera.up_direction = (0.0, 0.0, 1.0)


def rotation_quaternion(rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "4"]:
    """Quaternion (w, x, y, z) of a rotation, as viser takes it."""
    from viser import transforms

    return np.asarray(transforms.SO3.from_matrix(rotation).wxyz, np.float64)


def pose_of(camera: Any) -> Float[np.ndarray, "4 4"]:
    """``world_from_camera`` (OpenCV axes) of a viser camera."""
    from viser import transforms

    pose = np.eye(4)
    pose[:3, :3] = transforms.SO3(np.asarray(camera.wxyz)).as_matrix()
    pose[:3, 3] = camera.position
    return pose


def add_camera(
    server: "viser.ViserServer",
    name: str,
    world_from_camera: Float[np.ndarray, "4 4"],
    intrinsics: Intrinsics,
    scale: int | float,
    colour: tuple[int, int, int],
    image: UInt8[np.ndarray, "height width 3"] | None,
) -> Any:
    """A camera's pyramid with its picture; returns viser's handle."""
    return server.scene.add_camera_frustum(
        name,
        fov=float(2 * np.arctan(intrinsics.height / (2 * intrinsics.fy))),
        aspect=(intrinsics.width / intrinsics.fx) / (intrinsics.height / intrinsics.fy),
        scale=scale,
        color=colour,
        thickness=2.0,
        thickness_units="screen",
        image=image,
        wxyz=rotation_quaternion(world_from_camera[:3, :3]),
        position=world_from_camera[:3, 3],
    )


def url_of(server: "viser.ViserServer") -> str:
    """Where a browser finds the server."""
    host = server.get_host()
    return f"http://{'127.0.0.1' if host in ('0.0.0.0', '') else host}:{server.get_port()}"

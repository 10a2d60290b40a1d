"""Shared parts of the viewers: the viser server, the ground, the locality box, camera frusta.

viser's cameras have OpenCV axes like ours (x right, y down, z forward), and its up direction is set to z,
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
    """Start a server with an empty scene, z up.

    Raises:
        InputError: the extra ``viewer`` is not installed, or the address cannot be bound.
    """
    try:
        import viser
    except ImportError as error:
        raise InputError("the viewer needs the extra `viewer`: pip install 'objnerf[viewer]'") from error
    # Browsers open connections that they don't use, each of which would be reported with a traceback.
    logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
    _check_address(host)
    server = viser.ViserServer(host=host, port=port, verbose=False)
    server.scene.set_up_direction("+z")
    server.gui.configure_theme(dark_mode=False, show_logo=False, show_share_button=False)
    return server


def _check_address(host: str) -> None:
    """Check the address first: viser's own thread would die on a bad one, and the caller would hang."""
    try:
        with socket.socket() as probe:
            probe.bind((host, 0))
    except OSError as error:
        raise InputError(
            f"--host {host}: cannot listen on this address ({error.strerror or error}); use 127.0.0.1 for "
            "this machine only, 0.0.0.0 for all network interfaces"
        ) from error


def add_surroundings(server: "viser.ViserServer", obj_scale: float, reach: float) -> dict[str, list[Any]]:
    """Ground, world axes and locality box; returns their viser handles by display name.

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


class ViewpointSwitcher:
    """Moves the user's view to a camera that is clicked; the frustum of that camera is hidden meanwhile."""

    def __init__(self) -> None:
        self._entered: Any = None

    def add(self, handle: Any, world_from_camera: Float[np.ndarray, "4 4"]) -> None:
        """Make a click on a camera frustum move the user's view to that camera.

        Args:
            handle: viser's handle of the frustum.
            world_from_camera: its pose, OpenCV axes.
        """

        @handle.on_click
        def _(event: Any) -> None:
            self.enter(event.client.camera, handle, world_from_camera)

    def enter(self, camera: Any, handle: Any, world_from_camera: Float[np.ndarray, "4 4"]) -> None:
        """Move the user's view to a camera of the dataset."""
        self.leave()
        distance = float(np.linalg.norm(world_from_camera[:3, 3]))
        target = world_from_camera[:3, 3] + max(distance, 0.1) * world_from_camera[:3, 2]
        look_from(camera, world_from_camera, target)
        # From inside, the image of the frustum would hide the scene.
        self._entered = handle
        handle.visible = False

    def leave(self, *, gone: bool = False) -> None:
        """Show the hidden frustum again, unless it was removed."""
        if self._entered is not None and not gone:
            self._entered.visible = True
        self._entered = None


def overview(reach: int | float) -> Float[np.ndarray, "4 4"]:
    """``world_from_camera`` of a camera that sees everything, from the front right and above.

    Args:
        reach: half side of the ground that is drawn, world units.
    """
    return look_at(2.1 * reach * np.array([0.45, -0.8, 0.55]), np.zeros(3))


def look_from(
    camera: Any, world_from_camera: Float[np.ndarray, "4 4"], target: Float[np.ndarray, "3"]
) -> None:
    """Move a viser camera to a pose; it orbits about ``target`` from then on."""
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
    """Add a camera frustum with its image; returns viser's handle."""
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
    """The URL of the server."""
    host = server.get_host()
    return f"http://{'127.0.0.1' if host in ('0.0.0.0', '') else host}:{server.get_port()}"

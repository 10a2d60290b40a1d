"""A dataset in the browser: cameras, images, locality box, and points where there is depth."""

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Int, UInt8

from objnerf.dataset.cameras import unproject
from objnerf.dataset.convert.masks import object_numbers
from objnerf.dataset.files import BACKGROUND_COLOUR, OBJECT_COLOURS
from objnerf.dataset.index import Dataset, Scene
from objnerf.errors import InputError
from objnerf.viewer.viser_scene import (
    ViewpointSwitcher,
    add_camera,
    add_surroundings,
    look_from,
    overview,
    url_of,
)
from objnerf.visualization.camera_plot import CAMERA_COLOURS, CameraPlot, read_camera_plot

if TYPE_CHECKING:
    import viser

#: Points beyond this many are thinned out, evenly over the images.
_MAX_POINTS = 300_000


@dataclass(frozen=True)
class ScenePoints:
    """What the depth maps of a scene's views say, as points in the world."""

    positions: Float32[np.ndarray, "points 3"]
    """World units."""
    colours: UInt8[np.ndarray, "points 3"]
    """Of the images."""
    objects: Int[np.ndarray, " points"]
    """Number of the object that each point belongs to; 0 is the background, and everything without masks."""


def scene_points(dataset: Dataset, scene: Scene, max_points: int = _MAX_POINTS) -> ScenePoints | None:
    """The pixels of a scene's views as points; None when no view has depth.

    Raises:
        InputError: a file that cannot be read, or depth and mask of another size than the picture.
    """
    views = [view for view in scene.views if view.depth_path is not None]
    if not views:
        return None
    images = [view.image() for view in views]
    masks = [view.mask() if view.mask_path is not None else None for view in views]
    numbers: list[np.ndarray | None] = [None] * len(views)
    if all(mask is not None for mask in masks):
        numbers = list(object_numbers([mask for mask in masks if mask is not None], f"scene {scene.id}"))
    pixels = sum(image.shape[0] * image.shape[1] for image in images)
    step = max(1, int(np.ceil(np.sqrt(pixels / max_points))))
    positions, colours, objects = [], [], []
    for view, image, number in zip(views, images, numbers, strict=True):
        depth = view.depth()
        for what, shape in (("depth", depth.shape), ("mask", number.shape if number is not None else None)):
            if shape is not None and shape != image.shape[:2]:
                raise InputError(f"{view.image_path}: its {what} has the shape {shape}, it {image.shape[:2]}")
        pinhole = view.pinhole() or dataset.default_pinhole()
        intrinsics = pinhole.at(image.shape[1], image.shape[0])
        points = unproject(depth.astype(np.float64), intrinsics, view.pose())[::step, ::step]
        # Sky and other pixels without a surface have no place.
        usable = (
            np.isfinite(points).all(axis=-1) & (depth[::step, ::step] > 0) & (depth[::step, ::step] < 1e4)
        )
        positions.append(points[usable].astype(np.float32))
        colours.append(image[::step, ::step][usable])
        objects.append(
            np.zeros(int(usable.sum()), np.int64) if number is None else number[::step, ::step][usable]
        )
    return ScenePoints(np.concatenate(positions), np.concatenate(colours), np.concatenate(objects))


class DatasetViewer:
    """Serves a dataset, one scene at a time.

    Args:
        server: an empty server.
        dataset: what to show.
        scene: the scene shown first.
    """

    def __init__(self, server: "viser.ViserServer", dataset: Dataset, scene: int) -> None:
        self.server = server
        self.dataset = dataset
        self.scene = scene
        self._lock = threading.Lock()
        self._viewpoints = ViewpointSwitcher()
        self._of_scene: list[Any] = []
        self._point_handles: dict[int, Any] = {}
        self._points: ScenePoints | None = None
        plot = read_camera_plot(dataset, scene=scene, skip_broken=True)
        surroundings = add_surroundings(server, plot.obj_scale, plot.ground_half)

        gui = server.gui
        gui.add_markdown(f"**{dataset.root.resolve().name}**: {len(dataset.scenes)} scenes")
        ids = sorted(dataset.scenes)
        chooser = gui.add_dropdown("scene", [str(id_) for id_ in ids], initial_value=str(scene))
        self._caption = gui.add_markdown("")
        with gui.add_folder("shown"):
            self._show_cameras = gui.add_checkbox("cameras", True)
            self._show_points = gui.add_checkbox("points", True)
            self._colour_by = gui.add_dropdown("points' colours", ["pictures", "objects"])
            for name, handles in surroundings.items():
                self._switch(gui.add_checkbox(name, True), handles)
        self._object_folder = gui.add_folder("objects")
        self._object_switches: dict[int, Any] = {}

        @chooser.on_update
        def _(_: Any) -> None:
            self.show(int(chooser.value))

        @self._show_cameras.on_update
        def _(_: Any) -> None:
            self._viewpoints.leave()
            for handle in self._of_scene:
                handle.visible = self._show_cameras.value

        for switch in (self._show_points, self._colour_by):

            @switch.on_update
            def _(_: Any) -> None:
                self._redraw()

        @server.on_client_connect
        def _(client: Any) -> None:
            look_from(client.camera, overview(plot.ground_half), np.zeros(3))

        self.show(scene)

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        return url_of(self.server)

    def stop(self) -> None:
        """End the server."""
        self.server.stop()

    def show(self, scene: int) -> None:
        """Show another scene; files that cannot be read are named in the panel."""
        with self._lock:
            self.scene = scene
            problems: list[str] = []
            with self.server.atomic():
                self._clear()
                try:
                    plot = read_camera_plot(self.dataset, scene=scene, thumbnails=160, skip_broken=True)
                    problems += [reason for _, reason in plot.skipped]
                    self._add_cameras(plot)
                    self._points = scene_points(self.dataset, self.dataset.scenes[scene])
                except InputError as error:
                    problems.append(str(error))
                    self._points = None
                self._add_objects()
                views = len(self.dataset.scenes[scene].views)
                lines = [f"scene {scene}: {views} views. Click a camera to look through it."]
                if self._points is None:
                    lines.append("No depth maps, so no points are shown.")
                self._caption.content = "\n\n".join([*lines, *(f"⚠ {problem}" for problem in problems)])
        self._redraw()

    def hide_object(self, number: int, hidden: bool = True) -> None:
        """Hide an object's points, or show them again; 0 is the background."""
        self._object_switches[number].value = not hidden
        self._redraw()

    def _clear(self) -> None:
        for handle in [*self._of_scene, *self._point_handles.values(), *self._object_switches.values()]:
            handle.remove()
        self._of_scene, self._point_handles, self._object_switches = [], {}, {}
        self._viewpoints.leave(gone=True)

    def _add_cameras(self, plot: CameraPlot) -> None:
        for camera in plot.cameras:
            colour = CAMERA_COLOURS[camera.order % len(CAMERA_COLOURS)]
            handle = add_camera(
                self.server,
                f"/cameras/{camera.stem}",
                camera.world_from_camera,
                plot.intrinsics_of(camera),
                0.6 * plot.frustum_depth,
                colour,
                camera.thumbnail,
            )
            handle.visible = self._show_cameras.value
            self._viewpoints.add(handle, camera.world_from_camera)
            self._of_scene.append(handle)

    def _add_objects(self) -> None:
        """A switch for each object that has points."""
        if self._points is None:
            return
        for number in sorted({int(number) for number in np.unique(self._points.objects)}):
            members = self._points.objects == number
            name = "background" if number == 0 else f"object {number}"
            with self._object_folder:
                switch = self.server.gui.add_checkbox(name, True)
            switch.on_update(lambda _: self._redraw())
            self._object_switches[number] = switch
            self._point_handles[number] = self.server.scene.add_point_cloud(
                f"/points/{number}",
                points=self._points.positions[members],
                colors=self._points.colours[members],
                point_size=0.03,
                precision="float32",
                point_shading="flat",
            )

    def _redraw(self) -> None:
        """Bring what is visible, and the points' colours, in line with the switches."""
        with self._lock, self.server.atomic():
            for number, handle in self._point_handles.items():
                handle.visible = self._show_points.value and self._object_switches[number].value
                assert self._points is not None
                if self._colour_by.value == "pictures":
                    handle.colors = self._points.colours[self._points.objects == number]
                else:
                    handle.colors = np.array(object_colour(number), np.uint8)

    def _switch(self, checkbox: Any, handles: list[Any]) -> None:
        @checkbox.on_update
        def _(_: Any) -> None:
            for handle in handles:
                handle.visible = checkbox.value


def object_colour(number: int) -> tuple[int, int, int]:
    """The colour that an object has in masks; 0 is the background."""
    return BACKGROUND_COLOUR if number == 0 else OBJECT_COLOURS[(number - 1) % len(OBJECT_COLOURS)]

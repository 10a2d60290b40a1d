"""What a trained model made of a scene, in the browser: objects to drag and hide, and the model's drawing.

The model looks at the first view of a scene, as in evaluation. Its objects are shown as points, found by
rendering the scene from its cameras; dragging one or hiding it edits the scene code, and the model draws the
edited scene from where the user stands.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8

from objnerf.dataset.cameras import Pinhole, unproject
from objnerf.dataset.index import Dataset, Scene
from objnerf.errors import InputError
from objnerf.evaluation.evaluate import OpenedRun
from objnerf.evaluation.scenes import (
    RenderSettings,
    encode_scene,
    finite_pose,
    own_pinhole,
    render_view,
    to_uint8,
    view_directions,
)
from objnerf.models.scene import SceneCode, SceneModel
from objnerf.rendering.rays import uniform_depths, world_rays
from objnerf.viewer.dataset_viewer import object_colour
from objnerf.viewer.viser_scene import (
    ViewpointSwitcher,
    add_camera,
    add_surroundings,
    pose_of,
    url_of,
)
from objnerf.visualization.camera_plot import CAMERA_COLOURS, read_camera_plot

if TYPE_CHECKING:
    import viser

_log = logging.getLogger(__name__)

#: A slot of which fewer of the rendered pixels than this see anything is empty.
_LEAST_SHARE = 0.002
#: Pixels that a drawing is enlarged to in the panel.
_PANEL_WIDTH = 288
#: Cameras that slots are rendered from to find their points; more add little.
_MAX_VIEWS = 6


@dataclass(frozen=True)
class Edits:
    """What the user has done to a scene.

    Attributes:
        hidden: slots that are taken out.
        offsets: how far slots were moved, world units, by slot.
    """

    hidden: frozenset[int] = frozenset()
    offsets: dict[int, tuple[float, float, float]] = field(default_factory=dict)

    def applied_to(self, code: SceneCode) -> SceneCode:
        """The scene as it is after the edits."""
        for slot, offset in self.offsets.items():
            code = code.move(slot, torch.tensor(offset).to(code.offsets))
        for slot in sorted(self.hidden):
            code = code.delete(slot)
        return code


@dataclass(frozen=True)
class SlotCloud:
    """The surface of one slot, as far as the scene's cameras see it.

    Attributes:
        centre: the points' median, world units.
        positions: relative to the centre, world units.
        colours: as the model draws them.
    """

    centre: Float[np.ndarray, "3"]
    positions: Float32[np.ndarray, "points 3"]
    colours: UInt8[np.ndarray, "points 3"]


def slot_clouds(
    model: SceneModel,
    code: SceneCode,
    world_from_camera: Float[np.ndarray, "views 4 4"],
    settings: RenderSettings,
    pinholes: Sequence[Pinhole | None] | None = None,
) -> dict[int, SlotCloud]:
    """Points of every slot that is to be seen, by slot; 0 is the background.

    Args:
        code: a single scene.
        world_from_camera: cameras to render from, OpenCV axes.
        pinholes: lens of each; None for the model's.
    """
    width, height = settings.size
    usual = Pinhole(model.geometry.focal_ratio)
    positions, colours, labels = [], [], []
    lenses = pinholes or [None] * len(world_from_camera)
    for pose, pinhole in zip(world_from_camera, lenses, strict=True):
        view = render_view(model, code, pose, settings, pinhole=pinhole)
        intrinsics = (pinhole or usual).at(width, height)
        seen = view.opacity > 0.5
        positions.append(unproject(view.depth.astype(np.float64), intrinsics, pose)[seen])
        colours.append(view.picture[seen])
        labels.append(view.labels[seen])
    all_positions, all_colours = np.concatenate(positions), np.concatenate(colours)
    all_labels = np.concatenate(labels)
    least = _LEAST_SHARE * len(world_from_camera) * width * height
    clouds = {}
    for slot in range(code.slots.shape[1]):
        members = all_labels == slot
        if members.sum() >= max(1.0, least):
            centre = np.median(all_positions[members], axis=0)
            offsets = (all_positions[members] - centre).astype(np.float32)
            clouds[slot] = SlotCloud(centre, offsets, all_colours[members])
    return clouds


def draw(
    model: SceneModel,
    code: SceneCode,
    world_from_camera: Float[np.ndarray, "4 4"],
    settings: RenderSettings,
    usual_distance: float,
    pinhole: Pinhole | None = None,
) -> UInt8[np.ndarray, "height width 3"]:
    """What the model sees from anywhere.

    Args:
        code: a single scene, perhaps edited.
        world_from_camera: OpenCV axes.
        usual_distance: of the dataset's cameras from the origin, world units. Nearer or farther cameras have
            near and far shifted by the difference, so that the scene stays between the two.
        pinhole: the lens; the model's when None.
    """
    geometry = model.geometry
    device = next(model.parameters()).device
    shift = float(np.linalg.norm(world_from_camera[:3, 3])) - usual_distance
    near = max(geometry.near + shift, 0.05 * geometry.near)
    far = max(geometry.far + shift, near + 0.1 * geometry.depth_range)
    width, height = settings.size
    directions = view_directions(model, width, height, pinhole)
    pose = torch.tensor(world_from_camera, dtype=torch.float32, device=device)[None]
    origins, directions = world_rays(directions[None], pose)
    depths = uniform_depths(near, far, settings.samples, device=device)
    with torch.no_grad():
        rendering = model.render(
            code,
            origins,
            directions,
            depths.expand(1, width * height, -1),
            locality=settings.locality,
            chunk_rays=settings.chunk_rays,
        )
    return to_uint8(rendering.rgb[0].clamp(0, 1).unflatten(0, (height, width)).cpu().numpy())


class BackgroundRenderer:
    """Renders in a thread of its own, the latest request only: the next replaces one that has not begun.

    Args:
        render: what is done with a request.
    """

    def __init__(self, render: Callable[[Any], None]) -> None:
        self._render = render
        self._request: Any = None
        self._changed = threading.Condition()
        self._ended = False
        self._busy = False
        self._thread = threading.Thread(target=self._work, daemon=True, name="renderer")
        self._thread.start()

    def submit(self, request: Any) -> None:
        """Render this next, in place of what was submitted before and has not begun."""
        with self._changed:
            self._request = request
            self._changed.notify_all()

    def wait(self, timeout: int | float = 60) -> bool:
        """Wait until nothing is left to render; False if that took longer than ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._request is None and not self._busy, timeout)

    def stop(self) -> None:
        """End the thread after what it is rendering."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._request is not None or self._ended)
                if self._ended:
                    return
                request, self._request, self._busy = self._request, None, True
            try:
                self._render(request)
            except Exception:
                # One view that fails must not end all later ones.
                _log.exception("a view could not be drawn")
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()


@dataclass(frozen=True)
class _RenderRequest:
    """A view of a scene to be rendered: an edited code from where the user is; see `draw`."""

    code: SceneCode
    world_from_camera: Float[np.ndarray, "4 4"]
    width: int
    """Of the image, pixels."""
    usual_distance: float
    pinhole: Pinhole | None


@dataclass(frozen=True)
class _Panel:
    """Handles of what the user operates.

    Attributes:
        scene: which scene is shown.
        caption: what is said of it.
        picture: the model's drawing.
        follow: whether it is drawn again as the user moves.
        width: of the drawing, pixels.
        cameras: whether the dataset's cameras are shown.
        objects: the folder with a switch for each object.
        reset: undoes all edits.
    """

    scene: Any
    caption: Any
    picture: Any
    follow: Any
    width: Any
    cameras: Any
    objects: Any
    reset: Any


class RunViewer:
    """Serves a trained model's understanding of a dataset's scenes, one at a time.

    Args:
        server: an empty server.
        run: the model.
        dataset: whose scenes.
        scene: the scene shown first.
    """

    def __init__(self, server: "viser.ViserServer", run: OpenedRun, dataset: Dataset, scene: int) -> None:
        self.server = server
        self.run = run
        self.dataset = dataset
        self.scene = scene
        self.edits = Edits()
        self.clouds: dict[int, SlotCloud] = {}
        self._settings = replace(
            run.gallery_settings(dataset.root, width=64), samples=run.recipe.evaluation.samples
        )
        self._code: SceneCode | None = None
        self._lock = threading.RLock()
        self._viewpoints = ViewpointSwitcher()
        self._cameras: list[Any] = []
        self._handles: list[Any] = []
        self._controls: dict[int, Any] = {}
        self._switches: dict[int, Any] = {}
        self._viewpoint: np.ndarray | None = None
        self._drawing = np.full((48, 64, 3), 235, np.uint8)
        self._usual_distance = 1.0
        self._pinhole: Pinhole | None = None
        self._panel = self._add_panel()
        self._renderer = BackgroundRenderer(self._render)
        self._connect_panel()
        server.on_client_connect(self._greet)
        self.show(scene)

    def _add_panel(self) -> _Panel:
        """Everything in the panel, not yet connected to anything but what it shows and hides."""
        gui, obj_scale = self.server.gui, self.run.model.geometry.obj_scale
        surroundings = add_surroundings(self.server, obj_scale, 1.5 * obj_scale)
        name = self.run.path.resolve().name
        step = "" if self.run.step is None else f", step {self.run.step}"
        gui.add_markdown(f"**{name}**{step}, on {self.dataset.root.resolve().name}")
        ids = [str(id_) for id_ in sorted(self.dataset.scenes)]
        scene = gui.add_dropdown("scene", ids, initial_value=str(self.scene))
        caption = gui.add_markdown("")
        with gui.add_folder("drawn by the model from here"):
            picture = gui.add_image(self._drawing, format="png")
            follow = gui.add_checkbox("follow my view", True)
            width = gui.add_slider("pixels across", 32, 256, 16, min(256, self._settings.size[0]))
        with gui.add_folder("shown"):
            cameras = gui.add_checkbox("cameras", True)
            for what, handles in surroundings.items():
                self._switch(gui.add_checkbox(what, True), handles)
        objects = gui.add_folder("objects found: drag their arrows, or hide them")
        with objects:
            reset = gui.add_button("put everything back")
        return _Panel(scene, caption, picture, follow, width, cameras, objects, reset)

    def _connect_panel(self) -> None:
        panel = self._panel

        @panel.scene.on_update
        def _(_: Any) -> None:
            self.show(int(panel.scene.value))

        @panel.cameras.on_update
        def _(_: Any) -> None:
            self._viewpoints.leave()
            for handle in self._cameras:
                handle.visible = panel.cameras.value

        @panel.reset.on_click
        def _(_: Any) -> None:
            self.reset()

        @panel.width.on_update
        def _(_: Any) -> None:
            self._submit()

    def _greet(self, client: Any) -> None:
        """Place a new user in the input view, where a model draws best, and follow where they go."""
        if self._cameras:
            first = finite_pose(self.dataset.scenes[self.scene].views[0])
            self._viewpoints.enter(client.camera, self._cameras[0], first)

        @client.camera.on_update
        def _(camera: Any) -> None:
            self._viewpoint = pose_of(camera)
            if self._panel.follow.value:
                self._submit()

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        return url_of(self.server)

    def stop(self) -> None:
        """End the server and the drawing."""
        self._renderer.stop()
        self.server.stop()

    def show(self, scene: int) -> None:
        """Let the model look at another scene's first view, and show what it finds."""
        with self._lock:
            self.scene = scene
            self.edits = Edits()
            self._panel.caption.content = f"scene {scene}: the model is looking …"
            for handles in (self._handles, self._cameras, self._controls.values(), self._switches.values()):
                for handle in handles:
                    handle.remove()
            self._handles, self._cameras, self._controls, self._switches = [], [], {}, {}
            self._viewpoints.leave(gone=True)
            self.clouds, self._code = {}, None
            try:
                self._look(self.dataset.scenes[scene])
            except InputError as error:
                self._panel.caption.content = f"scene {scene}: ⚠ {error}"
                return
            with self.server.atomic():
                self._add_clouds()
                self._add_cameras()
            found = len(self.clouds.keys() - {0})
            self._panel.caption.content = (
                f"scene {scene}: {found} objects found. Click a camera to look through it."
            )
        self._submit()

    def move(self, slot: int, offset: tuple[float, float, float]) -> None:
        """Move an object from where it was found.

        Args:
            slot: 1 or more.
            offset: world units.
        """
        with self._lock:
            self.edits = replace(self.edits, offsets=self.edits.offsets | {slot: offset})
            self._controls[slot].position = self.clouds[slot].centre + np.array(offset)
        self._submit()

    def hide(self, slot: int, hidden: bool = True) -> None:
        """Take an object (or the background, 0) out of the scene, or put it back."""
        with self._lock:
            changed = self.edits.hidden | {slot} if hidden else self.edits.hidden - {slot}
            self.edits = replace(self.edits, hidden=changed)
            self._controls[slot].visible = not hidden
            if self._switches[slot].value == hidden:
                self._switches[slot].value = not hidden
        self._submit()

    def reset(self) -> None:
        """Undo all edits."""
        with self._lock:
            self.edits = Edits()
            for slot, control in self._controls.items():
                control.position = self.clouds[slot].centre
                control.visible = True
                self._switches[slot].value = True
        self._submit()

    def drawing(self, timeout: int | float = 60) -> UInt8[np.ndarray, "height width 3"]:
        """The model's drawing in the panel, once it is up to date."""
        self._renderer.wait(timeout)
        return self._drawing

    def _look(self, scene: Scene) -> None:
        poses = np.stack([finite_pose(view) for view in scene.views])
        self._code = encode_scene(self.run.model, scene, self._settings)
        self._usual_distance = float(np.median(np.linalg.norm(poses[:, :3, 3], axis=1)))
        self._viewpoint = poses[0] if self._viewpoint is None else self._viewpoint
        pinholes = [own_pinhole(view, self._settings) for view in scene.views]
        # The user looks around through the input view's lens.
        self._pinhole = pinholes[0]
        self.clouds = slot_clouds(
            self.run.model, self._code, poses[:_MAX_VIEWS], self._settings, pinholes[:_MAX_VIEWS]
        )

    def _add_clouds(self) -> None:
        for slot, cloud in self.clouds.items():
            control: Any
            if slot == 0:
                control = self.server.scene.add_frame("/slots/0", show_axes=False, position=cloud.centre)
            else:
                control = self.server.scene.add_transform_controls(
                    f"/slots/{slot}",
                    scale=1.4,
                    disable_rotations=True,
                    position=cloud.centre,
                )
                control.on_update(partial(self._dragged, slot))
            # A child of its control: it moves along while the user drags, before the model draws anything.
            self._handles.append(
                self.server.scene.add_point_cloud(
                    f"/slots/{slot}/points",
                    points=cloud.positions,
                    colors=cloud.colours,
                    point_size=0.05,
                    precision="float32",
                    point_shading="flat",
                )
            )
            if slot > 0:
                self._handles.append(
                    self.server.scene.add_icosphere(
                        f"/slots/{slot}/mark", radius=0.12, color=object_colour(slot), opacity=0.8
                    )
                )
            with self._panel.objects:
                switch = self.server.gui.add_checkbox("background" if slot == 0 else f"object {slot}", True)
            switch.on_update(partial(self._switched, slot))
            self._controls[slot], self._switches[slot] = control, switch

    def _add_cameras(self) -> None:
        plot = read_camera_plot(self.dataset, scene=self.scene, thumbnails=120, skip_broken=True)
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

            handle.visible = self._panel.cameras.value
            self._viewpoints.add(handle, camera.world_from_camera)
            self._cameras.append(handle)

    def _dragged(self, slot: int, event: Any) -> None:
        """An object is being dragged; drawings that come too late for it are dropped."""
        x, y, z = (np.asarray(self._controls[slot].position) - self.clouds[slot].centre).tolist()
        with self._lock:
            self.edits = replace(self.edits, offsets=self.edits.offsets | {slot: (x, y, z)})
        self._submit()

    def _switched(self, slot: int, event: Any) -> None:
        hidden = not self._switches[slot].value
        if hidden != (slot in self.edits.hidden):
            self.hide(slot, hidden)

    def _submit(self) -> None:
        """Have the scene drawn as it is now, from where the user is."""
        with self._lock:
            if self._code is None or self._viewpoint is None:
                return
            request = _RenderRequest(
                code=self.edits.applied_to(self._code),
                world_from_camera=self._viewpoint,
                width=int(self._panel.width.value),
                usual_distance=self._usual_distance,
                pinhole=self._pinhole,
            )
        self._renderer.submit(request)

    def _render(self, request: _RenderRequest) -> None:
        width = request.width
        size = (width, max(1, round(width * self._settings.size[1] / self._settings.size[0])))
        self._drawing = draw(
            self.run.model,
            request.code,
            request.world_from_camera,
            replace(self._settings, size=size),
            request.usual_distance,
            request.pinhole,
        )
        # Enlarged by whole pixels: what is small is what the model was asked for, and looks it.
        factor = max(1, _PANEL_WIDTH // width)
        self._panel.picture.image = self._drawing.repeat(factor, axis=0).repeat(factor, axis=1)

    def _switch(self, checkbox: Any, handles: list[Any]) -> None:
        @checkbox.on_update
        def _(_: Any) -> None:
            for handle in handles:
                handle.visible = checkbox.value

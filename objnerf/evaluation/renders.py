"""Output of the verbs ``render`` and ``edit``: views, orbits, single slots, scenes before and after an edit.

A path with a suffix is one file (``.png`` a sheet, ``.gif`` or ``.mp4`` an animation); without one it is a
folder of PNG files.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from objnerf.console import Progress, no_progress
from objnerf.dataset.cameras import Pinhole
from objnerf.dataset.files import atomic_path, write_image
from objnerf.dataset.index import Dataset, Scene, open_dataset
from objnerf.errors import InputError
from objnerf.evaluation.evaluate import open_run, scenes_to_evaluate
from objnerf.evaluation.gallery import FAINTEST_SLOT, slot_colours
from objnerf.evaluation.scenes import (
    RenderSettings,
    ViewRendering,
    encode_scene,
    finite_pose,
    on_paper,
    orbit_poses,
    own_pinhole,
    render_view,
    slot_alone,
)
from objnerf.evaluation.segmentation import BACKGROUND
from objnerf.models.scene import SceneCode, SceneModel
from objnerf.visualization.animation import write_animation
from objnerf.visualization.contact_sheets import contact_sheet

SHEET_SUFFIX = ".png"
ANIMATION_SUFFIXES = (".gif", ".mp4")


def check_out(out: Path, *, moving: bool) -> None:
    """Check the output path before any work is done.

    Args:
        moving: whether the cameras form an orbit, which an animation needs.
    Raises:
        InputError: another suffix, a file where a folder must be, or an animation without frames.
    """
    suffix = out.suffix.lower()
    if suffix not in ("", SHEET_SUFFIX, *ANIMATION_SUFFIXES):
        endings = ", ".join((SHEET_SUFFIX, *ANIMATION_SUFFIXES))
        raise InputError(f"--out {out}: expected a folder, or a file that ends in {endings}; found {suffix}")
    if suffix in ANIMATION_SUFFIXES and not moving:
        raise InputError(f"--out {out}: an animation needs --orbit N; {SHEET_SUFFIX} and folders do not")
    if suffix == "" and out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: expected a folder, found a file")
    if suffix and out.is_dir():
        raise InputError(f"--out {out}: expected a file, found a folder")


@dataclass(frozen=True)
class EncodedScene:
    """A scene encoded by a model, and the cameras to render it from."""

    model: SceneModel
    dataset: Dataset
    scene: Scene
    code: SceneCode
    settings: RenderSettings
    poses: Float[np.ndarray, "count 4 4"]
    """``world_from_camera``, OpenCV axes."""
    name: str
    """File name prefix: "view" for the scene's own cameras, "orbit" for a circle of cameras."""
    pinholes: tuple[Pinhole | None, ...]
    """Intrinsics of each camera; None for the model's."""

    def encode(self, scene: int) -> SceneCode:
        """Encode the first view of another scene.

        Raises:
            InputError: there is no such scene.
        """
        return encode_scene(self.model, choose_scene(self.dataset, scene), self.settings)

    def render(
        self, code: SceneCode, pose: Float[np.ndarray, "4 4"], pinhole: Pinhole | None
    ) -> ViewRendering:
        """One view of the scene, or of a copy of it that was edited.

        Args:
            pose: ``world_from_camera``, OpenCV axes.
            pinhole: intrinsics; None for the model's.
        """
        return render_view(self.model, code, pose, self.settings, pinhole=pinhole)

    def cameras(
        self, progress: Progress = no_progress
    ) -> Iterator[tuple[Float[np.ndarray, "4 4"], Pinhole | None]]:
        """Pose and intrinsics of each camera; ``progress`` is called when the caller has used one."""
        for number, camera in enumerate(zip(self.poses, self.pinholes, strict=True), start=1):
            yield camera
            progress(number, len(self.poses), "")

    def visible_slots(self) -> dict[int, float]:
        """Foreground slots that are visible when rendered alone, with their share of the input view."""
        pose = finite_pose(self.scene.views[0])
        pinhole = own_pinhole(self.scene.views[0], self.settings)
        labels = self.render(self.code, pose, pinhole).labels
        found = {}
        for slot in range(1, self.code.slots.shape[1]):
            if not bool(self.code.active[0, slot]):
                continue
            alone = self.render(slot_alone(self.code, slot), pose, pinhole)
            if alone.opacity.max() >= FAINTEST_SLOT:
                found[slot] = float((labels == slot).mean())
        return found

    def describe_slots(self) -> str:
        """One sentence that lists the objects that can be edited."""
        slots = self.visible_slots()
        shares = ", ".join(f"{slot} ({share:.1%} of the input view)" for slot, share in slots.items())
        return f"Scene {self.scene.id} has the objects {shares}" if slots else "The model found no object"


def load_scene(
    run: Path,
    dataset_root: Path,
    scene: int | None,
    *,
    size: tuple[int, int] | None = None,
    orbit: int | None = None,
    device: str = "auto",
    recipe: str | None = None,
) -> EncodedScene:
    """Load a run and encode the first view of a scene.

    Args:
        run: a run folder.
        dataset_root: of any dataset whose cameras are like those of the training set.
        scene: its id; None for the first held-out one.
        size: (width, height) of the images, pixels; None for the recipe's.
        orbit: number of cameras on a circle about the scene; None for the scene's own views.
        device: "auto", or a torch device.
        recipe: for a folder of uORF checkpoints, see ``open_run``.
    Raises:
        InputError: run, dataset, scene, size or device cannot be used.
    """
    if size is not None and min(size) < 8:
        raise InputError(f"--size {size[0]}x{size[1]}: expected at least 8 pixels a side")
    dataset = open_dataset(dataset_root)
    opened = open_run(run, device, recipe=recipe, dataset=dataset)
    if scene is None:
        unseen, _ = scenes_to_evaluate(opened.facts, dataset)
        scene = unseen[0]
    found = choose_scene(dataset, scene)
    settings = opened.gallery_settings(dataset.root)
    settings = settings if size is None else replace(settings, size=size)
    start = finite_pose(found.views[0])
    return EncodedScene(
        model=opened.model,
        dataset=dataset,
        scene=found,
        code=encode_scene(opened.model, found, settings),
        settings=settings,
        poses=np.stack([finite_pose(view) for view in found.views])
        if orbit is None
        else orbit_poses(start, orbit),
        name="view" if orbit is None else "orbit",
        pinholes=tuple(own_pinhole(view, settings) for view in found.views)
        if orbit is None
        else (own_pinhole(found.views[0], settings),) * orbit,
    )


def choose_scene(dataset: Dataset, scene: int) -> Scene:
    """A scene by its id.

    Raises:
        InputError: there is no such scene.
    """
    if scene not in dataset.scenes:
        ids = list(dataset.scenes)
        raise InputError(
            f"{dataset.root}: there is no scene {scene}; it has {len(ids)} scenes, {ids[0]} to {ids[-1]}"
        )
    return dataset.scenes[scene]


def summary_of(written: Sequence[Path]) -> str:
    """One line that names the written files."""
    if len(written) == 1:
        return str(written[0])
    return f"{written[0].parent}: {len(written)} images, from {written[0].name} to {written[-1].name}"


def write_renders(
    opened: EncodedScene,
    out: Path,
    *,
    slots: Sequence[int] = (),
    fps: float = 15.0,
    progress: Progress = no_progress,
) -> list[Path]:
    """Render a scene from its cameras and write the images.

    Args:
        out: see the module; a folder gets ``view_000.png``, ``view_000_slots.png`` with the segments, …
        slots: also render these one at a time: ``view_000_slot_1.png``, or beside the whole.
        fps: frames a second of an animation.
    Returns:
        The files written.
    """
    rows = []
    for pose, pinhole in opened.cameras(progress):
        whole = opened.render(opened.code, pose, pinhole)
        per_slot = [opened.render(slot_alone(opened.code, slot), pose, pinhole) for slot in slots]
        rows.append([whole.picture, _segments(whole, opened.code), *map(on_paper, per_slot)])
    if out.suffix.lower() in ANIMATION_SUFFIXES and not slots:
        return [write_animation([pictures[0] for pictures in rows], out, fps=fps)]
    names = ["background" if slot == BACKGROUND else f"slot {slot}" for slot in slots]
    endings = ["", "_slots", *(f"_slot_{slot}" for slot in slots)]
    files = [[f"{opened.name}_{number:03d}{ending}.png" for ending in endings] for number in range(len(rows))]
    labels = [f"{opened.name} {number}" for number in range(len(rows))]
    return _write_rows(_ImageRows(rows, ["scene", "slots", *names], labels, files), out, fps)


def write_edit(
    opened: EncodedScene,
    edited: SceneCode,
    out: Path,
    *,
    fps: float = 15.0,
    progress: Progress = no_progress,
) -> list[Path]:
    """Render a scene before and after an edit.

    Args:
        edited: the scene's code after the edit.
        out: see the module; a folder gets ``before_000.png`` and ``after_000.png``, ….
        fps: frames a second of an animation.
    Returns:
        The files written.
    """
    rows = [
        [opened.render(code, pose, pinhole).picture for code in (opened.code, edited)]
        for pose, pinhole in opened.cameras(progress)
    ]
    headings = ["before", "after"]
    files = [[f"{heading}_{number:03d}.png" for heading in headings] for number in range(len(rows))]
    labels = [f"view {number}" for number in range(len(rows))]
    return _write_rows(_ImageRows(rows, headings, labels, files), out, fps)


@dataclass(frozen=True)
class _ImageRows:
    """Images to be written: a row for each camera."""

    pictures: list[list[np.ndarray]]
    headings: list[str]
    """Of the columns."""
    labels: list[str]
    """Of the rows."""
    files: list[list[str]]
    """Name of each image where each is a file."""


def _write_rows(rows: _ImageRows, out: Path, fps: float) -> list[Path]:
    """Write an animation of the rows, one sheet, or a folder of all images, by the suffix of ``out``."""
    suffix = out.suffix.lower()
    if suffix in ANIMATION_SUFFIXES:
        frames = [
            np.asarray(contact_sheet(row, columns=len(row), column_labels=rows.headings))
            for row in rows.pictures
        ]
        return [write_animation(frames, out, fps=fps)]
    if suffix == SHEET_SUFFIX:
        cells = [picture for row in rows.pictures for picture in row]
        sheet = contact_sheet(
            cells, columns=len(rows.headings), column_labels=rows.headings, row_labels=rows.labels
        )
        return [write_picture(out, sheet)]
    written = []
    for names, row in zip(rows.files, rows.pictures, strict=True):
        for name, picture in zip(names, row, strict=True):
            written.append(out / name)
            write_image(written[-1], picture)
    return written


def write_picture(path: Path, picture: Image.Image) -> Path:
    """Write an image as PNG, atomically."""
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG", optimize=True)
    return path


def _segments(view: ViewRendering, code: SceneCode) -> UInt8[np.ndarray, "height width 3"]:
    return slot_colours([(None, view.labels)], code.slots.shape[1])[view.labels]

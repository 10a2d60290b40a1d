"""The README's pictures, made by the package itself.

    python benchmarks/pictures.py animation RUN DATASET --scene 60     # docs/pictures/objects.gif
    python benchmarks/pictures.py edits RUN DATASET --scene 65 67 69   # docs/pictures/edits.png
    python benchmarks/pictures.py rooms                                # docs/pictures/rooms.png
    python benchmarks/pictures.py mistake DATASET                      # docs/pictures/mistake.png

``animation`` shows a scene that RUN has not seen: the picture that goes in, then what comes out of it, seen
from around, with one object moved and another taken away. ``edits`` shows the same for several scenes, still.
``mistake`` needs Chromium.
"""

import argparse
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

import objnerf
from objnerf.dataset.files import read_matrix, write_matrix
from objnerf.evaluation.edits import delete_object, move_object
from objnerf.evaluation.scenes import encode_scene, orbit_poses
from objnerf.models.scene import SceneCode
from objnerf.visualization.contact_sheets import contact_sheet

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
SIZE = (192, 144)
STEPS_AROUND = 72
"""Cameras of a full turn around the scene."""

SWING = 10
"""Of these, how many the camera swings to either side of the input view."""

MOVE = np.array([1.6, 1.2])
"""World units on the ground."""

MILLISECONDS = 80
STILL = 10
"""Frames that a state is shown for without a change."""


def animation(run: Path, dataset: Path, scene: int, target: Path) -> None:
    """The input picture on the left; on the right what the model makes of it."""
    model = objnerf.load_model(run)
    view = objnerf.open_dataset(dataset).scenes[scene].views[0]
    code = encode_scene(model.model, objnerf.open_dataset(dataset).scenes[scene], model.settings())
    given = Image.fromarray(view.image()).resize(SIZE, Image.Resampling.LANCZOS)
    frames = []
    labels = objnerf.render_view(model, code, view.pose(), size=SIZE).labels
    # The largest object is taken away, the next one moved.
    by_size = np.argsort(np.bincount(labels.ravel(), minlength=code.slots.shape[1])[1:])[::-1] + 1
    for state, pose, label in story(code, view.pose(), moved=int(by_size[1]), removed=int(by_size[0])):
        seen = objnerf.render_view(model, state, pose, size=SIZE).picture
        frames.append(
            contact_sheet([np.asarray(given), seen], columns=2, column_labels=["one picture", label])
        )
    frames[0].save(
        target, save_all=True, append_images=frames[1:], duration=MILLISECONDS, loop=0, optimize=True
    )


def edits(run: Path, dataset: Path, scenes: list[int], target: Path) -> None:
    """One row a scene: the input picture, what the model makes of it, and edits seen from two cameras."""
    model = objnerf.load_model(run)
    images = []
    for scene in scenes:
        views = objnerf.open_dataset(dataset).scenes[scene].views
        code = encode_scene(model.model, objnerf.open_dataset(dataset).scenes[scene], model.settings())
        here, there = views[0].pose(), views[1].pose()
        labels = objnerf.render_view(model, code, here, size=SIZE).labels
        largest = int(np.bincount(labels.ravel(), minlength=code.slots.shape[1])[1:].argmax()) + 1
        # To the right, seen from the input camera.
        aside = here[:2, 0] / np.linalg.norm(here[:2, 0]) * np.linalg.norm(MOVE)
        moved = move_object(code, largest, *aside)
        given = Image.fromarray(views[0].image()).resize(SIZE, Image.Resampling.LANCZOS)
        images.append(np.asarray(given))
        for state, pose in (
            (code, here),
            (delete_object(code, largest), here),
            (moved, here),
            (code, there),
            (moved, there),
        ):
            images.append(objnerf.render_view(model, state, pose, size=SIZE).picture)
    columns = [
        "one picture",
        "rebuilt from it",
        "one taken away",
        "one moved",
        "from elsewhere",
        "moved, elsewhere",
    ]
    contact_sheet(images, columns=len(columns), column_labels=columns).save(target)


def story(
    code: SceneCode, pose: np.ndarray, *, moved: int, removed: int
) -> Iterator[tuple[SceneCode, np.ndarray, str]]:
    """States of the scene, cameras and what is happening, frame by frame."""
    around = orbit_poses(pose, STEPS_AROUND)
    swing = [around[round(SWING * np.sin(turn)) % STEPS_AROUND] for turn in np.linspace(0, 2 * np.pi, 33)]
    for _ in range(STILL):
        yield code, pose, "rebuilt from it"
    for camera in swing:
        yield code, camera, "seen from elsewhere"
    for share in np.linspace(0, 1, STILL):
        yield move_object(code, moved, *(share * MOVE)), pose, "an object moved"
    elsewhere = move_object(code, moved, *MOVE)
    for camera in swing:
        yield elsewhere, camera, "an object moved"
    for _ in range(STILL):
        yield delete_object(elsewhere, removed), pose, "another taken away"
    for camera in swing:
        yield delete_object(elsewhere, removed), camera, "another taken away"


def rooms(target: Path) -> None:
    """Two scenes of each preset with rooms and of CLEVR-567, pictures above masks."""
    images = []
    with tempfile.TemporaryDirectory() as folder:
        for preset in ("room-diverse", "room-chair", "clevr-567"):
            made = objnerf.generate(preset, Path(folder) / preset, scenes=2, size=(256, 192), seed=4)
            views = [made.scenes[scene].views[0] for scene in made.scenes]
            images += [picture for view in views for picture in (view.image(), view.mask())]
    rows = ["room-diverse", "room-chair", "clevr-567"]
    contact_sheet(images, columns=4, row_labels=rows).save(target)


def mistake(dataset: Path, target: Path) -> None:
    """The validator's page about a copy of the dataset with Blender's axes instead of OpenCV's."""
    browser = shutil.which("chromium")
    if browser is None:
        raise SystemExit("chromium is needed to take a picture of the page")
    with tempfile.TemporaryDirectory() as folder:
        wrong = Path(shutil.copytree(dataset, Path(folder) / "dataset"))
        for path in wrong.glob("*_RT.txt"):
            write_matrix(path, read_matrix(path) @ np.diag([1.0, -1.0, -1.0, 1.0]))
        page = Path(folder) / "page.html"
        subprocess.run(["objnerf", "validate", wrong, "--html", page], check=False)
        subprocess.run(
            [
                *(browser, "--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1100,900"),
                *("--virtual-time-budget=8000", f"--screenshot={target}", page.as_uri()),
            ],
            check=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    moving = commands.add_parser("animation")
    moving.add_argument("run", type=Path)
    moving.add_argument("dataset", type=Path)
    moving.add_argument("--scene", type=int, required=True)
    still = commands.add_parser("edits")
    still.add_argument("run", type=Path)
    still.add_argument("dataset", type=Path)
    still.add_argument("--scene", type=int, nargs="+", required=True)
    commands.add_parser("rooms")
    wrong = commands.add_parser("mistake")
    wrong.add_argument("dataset", type=Path)
    parser.add_argument("--out", type=Path, default=PICTURES, help="folder for the pictures")
    args = parser.parse_args()
    if args.command == "animation":
        animation(args.run, args.dataset, args.scene, args.out / "objects.gif")
    elif args.command == "edits":
        edits(args.run, args.dataset, args.scene, args.out / "edits.png")
    elif args.command == "rooms":
        rooms(args.out / "rooms.png")
    else:
        mistake(args.dataset, args.out / "mistake.png")


if __name__ == "__main__":
    main()

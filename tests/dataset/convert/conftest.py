"""Small datasets of our format, made by hand, for the tests of conversion."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from objnerf.dataset import DatasetCard, open_dataset, write_card
from objnerf.dataset.cameras import look_at
from objnerf.dataset.files import mask_from_labels, write_depth, write_image, write_matrix
from objnerf.dataset.names import amodal_name, make_view_stem

# The matrix that the format's own documentation shows; five digits make no exact rotation.
DOCUMENTED = """0.87944 -0.30801 0.36292 -4.49662
-0.47601 -0.56906 0.67051 -8.30771
-0.00000 -0.76243 -0.64707 8.01728
0.00000 0.00000 0.00000 1.00000
"""


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a dataset with masks, depth and a card; every picture is different noise."""

    def make(
        scenes: int = 2,
        views: int = 2,
        size: tuple[int, int] = (16, 12),
        focal_ratio: tuple[float, float] = (350 / 320, 350 / 240),
        target: tuple[float, float, float] = (0.0, 0.0, 0.0),
        name: str = "ours",
    ) -> Path:
        root = tmp_path / name
        rng = np.random.default_rng(3)
        index = 0
        for scene in range(scenes):
            for view in range(views):
                stem = make_view_stem(index, scene, view, scenes)
                position = np.array([*rng.uniform(-9, 9, 2), rng.uniform(4, 9)])
                write_matrix(root / f"{stem}_RT.txt", look_at(position, np.array(target)))
                write_image(root / f"{stem}.png", rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
                labels = np.zeros((size[1], size[0]), np.int64)
                labels[2:5, 2:5], labels[6:9, 3:9] = 1, 2 + view % 2
                write_image(root / f"{stem}_mask.png", mask_from_labels(labels))
                write_depth(root / f"{stem}_depth.npy", rng.uniform(6, 20, (size[1], size[0])))
                index += 1
        write_card(root, DatasetCard(focal_ratio=focal_ratio, near=6.0, far=20.0, nss_scale=7.0, seed=11))
        return root

    return make


@pytest.fixture
def documented(tmp_path: Path) -> Path:
    """A dataset of one view, whose pose is the documentation's example, digit for digit."""
    root = tmp_path / "documented"
    write_image(root / "00000_sc0000_img0.png", np.full((12, 16, 3), 90, np.uint8))
    (root / "00000_sc0000_img0_RT.txt").write_text(DOCUMENTED)
    return root


class Capture:
    """Six cameras around a ball on a plane, in a world that is turned, small and off its origin.

    Everything here follows from the geometry alone: poses are camera-to-world with OpenCV's axes, pixel
    centres are at whole numbers, depth is planar, in the world's unit.
    """

    def __init__(
        self,
        size: tuple[int, int] = (64, 48),
        focal: tuple[float, float] = (60.0, 60.0),
        off: tuple[float, float] = (0.0, 0.0),
        views: int = 6,
    ) -> None:
        self.size = size
        self.matrix = np.array(
            [
                [focal[0], 0.0, (size[0] - 1) / 2 + off[0]],
                [0.0, focal[1], (size[1] - 1) / 2 + off[1]],
                [0.0, 0.0, 1.0],
            ]
        )
        turn = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])
        #: From the world that is level, in which the cameras stand 10 units away, to the capture's.
        self.world = np.eye(4)
        self.world[:3, :3], self.world[:3, 3] = 0.3 * turn, (0.5, -0.8, 1.1)
        angles = 2 * np.pi * (np.arange(views) + 0.3) / views
        self._level = [
            look_at(np.array([8 * np.cos(a), 8 * np.sin(a), 5 + np.sin(2 * a)]), np.array([0.0, 0.0, 0.5]))
            for a in angles
        ]
        self.poses = np.stack([self.world @ pose for pose in self._level])
        self.poses[:, :3, :3] /= 0.3
        level = np.random.default_rng(5).uniform([-2, -2, 0], [2, 2, 2], (30, 3))
        #: Points in the capture's world.
        self.points = level @ self.world[:3, :3].T + self.world[:3, 3]

    def pixels(self, view: int) -> np.ndarray:
        """Where a view sees the points: x ~ K [R | t] X."""
        camera_from_world = np.linalg.inv(self.poses[view])[:3]
        seen = (self.matrix @ camera_from_world @ np.c_[self.points, np.ones(len(self.points))].T).T
        return seen[:, :2] / seen[:, 2:]

    def seen(
        self, view: int, matrix: np.ndarray | None = None, size: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Picture, planar depth and the ball's pixels of a view, by any camera at its place."""
        matrix, size = (self.matrix if matrix is None else matrix), size or self.size
        column, row = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
        rays = np.stack([column, row, np.ones_like(row)], axis=-1) @ np.linalg.inv(matrix).T
        pose = self._level[view]
        start, along = pose[:3, 3], rays @ pose[:3, :3].T
        floor = -start[2] / along[..., 2]
        # The ball of radius 1 that rests on the plane: |start + t along - (0, 0, 1)| = 1.
        offset = start - [0, 0, 1]
        a, b, c = (along**2).sum(-1), along @ offset, offset @ offset - 1
        root = b**2 - a * c
        ball = root > 0
        depth = np.where(ball, (-b - np.sqrt(np.maximum(root, 0))) / a, floor)
        where = start + depth[..., None] * along
        waves = np.sin(where @ np.array([[3.0, 1.1, 0.4], [0.5, 2.7, 1.9], [1.3, 0.2, 3.1]]))
        picture = np.rint(127 + 70 * waves + 50 * (ball[..., None] - 0.5)).clip(0, 255).astype(np.uint8)
        return picture, 0.3 * depth, ball


@pytest.fixture
def make_capture() -> Callable[..., Capture]:
    """A function that makes a capture: size and focal length in pixels, how far the lens is off centre."""
    return Capture


def _flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 4)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    path.write_bytes(content)


def _cut(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])


def _replace_by_folder(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _replace_by_circle(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.symlink_to(path)


def _spoil_number(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    digits = [place for place, byte in enumerate(content) if 48 <= byte <= 57]
    if digits:
        place = rng.choice(digits)
        other = rng.choice([b"nan", b"1e400", b"-", b"x", b"9" * 30, b"", b'"'])
        path.write_bytes(content[:place] + other + content[place + 1 :])


_DAMAGES = (
    _flip,
    _cut,
    _replace_by_folder,
    _replace_by_circle,
    _spoil_number,
    lambda path, rng: path.unlink(),
    lambda path, rng: path.write_bytes(rng.randbytes(80)),
)


@pytest.fixture
def damage() -> Callable[[Path, random.Random], None]:
    """A function that damages a file in one of several ways."""
    return lambda path, rng: rng.choice(_DAMAGES)(path, rng)


@pytest.fixture
def described(make_dataset: Callable[..., Path]) -> Path:
    """Two scenes of two views with what the generator writes of their objects.

    Object 1 is a chair and wholly visible. Object 2 is a table, of which three by two pixels are hidden; in
    the second views nothing else of it is in the picture, and an object 3, which nothing describes, is there.
    """
    root = make_dataset()
    dataset = open_dataset(root)
    for scene in dataset.scenes.values():
        objects = [
            {"label": 2, "asset": "a/2", "position": (1, 2, 0), "yaw": 0.5, "size": (1, 2, 3)}
            | {"shape": {"family": "table"}},
            {"label": 1, "asset": "a/1", "position": (0, 0, 0), "shape": {"family": "chair"}},
        ]
        views = []
        for view in scene.views:
            views.append({"stem": view.stem, "world_from_camera": view.pose().tolist()})
            for label in (1, 2):
                whole = view.labels() == label
                if label == 2:
                    whole[6:9, 9:11] = True
                target = root / amodal_name(view.stem, label)
                target.parent.mkdir(exist_ok=True)
                Image.fromarray(whole.astype(np.uint8) * 255).save(target)
        card = {"scene": scene.id, "seed": 0, "objects": objects, "views": views, "seen": [[0.25, 1.0]] * 2}
        path = root / "scenes" / f"{scene.id:04d}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(card))
    return root

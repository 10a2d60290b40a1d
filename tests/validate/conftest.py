"""Sound datasets for the validator's tests, and a synthetic one of any poses."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from objnerf.dataset import files, names
from objnerf.dataset.cameras import look_at, world_from_azimuth


@pytest.fixture
def copy_of(data: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A writable copy of one of the small datasets in ``tests/data``."""

    def copy(name: str) -> Path:
        target = tmp_path / "dataset"
        shutil.copytree(data / name, target)
        for file in target.iterdir():
            file.chmod(0o644)
        return target

    return copy


@pytest.fixture(scope="session")
def write_poses() -> Callable[..., Path]:
    """Write a dataset from poses alone: pictures of noise, no masks, no depth."""

    def write(root: Path, poses: np.ndarray, size: tuple[int, int] = (16, 12), seed: int = 0) -> Path:
        root.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        index = 0
        for scene, scene_poses in enumerate(poses):
            for view, pose in enumerate(scene_poses):
                stem = names.make_view_stem(index, scene, view, len(poses))
                noise = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
                Image.fromarray(noise).save(root / f"{stem}.png")
                files.write_matrix(root / f"{stem}_RT.txt", pose)
                files.write_matrix(root / f"{stem}_azi_rot.txt", world_from_azimuth(pose))
                index += 1
        return root

    return write


@pytest.fixture(scope="session")
def orbit() -> Callable[..., np.ndarray]:
    """Poses of cameras on a shell: ``[scenes, views, 4, 4]``."""

    def make(
        scenes: int = 3,
        views: int = 4,
        distance: float = 12.4,
        elevation: float = 40.0,
        arc: float = 360.0,
        jitter: float = 0.0,
        seed: int = 0,
    ) -> np.ndarray:
        rng = np.random.default_rng(seed)
        poses = np.zeros((scenes, views, 4, 4))
        for scene in range(scenes):
            start = rng.uniform(0, 360)
            for view in range(views):
                azimuth = np.radians(start + arc * view / views)
                height = np.radians(elevation)
                eye = distance * np.array(
                    [np.cos(height) * np.cos(azimuth), np.cos(height) * np.sin(azimuth), np.sin(height)]
                )
                poses[scene, view] = look_at(eye, rng.normal(0, jitter, 3) if jitter else np.zeros(3))
        return poses

    return make

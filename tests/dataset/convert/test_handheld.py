"""A handheld capture, from the phone's pictures to a training run: no option beyond the verbs' own."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cli import main
from objnerf.dataset import open_dataset
from objnerf.dataset.cameras import OPENCV_FROM_OPENGL, invert
from objnerf.dataset.convert.colmap import quaternion_from_rotation
from objnerf.dataset.files import read_image
from objnerf.dataset.rigid import Similarity, fit_similarity

cv2 = pytest.importorskip("cv2", reason="OpenCV (the extra `photo`) is not installed")

ROOT = Path(__file__).parents[3]
VIEWS, MISSING = 50, (4, 17, 33)
#: What Blender renders: wider than what the lens sees.
WIDE, WIDE_FOCAL = (224, 168), 156.0
#: The phone's lens, its principal point counted from the corner of the first pixel.
SIZE, FOCAL, CENTRE, RADIAL = (192, 144), 158.0, (98.5, 70.4), (-0.22, 0.06)
#: The world that structure from motion found: turned, small and far from its origin.
WORLD = Similarity(
    0.37,
    np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]]),
    np.array([2.0, -3.0, 1.5]),
)


def _run(*arguments: object, cwd: Path) -> str:
    """Run a script of ours in a process of its own; its output."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def test_a_stored_capture_is_converted_and_sound(data: Path, tmp_path: Path) -> None:
    """A part of the same capture, small enough to come with the clone: 24 of 25 pictures."""
    capture, ours = data / "handheld", tmp_path / "ours"
    runner = CliRunner()
    result = runner.invoke(main, ["convert", str(capture), str(ours), "--undistort"])
    assert result.exit_code == 0, result.output
    assert "1 of 25 frames have no image" in result.output
    frames = json.loads((capture / "transforms.json").read_text())["frames"]
    found = np.array([frame["transform_matrix"] for number, frame in enumerate(frames) if number != 2])
    fit = fit_similarity(_undone(found @ OPENCV_FROM_OPENGL), open_dataset(ours).scenes[0].poses())
    assert fit.is_exact()
    assert math.degrees(math.acos(min(1.0, fit.similarity.rotation[2, 2]))) < 3
    assert np.linalg.norm(fit.similarity.shift) < 0.5
    sound = runner.invoke(main, ["validate", str(ours), "--photo"])
    assert sound.exit_code == 0, sound.output
    # Pictures under each other's poses are found out: the check above is no empty one.
    poses = sorted(ours.glob("*_RT.txt"))
    texts = [path.read_text() for path in poses]
    for path, text in zip(poses, [*texts[7:], *texts[:7]], strict=True):
        path.write_text(text)
    assert runner.invoke(main, ["validate", str(ours), "--photo"]).exit_code == 1


def _undone(poses: np.ndarray) -> np.ndarray:
    """Poses in our world out of those in the capture's."""
    back = WORLD.rotation.T
    return Similarity(1 / WORLD.scale, back, -back @ WORLD.shift / WORLD.scale).apply(poses)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty pictures out of Blender, by a wide pinhole, and their poses in our world."""
    out = tmp_path_factory.mktemp("rendered")
    _run(Path(__file__).with_name("render_capture.py"), out, VIEWS, *WIDE, WIDE_FOCAL, 5, cwd=out)
    return out


@pytest.fixture(scope="module")
def captured(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a phone leaves, bent by OpenCV: as a transforms.json and as a COLMAP model."""
    root = tmp_path_factory.mktemp("captured")
    (root / "images").mkdir()
    matrix = np.array([[FOCAL, 0, CENTRE[0] - 0.5], [0, FOCAL, CENTRE[1] - 0.5], [0, 0, 1]])
    pixels = np.stack(np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1])), axis=-1).astype(np.float64)
    exactly = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-10)
    straight = cv2.undistortPointsIter(
        pixels.reshape(-1, 1, 2), matrix, np.array([*RADIAL, 0, 0, 0]), None, None, exactly
    ).reshape(*SIZE[::-1], 2)
    wide = (straight * WIDE_FOCAL + (np.array(WIDE) - 1) / 2).astype(np.float32)
    poses = WORLD.apply(np.load(rendered / "poses.npy"))
    frames, images = [], []
    for number, pose in enumerate(poses):
        name = f"{number:03d}.jpg"
        if number not in MISSING:
            picture = read_image(rendered / f"{number:03d}.png")
            bent = cv2.remap(picture, wide[..., 0], wide[..., 1], cv2.INTER_CUBIC)
            Image.fromarray(bent).save(root / "images" / name, quality=95)
        frames.append(
            {"file_path": f"images/{name}", "transform_matrix": (pose @ OPENCV_FROM_OPENGL).tolist()}
        )
        there = invert(pose)
        numbers = [*quaternion_from_rotation(there[:3, :3]), *there[:3, 3]]
        images.append(f"{number + 1} {' '.join(map(repr, map(float, numbers)))} 1 {name}\n\n")
    camera = {"fl_x": FOCAL, "fl_y": FOCAL, "cx": CENTRE[0], "cy": CENTRE[1], "w": SIZE[0], "h": SIZE[1]}
    bend = {"camera_model": "OPENCV", "k1": RADIAL[0], "k2": RADIAL[1], "p1": 0.0, "p2": 0.0}
    (root / "transforms.json").write_text(json.dumps(camera | bend | {"frames": frames}))
    model = root / "sparse" / "0"
    model.mkdir(parents=True)
    parameters = " ".join(map(str, (*SIZE, FOCAL, *CENTRE, *RADIAL)))
    (model / "cameras.txt").write_text(f"1 RADIAL {parameters}\n")
    (model / "images.txt").write_text("".join(images))
    return root


@pytest.fixture(scope="module")
def converted(captured: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The capture as ``convert --undistort`` leaves it, in a folder named as the verbs look for it."""
    work = tmp_path_factory.mktemp("work")
    said = _run(ROOT / "cli.py", "convert", captured, "dataset", "--undistort", cwd=work)
    for words in ("3 of 50 frames have no image", "levelled", "centred", "scaled", "one centred pinhole"):
        assert words in said
    return work / "dataset"


@pytest.mark.slow
def test_the_world_comes_back_and_pictures_are_straight(rendered: Path, converted: Path) -> None:
    dataset = open_dataset(converted)
    kept = [number for number in range(VIEWS) if number not in MISSING]
    assert dataset.n_views == len(kept)
    truth = np.load(rendered / "poses.npy")[kept]
    fit = fit_similarity(truth, dataset.scenes[0].poses())
    assert fit.is_exact()
    assert math.degrees(math.acos(min(1.0, fit.similarity.rotation[2, 2]))) < 3
    assert np.linalg.norm(fit.similarity.shift) < 0.5
    # What the wide camera saw, looked up by plain pinholes alone.
    for number, view in list(zip(kept, dataset.views(), strict=True))[::12]:
        picture = view.image().astype(float)
        height, width, _ = picture.shape
        camera = dataset.intrinsics(width, height)
        columns, rows = np.meshgrid(np.arange(width), np.arange(height))
        u = (columns - camera.cx) / camera.fx * WIDE_FOCAL + (WIDE[0] - 1) / 2
        v = (rows - camera.cy) / camera.fy * WIDE_FOCAL + (WIDE[1] - 1) / 2
        wide = read_image(rendered / f"{number:03d}.png")
        expected = cv2.remap(wide, u.astype(np.float32), v.astype(np.float32), cv2.INTER_CUBIC)
        within = (u > 2) & (u < WIDE[0] - 3) & (v > 2) & (v < WIDE[1] - 3)
        assert np.abs(picture - expected)[within].mean() < 0.02 * 255


@pytest.mark.slow
def test_it_is_sound_by_its_photographs_and_trains(converted: Path) -> None:
    _run(ROOT / "cli.py", "validate", "dataset", "--photo", cwd=converted.parent)
    _run(ROOT / "cli.py", "train", "dataset", "--max-steps", 200, cwd=converted.parent)


@pytest.mark.slow
def test_the_same_capture_as_a_model_of_colmap(captured: Path, converted: Path) -> None:
    work = converted.parent
    said = _run(ROOT / "cli.py", "convert", captured / "sparse" / "0", "colmap", "--undistort", cwd=work)
    assert "3 of 50 images have no file" in said
    _run(ROOT / "cli.py", "validate", "colmap", "--photo", cwd=work)
    for first, second in zip(
        open_dataset(converted).views(), open_dataset(work / "colmap").views(), strict=True
    ):
        np.testing.assert_allclose(first.pose(), second.pose(), atol=1e-6)
        np.testing.assert_array_equal(first.image(), second.image())

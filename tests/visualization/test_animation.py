"""Moving pictures come back with the frames that went in."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from objnerf.errors import InputError
from objnerf.visualization.animation import write_animation


@pytest.fixture
def frames() -> list[np.ndarray]:
    """Twelve frames of 33 × 25 (odd on purpose) with a bright bar that wanders."""
    frames = []
    for number in range(12):
        frame = np.full((25, 33, 3), (30, 60, 90), np.uint8)
        frame[:, 2 * number : 2 * number + 4] = (250, 200, 40)
        frames.append(frame)
    return frames


def _read(path: Path) -> list[np.ndarray]:
    with Image.open(path) as image:
        shown = []
        for number in range(image.n_frames):
            image.seek(number)
            shown.append(np.asarray(image.convert("RGB")))
        return shown


def test_apng_is_exact(frames: list[np.ndarray], tmp_path: Path) -> None:
    read = _read(write_animation(frames, tmp_path / "turn.png", fps=10))
    assert len(read) == 12
    for expected, found in zip(frames, read, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_gif_loops_and_looks_alike(frames: list[np.ndarray], tmp_path: Path) -> None:
    path = write_animation(iter(frames), tmp_path / "turn.gif", fps=10)
    read = _read(path)
    assert len(read) == 12
    for expected, found in zip(frames, read, strict=True):
        assert np.abs(found.astype(int) - expected).mean() < 8
    with Image.open(path) as image:
        assert image.info["loop"] == 0
        assert image.info["duration"] == 100


def test_mp4_has_all_frames_and_even_sides(frames: list[np.ndarray], tmp_path: Path) -> None:
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="MP4 needs the extra `video`")
    path = write_animation(frames, tmp_path / "turn.mp4", fps=10)
    command = [ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", str(path)]
    raw = subprocess.run(
        [*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True
    ).stdout
    read = np.frombuffer(raw, np.uint8).reshape(12, 26, 34, 3)
    for expected, found in zip(frames, read, strict=True):
        assert np.abs(found[:25, :33].astype(int) - expected).mean() < 25


def test_what_cannot_be_written_is_said(frames: list[np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.gif, \.png, \.mp4"):
        write_animation(frames, tmp_path / "turn.avi")
    with pytest.raises(InputError, match="at least one frame"):
        write_animation([], tmp_path / "turn.gif")
    with pytest.raises(InputError, match=r"frame 1 is \(2, 2\)"):
        write_animation([frames[0], np.zeros((2, 2, 3), np.uint8)], tmp_path / "turn.gif")
    with pytest.raises(InputError, match="fps: expected"):
        write_animation(frames, tmp_path / "turn.gif", fps=0)
    assert list(tmp_path.iterdir()) == []

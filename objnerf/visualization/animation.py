"""Animations: a sequence of frames as GIF, animated PNG or MP4."""

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from objnerf.dataset.files import atomic_path
from objnerf.errors import InputError, WorkError
from objnerf.visualization.contact_sheets import Picture, as_picture

ANIMATION_SUFFIXES = (".gif", ".png", ".mp4")


def write_animation(
    frames: Iterable[Picture], path: str | os.PathLike[str], *, fps: int | float = 15, loop: bool = True
) -> Path:
    """Write frames as an animation; the suffix of `path` chooses the format.

    Args:
        frames: uint8 arrays (H, W, 3) or pillow images, all of one size, in the order of time.
        path: `.gif`, `.png` (animated PNG: no loss) or `.mp4` (H.264; sides are made even by repeating
            the last row or column, as the codec needs).
        fps: frames a second.
        loop: whether a GIF or PNG starts again at its end (an MP4's player decides that).
    Returns:
        The path written. It appears only when it is complete.
    Raises:
        InputError: no frames, frames of several sizes, a suffix that is none of the three, or an MP4 without
            the extra `video`.
        WorkError: ffmpeg failed; its message is passed on.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in ANIMATION_SUFFIXES:
        raise InputError(
            f"{path}: cannot infer the animation format from {suffix or 'a name without suffix'!r}; "
            f"expected one of {', '.join(ANIMATION_SUFFIXES)}"
        )
    if not fps > 0:
        raise InputError(f"fps: expected a number above 0, got {fps}")
    pictures = [as_picture(frame) for frame in frames]
    if not pictures:
        raise InputError(f"{path}: expected at least one frame, got none")
    for number, picture in enumerate(pictures):
        if picture.size != pictures[0].size:
            raise InputError(
                f"{path}: all frames must have the same size; frame 0 is {pictures[0].size}, "
                f"frame {number} is {picture.size}"
            )
    with atomic_path(path) as partial:
        if suffix == ".mp4":
            _write_mp4(pictures, partial, fps)
        else:
            _write_with_pillow(pictures, partial, suffix, fps, loop)
    return path


def _write_with_pillow(
    pictures: list[Image.Image], path: Path, suffix: str, fps: int | float, loop: bool
) -> None:
    """GIF or animated PNG. One palette for the whole GIF, so that still parts do not flicker."""
    duration = 1000.0 / fps
    options: dict[str, object] = {"duration": duration}
    if suffix == ".gif":
        palette = _common_palette(pictures)
        pictures = [
            picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for picture in pictures
        ]
        # GIF counts in hundredths of a second, and players slow down anything below two.
        options["duration"] = max(20, 10 * round(duration / 10))
        options["disposal"] = 1
    if suffix == ".png":
        options["loop"] = 0 if loop else 1
    elif loop:
        options["loop"] = 0
    pictures[0].save(
        path,
        format="GIF" if suffix == ".gif" else "PNG",
        save_all=True,
        append_images=pictures[1:],
        **options,
    )


def _common_palette(pictures: list[Image.Image]) -> Image.Image:
    """255 colours that serve all frames, found on a few dozen small ones."""
    chosen = pictures[:: max(1, len(pictures) // 24)]
    small = [picture.resize((64, 64), Image.Resampling.BOX) for picture in chosen]
    strip = Image.new("RGB", (64, 64 * len(small)))
    for row, picture in enumerate(small):
        strip.paste(picture, (0, 64 * row))
    return strip.quantize(colors=255, method=Image.Quantize.MEDIANCUT)


def _write_mp4(pictures: list[Image.Image], path: Path, fps: int | float) -> None:
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise InputError(
            "MP4 needs the extra `video` (pip install 'objnerf[video]'); .gif and .png don't"
        ) from error

    arrays = [np.asarray(picture) for picture in pictures]
    height, width = arrays[0].shape[:2]
    pad = ((0, height % 2), (0, width % 2), (0, 0))
    size = f"{width + width % 2}x{height + height % 2}"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", f"{fps:g}", "-i", "-"]
    command += ["-an", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "18", "-f", "mp4", str(path)]
    raw = b"".join(np.ascontiguousarray(np.pad(array, pad, mode="edge")).tobytes() for array in arrays)
    done = subprocess.run(command, input=raw, capture_output=True, check=False)
    if done.returncode != 0:
        raise WorkError(f"ffmpeg could not write the MP4: {done.stderr.decode(errors='replace').strip()}")

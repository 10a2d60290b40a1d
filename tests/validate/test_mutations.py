"""Ways to break a sound dataset: each is named by the right check, and by no wrong one."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import validate
from objnerf.dataset import files
from objnerf.dataset.cameras import invert

BLENDER = np.diag([1.0, -1.0, -1.0, 1.0])


def poses_of(folder: Path) -> dict[Path, np.ndarray]:
    return {path: files.read_matrix(path) for path in sorted(folder.glob("*_RT.txt"))}


def change_poses(
    change: Callable[[np.ndarray], np.ndarray], only: int | None = None
) -> Callable[[Path], None]:
    """Apply a change to every stored pose, or to the one with index ``only``."""

    def mutate(folder: Path) -> None:
        for index, (path, pose) in enumerate(poses_of(folder).items()):
            if only is None or index == only:
                np.savetxt(path, change(pose))

    return mutate


def transpose_rotation(pose: np.ndarray) -> np.ndarray:
    result = pose.copy()
    result[:3, :3] = pose[:3, :3].T
    return result


def world(turn: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    matrix = np.eye(4)
    matrix[: turn.shape[0], : turn.shape[1]] = turn
    return lambda pose: matrix @ pose


def camera(turn: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    return lambda pose: pose @ matrix


def shifted(x: float, y: float, z: float) -> Callable[[np.ndarray], np.ndarray]:
    return world(np.array([[1.0, 0, 0, x], [0, 1, 0, y], [0, 0, 1, z]]))


def about_z(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def about_y(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


#: Rows are the world's new axes: a y-up world from a z-up one.
Y_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


def file_of(folder: Path, index: int, suffix: str) -> Path:
    stem = sorted(folder.glob("*_RT.txt"))[index].name.removesuffix("_RT.txt")
    return folder / f"{stem}{suffix}"


def with_file(index: int, suffix: str, change: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda folder: change(file_of(folder, index, suffix))


def rename(folder: Path, change: Callable[[str], str]) -> None:
    for path in sorted(folder.iterdir(), reverse=True):
        path.rename(folder / change(path.name))


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(bytes(content))


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_dead_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


def edit_image(change: Callable[[Image.Image], Image.Image]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        with Image.open(path) as image:
            image.load()
            change(image.convert("RGB")).save(path)

    return edit


def half_clear(image: Image.Image) -> Image.Image:
    alpha = Image.new("L", image.size, 255)
    alpha.paste(0, (0, 0, image.size[0] // 2, image.size[1]))
    result = image.convert("RGBA")
    result.putalpha(alpha)
    return result


def copy_file(source: int, target: int, suffix: str) -> Callable[[Path], None]:
    return lambda folder: (
        shutil.copyfile(file_of(folder, source, suffix), file_of(folder, target, suffix)) and None
    )


@dataclass(frozen=True)
class Mutation:
    """A way to break a dataset.

    Attributes:
        name: what is done, in words.
        mutate: does it to a folder.
        ids: exactly the checks that must name it.
        base: which sound dataset is broken.
        count: how many views or scenes the first finding must concern.
    """

    name: str
    mutate: Callable[[Path], object]
    ids: set[str]
    base: str = "blocks_depth"
    count: int | None = None


MUTATIONS = [
    # Names and files
    Mutation(
        "ids-from-one",
        lambda d: rename(d, lambda n: n.replace("sc0001", "sc0002").replace("sc0000", "sc0001")),
        {"FILE-IDS"},
    ),
    Mutation(
        "hole-in-ids", lambda d: rename(d, lambda n: n.replace("sc0001", "sc0003")), {"FILE-IDS"}, count=2
    ),
    Mutation("short-ids", lambda d: rename(d, lambda n: n.replace("sc000", "sc")), {"FILE-NAME"}, count=8),
    Mutation(
        "mixed-widths",
        lambda d: rename(d, lambda n: n.replace("sc0001", "sc00001")),
        {"FILE-IDS", "FILE-AMBIGUOUS"},
    ),
    Mutation(
        "no-id-in-one-name",
        lambda d: rename(d, lambda n: n.replace("00003_sc0000_img3", "last")),
        {"FILE-NAME"},
    ),
    Mutation(
        "id-in-prefix",
        lambda d: rename(d, lambda n: n.replace("00005_sc0001", "00005_sc0000_sc0001")),
        {"FILE-AMBIGUOUS"},
        count=1,
    ),
    Mutation(
        "stray-png", lambda d: shutil.copyfile(file_of(d, 0, ".png"), d / "preview.png"), {"FILE-STRAY"}
    ),
    Mutation(
        "normals-beside-views",
        lambda d: [shutil.copyfile(file_of(d, i, ".png"), file_of(d, i, "_normal.png")) for i in range(8)],
        {"FILE-STRAY"},
        count=8,
    ),
    Mutation("jpeg-beside-views", lambda d: (d / "00008_sc0002_img0.jpg").write_bytes(b"x"), {"FILE-STRAY"}),
    Mutation("missing-pose", with_file(2, "_RT.txt", Path.unlink), {"FILE-MISSING"}, count=1),
    Mutation("missing-picture", with_file(2, ".png", Path.unlink), {"FILE-MISSING"}, count=1),
    Mutation("missing-mask", with_file(2, "_mask.png", Path.unlink), {"FILE-MISSING"}, count=1),
    Mutation("missing-depth", with_file(2, "_depth.npy", Path.unlink), {"FILE-MISSING"}, count=1),
    Mutation("missing-azimuth", with_file(2, "_azi_rot.txt", Path.unlink), {"FILE-MISSING"}, count=1),
    Mutation(
        "orphan-mask",
        lambda d: shutil.copyfile(file_of(d, 0, "_mask.png"), d / "x_sc0000_img9_mask.png"),
        {"FILE-MISSING"},
    ),
    Mutation("one-view-fewer", lambda d: [p.unlink() for p in d.glob("00007_*")], {"FILE-VIEWS"}, count=1),
    Mutation(
        "one-view-left",
        lambda d: [p.unlink() for i in (5, 6, 7) for p in d.glob(f"0000{i}_*")],
        {"FILE-VIEWS"},
        count=1,
    ),
    # Pictures
    Mutation("truncated-picture", with_file(1, ".png", truncate), {"IMAGE-READ"}, count=1),
    Mutation("flipped-byte", with_file(1, ".png", flip_byte), {"IMAGE-READ"}, count=1),
    Mutation(
        "empty-picture", with_file(1, ".png", lambda p: p.write_bytes(b"") and None), {"IMAGE-READ"}, count=1
    ),
    Mutation("folder-for-picture", with_file(1, ".png", a_folder), {"IMAGE-READ"}, count=1),
    Mutation("dead-link-for-picture", with_file(1, ".png", a_dead_link), {"IMAGE-READ"}, count=1),
    Mutation(
        "one-size-differs",
        with_file(1, ".png", edit_image(lambda i: i.resize((80, 60)))),
        {"IMAGE-SIZE"},
        count=1,
    ),
    Mutation("transparent", with_file(1, ".png", edit_image(half_clear)), {"IMAGE-MODE"}, count=1),
    Mutation("palette", with_file(1, ".png", edit_image(lambda i: i.quantize(64))), {"IMAGE-MODE"}, count=1),
    Mutation("grey", with_file(1, ".png", edit_image(lambda i: i.convert("L"))), {"IMAGE-MODE"}, count=1),
    Mutation(
        "one-colour",
        with_file(1, ".png", edit_image(lambda i: Image.new("RGB", i.size, (90, 80, 70)))),
        {"IMAGE-BLANK"},
        count=1,
    ),
    Mutation(
        "black",
        with_file(1, ".png", edit_image(lambda i: i.point(lambda v: v // 40))),
        {"IMAGE-BLANK"},
        count=1,
    ),
    Mutation(
        "blown-out",
        with_file(1, ".png", edit_image(lambda i: i.point(lambda v: min(255, v * 9 + 60)))),
        {"IMAGE-BLANK"},
        count=1,
    ),
    Mutation("picture-copied", copy_file(0, 5, ".png"), {"IMAGE-DUP"}, count=1),
    # Single poses
    Mutation(
        "words-for-pose",
        with_file(3, "_RT.txt", lambda p: p.write_text("no matrix here\n") and None),
        {"POSE-READ"},
        count=1,
    ),
    Mutation(
        "empty-pose", with_file(3, "_RT.txt", lambda p: p.write_text("") and None), {"POSE-READ"}, count=1
    ),
    Mutation(
        "commas",
        with_file(3, "_RT.txt", lambda p: p.write_text(p.read_text().replace(" ", ", ")) and None),
        {"POSE-READ"},
        count=1,
    ),
    Mutation("folder-for-pose", with_file(3, "_RT.txt", a_folder), {"POSE-READ"}, count=1),
    Mutation(
        "three-rows",
        with_file(3, "_RT.txt", lambda p: np.savetxt(p, files.read_matrix(p)[:3])),
        {"POSE-SHAPE"},
        count=1,
    ),
    Mutation(
        "one-line",
        with_file(3, "_RT.txt", lambda p: np.savetxt(p, files.read_matrix(p).reshape(1, 16))),
        {"POSE-SHAPE"},
        count=1,
    ),
    Mutation(
        "nan",
        change_poses(lambda m: np.where(np.arange(16).reshape(4, 4) == 3, np.nan, m), 3),
        {"POSE-FINITE"},
        count=1,
    ),
    Mutation(
        "inf",
        change_poses(lambda m: np.where(np.arange(16).reshape(4, 4) == 3, np.inf, m), 3),
        {"POSE-FINITE"},
        count=1,
    ),
    Mutation(
        "bottom-row", change_poses(lambda m: np.vstack([m[:3], [[0, 0, 1, 0]]]), 3), {"POSE-BOTTOM"}, count=1
    ),
    Mutation(
        "bottom-row-all", change_poses(lambda m: np.vstack([m[:3], [[0, 0, 0, 2]]])), {"POSE-BOTTOM"}, count=8
    ),
    Mutation(
        "not-orthonormal",
        change_poses(
            lambda m: m + 0.01 * np.eye(4)[:, ::-1] * np.array([[1], [1], [1], [0]]) * np.array([1, 1, 1, 0]),
            3,
        ),
        {"POSE-ORTHO"},
        count=1,
    ),
    Mutation(
        "rounded",
        change_poses(lambda m: np.vstack([np.hstack([np.round(m[:3, :3], 2), m[:3, 3:]]), m[3:]])),
        {"POSE-ORTHO"},
    ),
    Mutation("scaled", change_poses(lambda m: m @ np.diag([1.5, 1.5, 1.5, 1])), {"POSE-DET"}, count=8),
    Mutation("mirrored-y", change_poses(lambda m: m @ np.diag([1.0, -1, 1, 1])), {"POSE-DET"}, count=8),
    Mutation("mirrored-z", change_poses(lambda m: m @ np.diag([1.0, 1, -1, 1])), {"POSE-DET"}, count=8),
    Mutation("mirrored-one", change_poses(lambda m: m @ np.diag([-1.0, 1, 1, 1]), 2), {"POSE-DET"}, count=1),
    # Conventions
    Mutation("opengl", change_poses(lambda m: m @ BLENDER), {"POSE-AXES"}, count=8),
    Mutation("opengl-one", change_poses(lambda m: m @ BLENDER, 4), {"POSE-AXES"}, count=1),
    Mutation(
        "x-forward",
        change_poses(camera(np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]))),
        {"POSE-AXES"},
        count=8,
    ),
    Mutation("inverted", change_poses(invert), {"POSE-INVERTED"}, count=8),
    Mutation("inverted-one", change_poses(invert, 4), {"POSE-INVERTED"}, count=1),
    Mutation(
        "inverted-opengl",
        change_poses(lambda m: invert(m @ BLENDER)),
        {"POSE-INVERTED", "POSE-AXES"},
        count=8,
    ),
    Mutation("transposed", change_poses(transpose_rotation), {"POSE-TRANSPOSED"}, count=8),
    Mutation("transposed-one", change_poses(transpose_rotation, 4), {"POSE-TRANSPOSED"}, count=1),
    Mutation("transposed-whole", change_poses(np.transpose), {"POSE-TRANSPOSED"}, count=8),
    Mutation("y-up", change_poses(world(Y_UP)), {"POSE-UP"}, count=8),
    Mutation("z-down", change_poses(world(np.diag([1.0, -1, -1]))), {"POSE-UP"}, count=8),
    Mutation(
        "y-up-opengl", change_poses(lambda m: world(Y_UP)(m) @ BLENDER), {"POSE-UP", "POSE-AXES"}, count=8
    ),
    Mutation("rolled-one", change_poses(camera(about_z(15)), 4), {"POSE-ROLL"}, count=1),
    Mutation("pose-copied", copy_file(0, 1, "_RT.txt"), {"POSE-DUP", "IMAGE-DUP"}),
    # World
    Mutation("world-shifted", change_poses(shifted(3, 2, 0)), {"WORLD-CENTRE"}, count=2),
    Mutation("world-shifted-a-little", change_poses(shifted(1.5, 0, 0)), {"WORLD-CENTRE"}, count=2),
    Mutation("world-far-away", change_poses(shifted(100, 50, 0)), {"WORLD-CENTRE"}, count=2),
    Mutation("looks-elsewhere", change_poses(camera(about_y(40)), 4), {"WORLD-CENTRE"}, count=1),
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_each_mutation_is_named(mutation: Mutation, copy_of: Callable[[str], Path]) -> None:
    folder = copy_of(mutation.base)
    mutation.mutate(folder)
    report = validate.run(folder)
    assert {finding.id for finding in report.findings} == mutation.ids, report.text()
    if mutation.count is not None:
        assert report.findings[0].count == mutation.count, report.text()
    for finding in report.findings:
        assert finding.message
        assert finding.fix


def test_there_are_enough_mutations() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS) >= 60

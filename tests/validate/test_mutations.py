"""Ways to break a sound dataset: each is named by the right check, and by no wrong one."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import yaml
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
            result = change(image.convert("RGB"))
            # Pictures with an alpha channel keep one: else they would differ from the others in that, too.
            (result.convert(image.mode) if result.mode == "RGB" else result).save(path)

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


def edit_depth(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    return lambda path: np.save(path, change(np.load(path)))


def every_depth(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def mutate(folder: Path) -> None:
        for path in folder.glob("*_depth.npy"):
            edit_depth(change)(path)

    return mutate


def ray_length(depth: np.ndarray) -> np.ndarray:
    """Planar depth times the length of each pixel's ray with z = 1, at the reference's focal ratio."""
    height, width = depth.shape[:2]
    x = (np.arange(width) - (width - 1) / 2) / (350 / 320 * width)
    y = (np.arange(height) - (height - 1) / 2) / (350 / 240 * height)
    stretch = np.sqrt(1 + x[None, :] ** 2 + y[:, None] ** 2)
    return (depth * stretch[..., None]).astype(np.float32)


def recolour(old: tuple[int, int, int], new: tuple[int, int, int]) -> Callable[[Path], None]:
    """Change one colour of a mask."""

    def edit(path: Path) -> None:
        colours = np.array(Image.open(path).convert("RGB"))
        colours[(colours == old).all(axis=-1)] = new
        Image.fromarray(colours).save(path)

    return edit


def every(suffix: str, change: Callable[[Path], object]) -> Callable[[Path], None]:
    def mutate(folder: Path) -> None:
        for index in range(len(list(folder.glob("*_RT.txt")))):
            change(file_of(folder, index, suffix))

    return mutate


def anti_alias(path: Path) -> None:
    with Image.open(path) as image:
        image.load()
        soft = image.convert("RGB").resize((image.size[0] * 2, image.size[1] * 2), Image.Resampling.BILINEAR)
        soft.resize(image.size, Image.Resampling.BOX).save(path)


def speck(path: Path) -> None:
    """Five pixels of a colour of its own."""
    colours = np.array(Image.open(path).convert("RGB"))
    colours[0, :5] = (255, 0, 255)
    Image.fromarray(colours).save(path)


def card(**values: object) -> Callable[[Path], None]:
    return lambda folder: (
        (folder / "dataset.yaml").write_text(yaml.safe_dump({"format_version": 1, **values})) and None
    )


def described(change: Callable[[dict], object]) -> Callable[[Path], None]:
    """Write ``scenes/*.json`` for all scenes, and change that of scene 1."""

    def mutate(folder: Path) -> None:
        (folder / "scenes").mkdir()
        for scene in (0, 1):
            stems = sorted(p.name.removesuffix("_RT.txt") for p in folder.glob(f"*sc{scene:04d}*_RT.txt"))
            colours = {c for _, c in Image.open(folder / f"{stems[0]}_mask.png").convert("RGB").getcolors()}
            content = {
                "format_version": 1,
                "scene": scene,
                "seed": 0,
                "objects": [
                    {"label": i, "asset": "cube", "position": [0, 0, 0]} for i in range(1, len(colours))
                ],
                "views": [
                    {"stem": s, "world_from_camera": files.read_matrix(folder / f"{s}_RT.txt").tolist()}
                    for s in stems
                ],
            }
            if scene == 1:
                change(content)
            (folder / "scenes" / f"{scene:04d}.json").write_text(json.dumps(content))

    return mutate


def square(keep: bool) -> Callable[[Path], None]:
    """Square pictures: squashed from 4:3, or cut out of the middle (as if rendered square)."""

    def mutate(folder: Path) -> None:
        for path in [*folder.glob("*.png"), *folder.glob("*.npy")]:
            if path.suffix == ".npy":
                depth = np.load(path)
                height, width = depth.shape[:2]
                left = (width - height) // 2
                columns = (
                    np.linspace(0, width - 1, height).round().astype(int)
                    if keep
                    else np.arange(left, left + height)
                )
                np.save(path, depth[:, columns])
                continue
            with Image.open(path) as image:
                image.load()
                width, height = image.size
                if keep:
                    columns = np.linspace(0, width - 1, height).round().astype(int)
                    Image.fromarray(np.array(image.convert("RGB"))[:, columns]).save(path)
                else:
                    left = (width - height) // 2
                    image.convert("RGB").crop((left, 0, left + height, height)).save(path)

    return mutate


def exchange(first: int, second: int, suffix: str) -> Callable[[Path], None]:
    def mutate(folder: Path) -> None:
        a, b = file_of(folder, first, suffix), file_of(folder, second, suffix)
        one, other = a.read_bytes(), b.read_bytes()
        a.write_bytes(other)
        b.write_bytes(one)

    return mutate


@dataclass(frozen=True)
class Mutation:
    """A way to break a dataset.

    Attributes:
        name: what is done, in words.
        mutate: does it to a folder.
        ids: exactly the checks that must name it.
        base: which sound dataset is broken.
        count: how many views or scenes the first finding must concern.
        options: passed to ``validate.run``.
    """

    name: str
    mutate: Callable[[Path], object]
    ids: set[str]
    base: str = "blocks_depth"
    count: int | None = None
    options: dict[str, object] = field(default_factory=dict)


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
    Mutation(
        "world-in-centimetres",
        change_poses(
            lambda m: np.diag([1.0, 1, 1, 1]) @ np.hstack([m[:, :3], m[:, 3:] * [[100], [100], [100], [1]]])
        ),
        {"WORLD-SCALE"},
        base="blocks",
        count=12,
    ),
    Mutation(
        "world-of-unit-size",
        change_poses(lambda m: np.hstack([m[:, :3], m[:, 3:] * [[0.1], [0.1], [0.1], [1]]])),
        {"WORLD-SCALE"},
        base="blocks",
        count=12,
    ),
    Mutation("scale-not-passed", lambda d: None, {"WORLD-SCALE"}, options={"nss_scale": 100.0}),
    Mutation(
        "no-parallax",
        lambda d: [
            np.savetxt(file_of(d, i, "_RT.txt"), shake(files.read_matrix(file_of(d, 0, "_RT.txt")), i))
            for i in range(4)
        ],
        {"VIEWS-SPREAD", "AZIMUTH"},
        base="blocks",
    ),
    # Box, near and far, intrinsics
    Mutation("box-too-small", lambda d: None, {"BOX-PIXELS", "BOX-OBJECTS"}, options={"obj_scale": 2.5}),
    Mutation(
        "box-too-small-for-pixels", lambda d: None, {"BOX-PIXELS"}, base="blocks", options={"obj_scale": 3.0}
    ),
    Mutation("far-too-near", lambda d: None, {"NEAR-FAR"}, options={"far": 13.0}),
    Mutation("near-too-far", lambda d: None, {"NEAR-FAR"}, options={"near": 9.5}),
    Mutation(
        "near-too-far-without-depth", lambda d: None, {"NEAR-FAR"}, base="blocks", options={"near": 9.5}
    ),
    Mutation("near-beyond-far", card(near=20.0, far=6.0), {"NEAR-FAR"}),
    Mutation("wrong-focal-ratio", lambda d: None, {"INTRINSICS"}, options={"focal_ratio": (1.3, 1.733)}),
    Mutation(
        "square-pixels-on-4-3",
        lambda d: None,
        {"INTRINSICS"},
        base="blocks",
        options={"focal_ratio": (1.094, 1.094)},
    ),
    Mutation("rendered-square-with-depth", square(keep=False), {"INTRINSICS"}, count=8),
    Mutation("square-without-depth", square(keep=True), {"INTRINSICS"}, base="blocks", count=12),
    # Masks
    Mutation("anti-aliased-mask", with_file(1, "_mask.png", anti_alias), {"MASK-LEVELS"}, count=1),
    Mutation("anti-aliased-masks", every("_mask.png", anti_alias), {"MASK-LEVELS"}, count=8),
    Mutation(
        "equal-luminance",
        with_file(1, "_mask.png", recolour((0, 255, 0), (0, 130, 0))),
        {"MASK-LEVELS"},
    ),
    Mutation(
        "background-black",
        with_file(1, "_mask.png", recolour((64, 64, 64), (0, 0, 0))),
        {"MASK-BACKGROUND"},
        count=1,
    ),
    Mutation(
        "all-backgrounds-black",
        every("_mask.png", recolour((64, 64, 64), (0, 0, 0))),
        {"MASK-BACKGROUND"},
        count=8,
    ),
    Mutation(
        "first-object-hidden",
        with_file(1, "_mask.png", recolour((0, 0, 255), (64, 64, 64))),
        {"MASK-BACKGROUND"},
        count=1,
    ),
    Mutation(
        "second-object-hidden",
        with_file(1, "_mask.png", recolour((255, 0, 0), (64, 64, 64))),
        {"MASK-SMALL"},
        count=1,
    ),
    Mutation("speck-in-mask", with_file(1, "_mask.png", speck), {"MASK-SMALL"}, count=1),
    Mutation(
        "mask-too-small",
        with_file(1, "_mask.png", edit_image(lambda i: i.resize((80, 60), Image.Resampling.NEAREST))),
        {"MASK-SIZE"},
        count=1,
    ),
    Mutation("truncated-mask", with_file(1, "_mask.png", truncate), {"IMAGE-READ"}, count=1),
    Mutation("too-few-slots", lambda d: None, {"MASK-LEVELS"}, options={"num_slots": 3}),
    # Depth
    Mutation("truncated-depth", with_file(1, "_depth.npy", truncate), {"DEPTH-READ"}, count=1),
    Mutation(
        "depth-no-npy",
        with_file(1, "_depth.npy", lambda p: p.write_bytes(b"\x00" * 400) and None),
        {"DEPTH-READ"},
        count=1,
    ),
    Mutation(
        "depth-nan",
        with_file(
            1,
            "_depth.npy",
            edit_depth(lambda z: np.where(np.arange(z.size).reshape(z.shape) == 7, np.float32("nan"), z)),
        ),
        {"DEPTH-READ"},
        count=1,
    ),
    Mutation(
        "depth-inf",
        with_file(1, "_depth.npy", edit_depth(lambda z: np.where(z > 14, np.float32("inf"), z))),
        {"DEPTH-READ"},
        count=1,
    ),
    Mutation("depth-negative", every_depth(lambda z: -z), {"DEPTH-READ"}, count=8),
    Mutation("depth-flat", every_depth(lambda z: z[..., 0]), {"DEPTH-READ"}, count=8),
    Mutation("depth-float64", every_depth(lambda z: z.astype(np.float64)), {"DEPTH-READ"}, count=8),
    Mutation(
        "depth-three-channels",
        with_file(1, "_depth.npy", edit_depth(lambda z: np.repeat(z, 3, axis=-1))),
        {"DEPTH-READ"},
        count=1,
    ),
    Mutation(
        "depth-half-size",
        with_file(1, "_depth.npy", edit_depth(lambda z: z[::2, ::2])),
        {"DEPTH-READ"},
        count=1,
    ),
    Mutation("ray-length", every_depth(ray_length), {"DEPTH-KIND"}, count=8),
    Mutation("depth-in-millimetres", every_depth(lambda z: z * np.float32(1000)), {"DEPTH-KIND"}, count=8),
    Mutation("disparity", every_depth(lambda z: np.float32(1) / z), {"DEPTH-KIND"}, count=8),
    Mutation("depth-upside-down", every_depth(lambda z: z[::-1]), {"DEPTH-KIND"}, count=8),
    Mutation("depth-of-another-view", copy_file(0, 1, "_depth.npy"), {"DEPTH-VIEWS"}, count=1),
    Mutation(
        "depth-shuffled",
        lambda d: [exchange(a, b, "_depth.npy")(d) for a, b in ((0, 4), (1, 6), (2, 7), (3, 5))],
        {"DEPTH-VIEWS"},
    ),
    Mutation("poses-exchanged", exchange(4, 5, "_RT.txt"), {"AZIMUTH", "DEPTH-VIEWS"}),
    Mutation(
        "poses-exchanged-with-azimuth",
        lambda d: [exchange(4, 5, s)(d) for s in ("_RT.txt", "_azi_rot.txt")],
        {"DEPTH-VIEWS"},
    ),
    # Azimuth and descriptions
    Mutation("azimuth-of-another-view", copy_file(0, 1, "_azi_rot.txt"), {"AZIMUTH"}, count=1),
    Mutation(
        "azimuth-transposed",
        every("_azi_rot.txt", lambda p: np.savetxt(p, files.read_matrix(p, (3, 3)).T)),
        {"AZIMUTH"},
        count=8,
    ),
    Mutation(
        "azimuth-is-the-rotation",
        every(
            "_azi_rot.txt",
            lambda p: np.savetxt(
                p, files.read_matrix(p.with_name(p.name.replace("_azi_rot", "_RT")))[:3, :3]
            ),
        ),
        {"AZIMUTH"},
        count=8,
    ),
    Mutation(
        "azimuth-other-zero",
        every("_azi_rot.txt", lambda p: np.savetxt(p, files.read_matrix(p, (3, 3)) @ about_z(90))),
        {"AZIMUTH"},
        count=8,
    ),
    Mutation("azimuth-4x4", every("_azi_rot.txt", lambda p: np.savetxt(p, np.eye(4))), {"AZIMUTH"}, count=8),
    Mutation(
        "azimuth-text",
        with_file(1, "_azi_rot.txt", lambda p: p.write_text("45 degrees") and None),
        {"AZIMUTH"},
        count=1,
    ),
    Mutation("card-scene-count", card(scenes=5), {"META"}),
    Mutation("card-image-size", card(image_size=[128, 96]), {"META"}),
    Mutation("card-broken", lambda d: (d / "dataset.yaml").write_text("near: [1, 2"), {"META"}),
    Mutation("card-negative-near", card(near=-1.0), {"META"}),
    Mutation("card-promises-more-views", card(views_per_scene=5), {"FILE-VIEWS"}),
    Mutation(
        "description-another-pose",
        described(lambda c: c["views"][1]["world_from_camera"][0].__setitem__(3, 1.0)),
        {"META"},
        count=1,
    ),
    Mutation(
        "one-degree-of-yaw",
        lambda d: [
            described(lambda c: None)(d),
            change_poses(camera(about_y(1)), 4)(d),
            file_of(d, 4, "_azi_rot.txt").unlink(),
        ],
        {"META", "FILE-MISSING"},
    ),
    Mutation(
        "description-other-views",
        described(lambda c: c["views"][1].__setitem__("stem", "00005_sc0001_img9")),
        {"META"},
    ),
    Mutation(
        "description-broken",
        lambda d: [described(lambda c: None)(d), (d / "scenes/0001.json").write_text("{")],
        {"META"},
        count=1,
    ),
    Mutation(
        "description-missing",
        lambda d: [described(lambda c: None)(d), (d / "scenes/0001.json").unlink()],
        {"META"},
        count=1,
    ),
    Mutation(
        "description-surplus",
        lambda d: [
            described(lambda c: None)(d),
            shutil.copyfile(d / "scenes/0001.json", d / "scenes/0002.json"),
        ],
        {"META"},
    ),
    Mutation("description-object-count", described(lambda c: c["objects"].pop()), {"META"}, count=1),
]


def shake(pose: np.ndarray, step: int) -> np.ndarray:
    """The pose, moved sideways by a little (a hundredth of a degree and more, seen from the centre)."""
    result = pose.copy()
    result[:3, 3] += 0.02 * step * pose[:3, 0]
    return result


@pytest.mark.parametrize("name", ["blocks", "blocks_depth"])
def test_sound_datasets_give_nothing(name: str, data: Path) -> None:
    report = validate.run(data / name)
    assert report.findings == (), validate.render_text(report)
    assert report.exit_code(strict=True) == 0
    assert set(report.suggested) == {"near", "far", "nss_scale", "obj_scale", "focal_ratio"}


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_each_mutation_is_named(mutation: Mutation, copy_of: Callable[[str], Path]) -> None:
    folder = copy_of(mutation.base)
    mutation.mutate(folder)
    report = validate.run(folder, validate.Options(**mutation.options))
    assert {finding.id for finding in report.findings} == mutation.ids, validate.render_text(report)
    if mutation.count is not None:
        assert report.findings[0].count == mutation.count, validate.render_text(report)
    for finding in report.findings:
        assert finding.message
        assert finding.fix


def test_there_are_enough_mutations() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS) >= 60

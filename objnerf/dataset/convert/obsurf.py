"""The folders of ObSuRF's CLEVR3D and MultiShapeNet.

``metadata.npz`` holds ``camera_pos`` (scenes, views, 3) and ``shape`` (scenes, objects; above 0 where an
object is); ``images/img_{scene}_{view}.png``; ``depths/depths_{scene}_{view}.png``, 16 bit, 65536 · 0.025 a
world unit, the length of the ray in CLEVR3D and planar depth in MultiShapeNet (``.tif`` with floats is read
too); ``masks/masks_{scene}_{view}.png``, object numbers, 0 the background. There are no poses and no
intrinsics: every camera looks at the origin with z up, through a 35 mm lens on a 32 mm wide sensor with
square pixels.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float

from objnerf.dataset import names
from objnerf.dataset.cameras import Intrinsics, look_at, ray_lengths
from objnerf.dataset.convert.masks import colours_of, mask_of, object_numbers, png_writer
from objnerf.dataset.convert.posed import (
    Blob,
    Companion,
    PosedScene,
    PosedScenes,
    PosedView,
    Progress,
    check_one_camera,
    checked_pose,
    counted,
    depth_map,
    one_size,
    put,
    put_png,
    rigid,
)
from objnerf.dataset.convert.sidecars import left_out, read_sidecars, write_sidecars
from objnerf.dataset.files import write_depth
from objnerf.dataset.untrusted import opened_picture, read_npz
from objnerf.errors import InputError

#: Focal length over the sensor's width.
_FOCAL_OVER_WIDTH = 35 / 32
#: Width and height that ObSuRF's loaders have in their code (stelzner/obsurf, obsurf/data).
_LOADERS_SIZE = (320, 240)
#: Steps of a 16-bit depth image in a world unit.
_DEPTH_STEPS = 65536 * 0.025
#: How far a camera's axes may be from those of a camera that looks at the origin: 0.01 degrees, under a
#: twentieth of a pixel at ObSuRF's 320 x 240.
_ANGLE_TOLERANCE = np.radians(0.01)
#: Ours: ObSuRF's loader passes over it, and a round trip loses no digits of the poses.
_POSES_KEY = "world_from_camera"


def recognise(folder: Path) -> bool:
    """Whether the folder has ObSuRF's layout."""
    return (folder / "metadata.npz").is_file() and (folder / "images").is_dir()


def read(folder: Path) -> PosedScenes:
    """Read such a folder.

    Raises:
        InputError: metadata that cannot be read, or images that are not there.
    """
    path = folder / "metadata.npz"
    metadata = _metadata(path)
    positions = metadata["camera_pos"]
    if positions.ndim != 3 or positions.shape[2] != 3 or not positions.size:
        raise InputError(f"{path}: expected camera_pos of shape (scenes, views, 3), found {positions.shape}")
    planar = "shape_file" in metadata
    scenes = []
    # The published archives come in parts: scenes without images are not there, rather than broken.
    present = [id_ for id_ in range(len(positions)) if _picture(folder, id_, 0).is_file()]
    if not present:
        raise InputError(f"{_picture(folder, 0, 0)}: expected the first image of the first scene, found none")
    first_image = Blob(_picture(folder, present[0], 0))
    width, height = one_size([PosedView("first", first_image, np.eye(4))])
    intrinsics = Intrinsics(width, height, _FOCAL_OVER_WIDTH * width, _FOCAL_OVER_WIDTH * width)
    for id_ in present:
        views = []
        for number in range(positions.shape[1]):
            where = f"{path}, scene {id_}, view {number}"
            pose = _towards_origin(positions[id_, number], where)
            if _POSES_KEY in metadata:
                stored = checked_pose(metadata[_POSES_KEY][id_, number], where)
                # Positions that were changed since are the truth: ObSuRF itself knows nothing else.
                if np.abs(stored - pose).max() <= _ANGLE_TOLERANCE:
                    pose = stored
            image = _picture(folder, id_, number)
            companions = _companions(folder, id_, number, intrinsics, planar)
            views.append(PosedView(image.stem, Blob(image), pose, companions))
        scenes.append(PosedScene(str(id_), tuple(views)))
    one_size([view for scene in scenes for view in scene.views], (width, height))
    card, scene_cards = read_sidecars(folder)
    notes = []
    if present != list(range(len(present))):
        notes.append(
            f"{len(positions) - len(present)} of {len(positions)} scenes have no images here; the others "
            "were numbered anew"
        )
    return PosedScenes(tuple(scenes), intrinsics, card=card, scene_cards=scene_cards, notes=tuple(notes))


def write(posed: PosedScenes, folder: Path, progress: Progress) -> list[str]:
    """Write such a folder; returns what had to be left out.

    Raises:
        InputError: cameras that do not look at the origin with z up, another lens, or scenes with different
            numbers of views.
    """
    check_one_camera(posed, "ObSuRF")
    camera = posed.camera
    if not np.allclose([camera.fx, camera.fy], _FOCAL_OVER_WIDTH * camera.width, rtol=1e-4, atol=0):
        raise InputError(
            f"ObSuRF's cameras all have a 35 mm lens on a 32 mm wide sensor and square pixels, here a focal "
            f"length of {_FOCAL_OVER_WIDTH * camera.width:.6g} pixels; the source's is {camera.fx:.6g}, "
            f"{camera.fy:.6g}"
        )
    counts = {len(scene.views) for scene in posed.scenes}
    if len(counts) != 1:
        raise InputError(
            f"ObSuRF's scenes all have the same number of views; the source's have {min(counts)} to "
            f"{max(counts)}"
        )
    (n_views,) = counts
    poses = np.empty((len(posed.scenes), n_views, 4, 4))
    for place in ("images", "depths", "masks"):
        (folder / place).mkdir()
    n_objects = np.zeros(len(posed.scenes), dtype=np.int64)
    for _, scene, number, view in counted(posed, progress):
        poses[scene, number] = view.world_from_camera
        exact = rigid(view.world_from_camera, view.stem, "ObSuRF")
        difference = np.abs(exact[:3, :3] - _towards_origin(exact[:3, 3], view.stem)[:3, :3]).max()
        if difference > _ANGLE_TOLERANCE:
            raise InputError(
                f"{view.stem}: ObSuRF's cameras look at the origin with z up, and this one's axes are off by "
                f"{np.degrees(difference):.3g} degrees; no file of that format can say so"
            )
        put_png(view.image, _picture(folder, scene, number))
        if names.DEPTH_SUFFIX in view.companions:
            _write_depth(view, _depth_stem(folder, scene, number).with_suffix(".png"), camera)
        if number == 0:
            n_objects[scene] = _write_masks(posed.scenes[scene], folder, scene)
    for place in ("depths", "masks"):
        if not any((folder / place).iterdir()):
            (folder / place).rmdir()
    shapes = (np.arange(max(1, n_objects.max())) < n_objects[:, None]).astype(np.int64)
    np.savez(folder / "metadata.npz", camera_pos=poses[:, :, :3, 3], shape=shapes, **{_POSES_KEY: poses})
    write_sidecars(posed, folder)
    return left_out(posed, {names.MASK_SUFFIX, names.DEPTH_SUFFIX})


def warnings(posed: PosedScenes) -> tuple[str, ...]:
    """What ObSuRF's own program will not take of what was written."""
    size = (posed.camera.width, posed.camera.height)
    if size == _LOADERS_SIZE:
        return ()
    return (
        f"ObSuRF's own loader reads {_LOADERS_SIZE[0]} x {_LOADERS_SIZE[1]} pixels only, found {size[0]} x "
        f"{size[1]}: its code says 240 and 320 in numbers",
    )


def _metadata(path: Path) -> dict[str, np.ndarray]:
    """The arrays of ``metadata.npz``; never unpickles, so that foreign files run no code."""
    found, present = read_npz(path, lambda name: name in ("camera_pos", _POSES_KEY), "NumPy's .npz")
    if "camera_pos" not in present:
        raise InputError(f"{path}: expected the array camera_pos, found {', '.join(present)}")
    if "shape_file" in present:
        found["shape_file"] = np.empty(0)
    positions = found["camera_pos"]
    if not np.isfinite(positions).all():
        raise InputError(f"{path}: expected finite numbers in camera_pos")
    expected = (*positions.shape[:2], 4, 4)
    if _POSES_KEY in found and found[_POSES_KEY].shape != expected:
        raise InputError(
            f"{path}: expected {_POSES_KEY} of shape {expected}, found {found[_POSES_KEY].shape}"
        )
    return found


def _picture(folder: Path, scene: int, view: int) -> Path:
    return folder / "images" / f"img_{scene}_{view}.png"


def _depth_stem(folder: Path, scene: int, view: int) -> Path:
    return folder / "depths" / f"depths_{scene}_{view}"


def _towards_origin(position: np.ndarray, where: str) -> Float[np.ndarray, "4 4"]:
    """``world_from_camera`` of a camera at ``position`` that looks at the origin, z up."""
    try:
        return look_at(np.asarray(position, np.float64), np.zeros(3))
    except ValueError as error:
        raise InputError(
            f"{where}: ObSuRF's cameras look at the origin with z up, which is impossible from here ({error})"
        ) from error


def _companions(
    folder: Path, scene: int, view: int, intrinsics: Intrinsics, planar: bool
) -> dict[str, Companion]:
    companions: dict[str, Companion] = {}
    mask = folder / "masks" / f"masks_{scene}_{view}.png"
    if mask.is_file():
        companions[names.MASK_SUFFIX] = _mask_reader(mask)
    for suffix in (".png", ".tif", ".tiff"):
        depth = _depth_stem(folder, scene, view).with_suffix(suffix)
        if depth.is_file():
            companions[names.DEPTH_SUFFIX] = _depth_reader(depth, intrinsics, planar)
            break
    return companions


def _mask_reader(source: Path) -> Callable[[Path], None]:
    def write(target: Path) -> None:
        numbers = _pixels(source)
        if numbers.ndim != 2 or numbers.dtype.kind not in "bui":
            raise InputError(f"{source}: expected object numbers, one channel, found {numbers.shape}")
        put(png_writer(colours_of(numbers.astype(np.int64), str(source))), target)

    return write


def _depth_reader(source: Path, intrinsics: Intrinsics, planar: bool) -> Callable[[Path], None]:
    def write(target: Path) -> None:
        stored = _pixels(source)
        expected = (intrinsics.height, intrinsics.width)
        if stored.shape != expected:
            raise InputError(f"{source}: expected depth of shape {expected}, found {stored.shape}")
        depth = stored.astype(np.float64) / (1.0 if stored.dtype.kind == "f" else _DEPTH_STEPS)
        write_depth(target, depth if planar else depth / ray_lengths(intrinsics))

    return write


def _write_depth(view: PosedView, target: Path, intrinsics: Intrinsics) -> None:
    companion = view.companions[names.DEPTH_SUFFIX]
    depth = depth_map(companion) * ray_lengths(intrinsics)
    # What is farther than 16 bits reach (40 world units) becomes the farthest.
    steps = np.clip(np.rint(np.nan_to_num(depth, posinf=1e9) * _DEPTH_STEPS), 0, 65535)
    put(png_writer(steps.astype(np.uint16)), target)


def _write_masks(scene: PosedScene, folder: Path, id_: int) -> int:
    """Write a scene's masks as object numbers; returns how many objects it has."""
    masks = {number: mask for number, view in enumerate(scene.views) if (mask := mask_of(view)) is not None}
    if not masks:
        return 0
    numbered = object_numbers(list(masks.values()), scene.name)
    for number, numbers in zip(masks, numbered, strict=True):
        put(png_writer(numbers.astype(np.uint8)), folder / "masks" / f"masks_{id_}_{number}.png")
    return int(max(numbers.max() for numbers in numbered))


def _pixels(path: Path) -> np.ndarray:
    with opened_picture(path) as image:
        return np.asarray(image)

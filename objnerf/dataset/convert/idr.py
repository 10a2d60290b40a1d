"""IDR's folders, which NeuS, VolSDF and others share for DTU and BlendedMVS: ``cameras*.npz``, ``image/``.

``world_mat_i`` is the projection P = K [R | t] of the i-th image, in the order of the names: world to
pixels, OpenCV's axes, pixel centres at whole numbers. ``scale_mat_i`` maps a world in which the object lies
about the origin, within the unit sphere (NeuS, IDR) or one of radius 3 (VolSDF), to that of P: P scale_mat
projects from it, and it is the world that is read here. ``mask/`` has silhouettes. (lioryariv/idr,
DATA_CONVENTION.md.)
"""

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float

from objnerf.dataset.convert.captures import lens_from_matrix, pictures_in, read_captures
from objnerf.dataset.convert.extras import Extras
from objnerf.dataset.convert.posed import Blob, PosedScene, PosedScenes, PosedView, checked_pose, image_size
from objnerf.dataset.untrusted import read_npz
from objnerf.errors import InputError

#: In this order they are looked for: those with a scale first. IDR's cameras_linear_init.npz are meant to be
#: wrong.
_FILES = ("cameras_sphere.npz", "cameras_normalize.npz", "cameras.npz")
_KEY = re.compile(r"(world|scale)_mat_(\d+)")
#: How far the scales of two views may be from each other, relative to their size.
_ONE_SCALE = 1e-5


def recognise(folder: Path) -> bool:
    """Whether the folder holds a scene."""
    return (folder / "image").is_dir() and any((folder / name).is_file() for name in _FILES)


def read(folder: Path) -> PosedScenes:
    """Read one scene, or a folder of scenes.

    Raises:
        InputError: what is there is no such scene.
    """
    return read_captures(folder, recognise, _read_scene, "cameras_sphere.npz or cameras.npz beside image/")


def decompose_projection(
    projection: Float[np.ndarray, "3 4"], where: str
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "4 4"]]:
    """Camera matrix and pose of a projection P ~ K [R | t], which is known up to a factor.

    The left block of P is K R: its RQ decomposition with a positive diagonal of K is unique (Hartley and
    Zisserman, "Multiple View Geometry", 2nd edition, 6.2.4). The camera's place c is where P (c, 1) = 0.

    Args:
        projection: world to pixels.
        where: the place that says so, for messages.
    Returns:
        K with K[2, 2] = 1, and ``world_from_camera`` with OpenCV's axes.
    Raises:
        InputError: the left block has no inverse, or numbers are not finite.
    """
    left = projection[:, :3].astype(np.float64)
    if not np.isfinite(projection).all() or np.linalg.cond(left) > 1e12:
        raise InputError(
            f"{where}: expected the projection of a camera, 3x4 finite numbers with an invertible left "
            f"block; found {projection.tolist()}"
        )
    # The factor's sign is that with which the axes are right-handed.
    sign = np.sign(np.linalg.det(left))
    # RQ by QR of the matrix with its rows in reverse, transposed.
    orthogonal, triangular = np.linalg.qr(sign * left[::-1].T)
    matrix, rotation = triangular.T[::-1, ::-1], orthogonal.T[::-1]
    signs = np.sign(np.diag(matrix))
    matrix, rotation = matrix * signs, signs[:, None] * rotation
    pose = np.eye(4)
    pose[:3, :3] = rotation.T
    pose[:3, 3] = -np.linalg.solve(left, projection[:, 3].astype(np.float64))
    return matrix / matrix[2, 2], pose


def _read_scene(folder: Path, notes: list[str]) -> PosedScene:
    path = next(folder / name for name in _FILES if (folder / name).is_file())
    matrices = _matrices(path)
    projections, scale = _projections(matrices, path), _scale(matrices, path, notes)
    images = pictures_in(folder / "image")
    if len(images) != len(projections):
        raise InputError(
            f"{path}: expected one projection per image, in the order of the names, found {len(projections)} "
            f"(world_mat_0 …) and {len(images)} images in {folder / 'image'}"
        )
    masks = _masks(folder, images, notes)
    extras = Extras()
    views = []
    for number, (image, projection) in enumerate(zip(images, projections, strict=True)):
        where = f"{path}, world_mat_{number}"
        matrix, pose = decompose_projection((projection @ scale)[:3], where)
        lens = lens_from_matrix(matrix, image_size(Blob(image)), where)
        views.append(PosedView(image.stem, Blob(image), checked_pose(pose, where), lens=lens, where=where))
        if image in masks:
            extras.masks[where] = masks[image]
    return PosedScene(folder.name, tuple(extras.settled(views, notes, str(folder))))


def _matrices(path: Path) -> dict[tuple[str, int], Float[np.ndarray, "4 4"]]:
    """``world_mat_i`` and ``scale_mat_i`` by kind and number; never unpickles, which could run code."""
    arrays, _ = read_npz(
        path, lambda name: _KEY.fullmatch(name) is not None, "NumPy's .npz with the arrays world_mat_0 …"
    )
    matrices = {}
    for name, array in arrays.items():
        found = _KEY.fullmatch(name)
        assert found is not None
        matrices[found[1], int(found[2])] = array
    for (kind, number), matrix in matrices.items():
        if matrix.shape not in ((4, 4), (3, 4)):
            raise InputError(
                f"{path}: expected {kind}_mat_{number} to be 4x4 numbers, found {matrix.dtype} of shape "
                f"{matrix.shape}"
            )
        matrices[kind, number] = checked_pose(matrix, f"{path}, {kind}_mat_{number}")
    return matrices


def _projections(
    matrices: dict[tuple[str, int], Float[np.ndarray, "4 4"]], path: Path
) -> list[Float[np.ndarray, "4 4"]]:
    numbers = sorted(number for kind, number in matrices if kind == "world")
    if not numbers or numbers != list(range(len(numbers))):
        raise InputError(
            f"{path}: expected the arrays world_mat_0, world_mat_1, … without gaps, found {len(numbers)}"
            + (f" up to world_mat_{numbers[-1]}" if numbers else "")
        )
    return [matrices["world", number] for number in numbers]


def _scale(
    matrices: dict[tuple[str, int], Float[np.ndarray, "4 4"]], path: Path, notes: list[str]
) -> Float[np.ndarray, "4 4"]:
    """The one ``scale_mat`` of all views; where there is none, the world is that of the projections."""
    scales = [matrix for (kind, _), matrix in matrices.items() if kind == "scale"]
    if not scales:
        notes.append(f"{path}: no scale_mat says where the object is; the world is that of world_mat")
        return np.eye(4)
    first = scales[0]
    if any(np.abs(scale - first).max() > _ONE_SCALE * np.abs(first).max() for scale in scales):
        raise InputError(f"{path}: expected the same scale_mat for every view, found several")
    square = first[:3, :3].T @ first[:3, :3]
    if not square[0, 0] > 0 or np.abs(square / square[0, 0] - np.eye(3)).max() > _ONE_SCALE:
        raise InputError(
            f"{path}: expected a scale_mat that scales uniformly, found {first[:3, :3].tolist()}"
        )
    return first


def _masks(folder: Path, images: list[Path], notes: list[str]) -> dict[Path, Path]:
    """The mask of each picture: of the same name, else at the same place in the order of the names."""
    masks = pictures_in(folder / "mask")
    named = {path.stem: path for path in masks}
    if all(image.stem in named for image in images):
        return {image: named[image.stem] for image in images}
    if len(masks) == len(images):
        return dict(zip(images, masks, strict=True))
    if masks:
        notes.append(
            f"{folder / 'mask'} left out: {len(masks)} masks for {len(images)} images, and other names"
        )
    return {}

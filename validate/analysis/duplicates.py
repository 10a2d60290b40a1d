"""Views that have the same pose, or show the same picture."""

import numpy as np

from objnerf.dataset.untrusted import Unreadable, read_bytes
from validate.analysis.model import Analysis
from validate.measure.pictures import READ
from validate.read import decode_image


def same_pose_pairs(analysis: Analysis) -> list[tuple[int, int]]:
    """Pairs of views of one scene with the same pose, in rising order."""
    views = np.flatnonzero(analysis.pose_files.valid)
    if len(views) < 2:
        return []
    tolerance = analysis.limits.same_pose
    scenes = analysis.scan.scene_index[views]
    flat = analysis.pose_files.rigid[views, :3].copy()
    scale = np.zeros(analysis.scan.n_scenes)
    np.maximum.at(scale, scenes, np.linalg.norm(flat[:, :, 3], axis=1))
    flat[:, :, 3] /= np.maximum(scale[scenes], 1e-9)[:, None]
    flat = flat.reshape(len(views), 12)
    # Sorted along one random direction within each scene, equal poses are neighbours: nothing quadratic.
    order = np.lexsort((flat @ _DIRECTION, scenes))
    first, second = order[:-1], order[1:]
    same = (scenes[first] == scenes[second]) & (np.abs(flat[first] - flat[second]).max(axis=1) < tolerance)
    return sorted(
        (int(views[min(a, b)]), int(views[max(a, b)])) for a, b in zip(first[same], second[same], strict=True)
    )


#: Any fixed direction without symmetries.
_DIRECTION = np.sin(np.arange(1.0, 13.0) ** 2)


def equal_images(analysis: Analysis) -> list[list[int]]:
    """Groups of views with exactly the same picture, constant ones left out."""
    rows = analysis.rows
    use = np.flatnonzero((rows["image"] == READ) & (rows["range"] > analysis.limits.blank_range))
    suspects: dict[tuple[int, int, int], list[int]] = {}
    for view, imprint, width, height in zip(
        use.tolist(),
        rows["print"][use].tolist(),
        rows["width"][use].tolist(),
        rows["height"][use].tolist(),
        strict=True,
    ):
        suspects.setdefault((imprint, width, height), []).append(view)
    groups = []
    for views in suspects.values():
        if len(views) < 2:
            continue
        exact: dict[bytes, list[int]] = {}
        for view in views:
            try:
                image = decode_image(read_bytes(analysis.scan.views[view].image_path)).image
            except Unreadable:
                continue
            exact.setdefault(image.convert("RGB").tobytes(), []).append(view)
        groups += [group for group in exact.values() if len(group) > 1]
    return groups

"""The azimuth files against the poses."""

from collections.abc import Iterator

import numpy as np

from objnerf.dataset import names
from validate.analysis.model import Analysis
from validate.checks.check import check
from validate.findings import Finding, on_views
from validate.measure.geometry import azimuth_rotations

_AZIMUTH = names.AZIMUTH_SUFFIX


@check(
    "AZIMUTH", "E", "_azi_rot.txt is a rotation about z and agrees with the pose", limits=("azimuth_degrees",)
)
def azimuth(analysis: Analysis) -> Iterator[Finding]:
    stored, unread = analysis.scan.matrices.azimuths, analysis.scan.matrices.azimuth_text
    there = np.array([names.AZIMUTH_SUFFIX in view.companions for view in analysis.scan.views], dtype=bool)
    finite = np.isfinite(stored).all(axis=(1, 2)) & (np.abs(np.nan_to_num(stored)) < 1e6).all(axis=(1, 2))
    broken = sorted(set(unread) | set(np.flatnonzero(there & ~finite).tolist()))
    if broken:
        problem = unread.get(broken[0])
        what = "it holds nan or inf" if problem is None else problem.unread or f"it is {problem.shape}"
        yield on_views(
            analysis.scan,
            "AZIMUTH",
            "E",
            broken,
            f"the azimuth file is no 3×3 matrix of numbers: {what}",
            "write it anew from the pose (--fix does), or delete it: it is derived from the pose then",
            suffix=_AZIMUTH,
            fixable=True,
        )
    turned = np.where(finite[:, None, None], stored, np.eye(3))
    about_z = (
        (np.abs(turned[:, 2] - [0.0, 0.0, 1.0]).max(axis=1) < 1e-3)
        & (np.abs(turned[:, :, 2] - [0.0, 0.0, 1.0]).max(axis=1) < 1e-3)
        & (np.abs(np.swapaxes(turned, 1, 2) @ turned - np.eye(3)).max(axis=(1, 2)) < 2e-3)
        & (np.linalg.det(turned) > 0)
    )
    tilted = np.flatnonzero(finite & ~about_z)
    if len(tilted):
        yield on_views(
            analysis.scan,
            "AZIMUTH",
            "E",
            tilted,
            "the azimuth file is no rotation about z: its last row and column must be 0 0 1, its columns "
            "unit vectors; perhaps the camera's whole rotation was stored",
            "write it anew from the pose (--fix does)",
            suffix=_AZIMUTH,
            fixable=True,
        )
    yield from _against_poses(analysis, stored, finite & about_z)


def _against_poses(analysis: Analysis, stored: np.ndarray, sound: np.ndarray) -> Iterator[Finding]:
    expected, defined = azimuth_rotations(np.nan_to_num(analysis.world_poses))
    use = np.flatnonzero(sound & analysis.diagnosis.usable & defined)
    if not len(use):
        return
    # The stored rotation relative to the expected one is a turn about z by this angle.
    relative = np.swapaxes(expected[use], 1, 2) @ stored[use]
    angle = np.degrees(np.arctan2(relative[:, 1, 0], relative[:, 0, 0]))
    limit = analysis.limits.azimuth_degrees
    off = np.abs(angle) > limit
    if not off.any():
        return
    convention = analysis.diagnosis.convention
    if convention.layout != "stored" or convention.mirrored or not analysis.diagnosis.world.is_level:
        # The files were made in another world: --fix writes them anew.
        return
    if not convention.is_right or analysis.diagnosis.single:
        # Azimuth files made from wrong poses are wrong with them; fixing the poses fixes them.
        from_stored, here = azimuth_rotations(np.nan_to_num(analysis.pose_files.rigid[use]))
        follows = np.abs(from_stored - stored[use]).max(axis=(1, 2)) < 0.02
        off &= ~(follows & here)
    if not off.any():
        return
    middle = float(np.degrees(np.angle(np.exp(1j * np.radians(angle)).mean())))
    constant = np.abs((angle - middle + 180) % 360 - 180) <= max(limit, 0.1)
    if off.mean() > 0.5 and constant[off].all() and len(use) > 1:
        yield on_views(
            analysis.scan,
            "AZIMUTH",
            "W",
            use[off],
            f"all azimuth files are turned by {middle:.1f}° against the camera's right and horizontal "
            "forward: another zero direction; a model trained with one cannot be used with the other",
            "write them anew from the poses (--fix does)",
            suffix=_AZIMUTH,
            fixable=True,
        )
        return
    back = np.swapaxes(stored[use], 1, 2)
    inverse = np.abs(expected[use] - back).max(axis=(1, 2)) < 0.02
    cause = (
        "it is transposed: azimuth-from-world instead of world-from-azimuth"
        if inverse[off].all()
        else "it belongs to another pose"
    )
    worst = float(np.abs(angle[off]).max())
    yield on_views(
        analysis.scan,
        "AZIMUTH",
        "E",
        use[off],
        f"the azimuth file differs from the pose's azimuth by up to {worst:.3g}°, expected under {limit:g}°: "
        f"{cause}",
        "write it anew from the pose (--fix does)",
        suffix=_AZIMUTH,
        fixable=True,
    )

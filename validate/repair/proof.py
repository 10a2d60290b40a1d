"""Are corrected poses still the cameras that were found? Checked apart from how they were corrected."""

import numpy as np
from jaxtyping import Bool, Float

from objnerf.dataset.rigid import fit_similarity
from validate.analysis.convention import Layout
from validate.analysis.model import Analysis
from validate.analysis.pose_files import Fault

#: What the digits of pose files leave between two copies of the same cameras: degrees, and a share of
#: the cameras' extent.
_ANGLE, _SHARE = 0.1, 2e-3

#: Files whose own matrix was wrong, each with a finding that says so.
_OWN_FAULTS = (Fault.BOTTOM, Fault.WHOLE_TRANSPOSED, Fault.SCALED, Fault.NOT_ROTATION)


def unproven(
    analysis: Analysis, written: Float[np.ndarray, "views 4 4"], excused: Bool[np.ndarray, " views"]
) -> str | None:
    """Why corrected poses are not the cameras that were found; None when they are.

    The positions and orientations in the files, taken in the layout and camera axes that a finding names,
    must be brought to the corrected ones by one similarity: of the whole dataset, or of each scene where
    findings say that scenes stand in worlds of their own. It may mirror the world only where a finding says
    that it is
    left-handed, and must not scale it.

    Args:
        written: what is to be written; nan where the file is copied as it is.
        excused: views about which a finding of their own says otherwise.
    """
    diagnosis = analysis.diagnosis
    faults = np.isin(analysis.pose_files.fault, [int(fault) for fault in _OWN_FAULTS])
    compared = np.isfinite(written).all(axis=(1, 2)) & analysis.pose_files.valid & ~faults & ~excused
    compared[list(diagnosis.single)] = False
    compared[list(diagnosis.turned_round)] = False
    views = np.flatnonzero(compared)
    if not len(views):
        return None
    found = _in_layout(analysis.pose_files.stored[views], diagnosis.convention.layout)
    frame = diagnosis.convention.frame(diagnosis.flipped)
    found[:, :3, :3] = found[:, :3, :3] @ frame
    apart = analysis.diagnosis.world.name == "own" or np.ptp(analysis.centring.subtract, axis=0).max() > 0
    groups = analysis.scan.scene_index[views] if apart else np.zeros(len(views), dtype=np.int64)
    for group in np.unique(groups):
        own = groups == group
        fit = fit_similarity(found[own], written[views[own]], diagnosis.convention.mirrored)
        scale = fit.similarity.scale
        # A mirrored world turns the camera's handedness: compare orientations as they are left.
        if not fit.is_exact(_ANGLE, _SHARE) or (own.sum() > 1 and abs(scale - 1.0) > _SHARE):
            worst = int(views[own][int(np.argmax(fit.angles + 1e3 * fit.distances))])
            return (
                "the corrected poses are not those that were found, up to a similarity: "
                f"{analysis.scan.views[worst].stem} would be turned by {fit.angles.max():.2g}° and "
                f"moved by {100 * fit.distances.max():.2g} % of the cameras' extent against the others, "
                "which no finding says"
            )
    return None


def _in_layout(stored: Float[np.ndarray, "views 4 4"], layout: Layout) -> Float[np.ndarray, "views 4 4"]:
    """Camera-to-world matrices, written out for each layout."""
    rotation, column = stored[:, :3, :3], stored[:, :3, 3:]
    back = np.swapaxes(rotation, 1, 2)
    result = np.tile(np.eye(4), (len(stored), 1, 1))
    result[:, :3, :3] = back if layout in ("inverted", "transposed") else rotation
    position = {
        "stored": column,
        "transposed": column,
        "inverted": -back @ column,
        "unrotated": rotation @ column,
        "uninverted": -rotation @ column,
    }[layout]
    result[:, :3, 3] = position[:, :, 0]
    return result

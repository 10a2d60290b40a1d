"""Which of several readings of the poses is right?

Poses alone don't tell cameras from their mirror image, or a camera that was held on its side from one whose
axes are mislabelled. What the cameras saw does.
"""

from dataclasses import replace

import numpy as np

from objnerf.console import Progress, no_progress
from validate.analysis.convention import RIGHT
from validate.analysis.depth_mistakes import agreement_of_depths
from validate.analysis.matches import agreement_of_matches
from validate.analysis.model import Analysis
from validate.analysis.poses import read_as

#: A reading is right when its share of agreement is so much above every other's, and over this times it.
_BETTER_BY, _BETTER_TIMES = 0.2, 1.25


def choose_reading(analysis: Analysis, photo: bool, progress: Progress = no_progress) -> Analysis:
    """Decide between the readings of the poses, by depth maps or (with ``photo``) by feature matches.

    Returns:
        The analysis under the right reading; unchanged where there is one reading only, or nothing decides.
    """
    readings = analysis.diagnosis.readings
    # Cameras that look out of the scene's middle, as scans of rooms have them, are taken for mislabelled
    # ones by their poses alone: as stored is a reading, too.
    if not any(reading.is_right for reading in readings):
        readings = (*readings, RIGHT)
    if len(readings) < 2 or not analysis.diagnosis.known:
        return analysis
    candidates = [analysis, *(read_as(analysis, reading) for reading in readings[1:])]
    shares = agreement_of_depths(candidates)
    decided_by = "depth"
    if shares is None and photo:
        shares, decided_by = agreement_of_matches(candidates, progress), "photo"
    if shares is None:
        return analysis
    order = np.argsort(shares)[::-1]
    first, second = shares[order[0]], shares[order[1]]
    if first < second + _BETTER_BY or first < _BETTER_TIMES * second:
        return analysis
    chosen = candidates[int(order[0])]
    return replace(chosen, diagnosis=replace(chosen.diagnosis, decided_by=decided_by))

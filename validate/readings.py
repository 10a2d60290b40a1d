"""Which of several readings of the poses is right? Poses alone don't tell a rig from its mirror image, nor a
camera that was held on its side from one whose axes are mislabelled. What the cameras saw does."""

from dataclasses import replace

import numpy as np

from objnerf.console import Progress, no_progress
from validate.diagnosis import RIGHT, Convention
from validate.hypotheses import agreement_of_depths
from validate.survey import Survey, diagnose_poses, find_centring

#: A reading is right when its share of agreement is so much above every other's, and over this times it.
_BETTER_BY, _BETTER_TIMES = 0.2, 1.25


def read_as(survey: Survey, convention: Convention) -> Survey:
    """The survey under another reading of the poses."""
    before = survey.diagnosis
    diagnosis = diagnose_poses(survey.poses, survey.scene_index, survey.n_scenes, survey.limits, convention)
    diagnosis = replace(diagnosis, readings=before.readings, decided_by=before.decided_by)
    middle = 0.5 * (survey.settings.near + survey.settings.far)
    centring = find_centring(
        diagnosis, survey.scene_index, survey.n_scenes, survey.settings.obj_scale, survey.limits, middle
    )
    return replace(survey, diagnosis=diagnosis, centring=centring, measured={})


def settle(survey: Survey, photo: bool, progress: Progress = no_progress) -> Survey:
    """Decide between the readings of the poses, by depth maps or (with ``photo``) by feature matches.

    Returns:
        The survey under the right reading; unchanged where there is one reading only, or nothing decides.
    """
    readings = survey.diagnosis.readings
    # Cameras that look out of the scene's middle, as scans of rooms have them, are taken for mislabelled
    # ones by their poses alone: as stored is a reading, too.
    if not any(reading.is_right for reading in readings):
        readings = (*readings, RIGHT)
    if len(readings) < 2 or not survey.diagnosis.known:
        return survey
    candidates = [survey, *(read_as(survey, reading) for reading in readings[1:])]
    shares = agreement_of_depths(candidates)
    decided_by = "depth"
    if shares is None and photo:
        from validate.checks.photo import agreement_of_matches

        shares, decided_by = agreement_of_matches(candidates, progress), "photo"
    if shares is None:
        return survey
    order = np.argsort(shares)[::-1]
    first, second = shares[order[0]], shares[order[1]]
    if first < second + _BETTER_BY or first < _BETTER_TIMES * second:
        return survey
    chosen = candidates[int(order[0])]
    return replace(chosen, diagnosis=replace(chosen.diagnosis, decided_by=decided_by))

"""From a scan to the convention of its poses and the place of its cameras."""

from dataclasses import replace

from validate.analysis.centring import Centring, find_centring
from validate.analysis.convention import Convention
from validate.analysis.diagnosis import Diagnosis, diagnose
from validate.analysis.lenses import resolve_lenses
from validate.analysis.model import Analysis
from validate.analysis.pose_files import PoseFiles, sort_poses
from validate.scan import DatasetScan
from validate.settings import Limits, Settings


def analyse_poses(scan: DatasetScan, settings: Settings, limits: Limits) -> Analysis:
    """Find out what is wrong with single pose files, the convention of all, and where the cameras look."""
    lenses, settings = resolve_lenses(scan, settings)
    pose_files = sort_poses(scan.views, scan.matrices, limits)
    diagnosis = _diagnose(scan, pose_files, limits)
    centring = _centre(scan, diagnosis, settings, limits)
    return Analysis(scan, settings, limits, lenses, pose_files, diagnosis, centring)


def read_as(analysis: Analysis, convention: Convention) -> Analysis:
    """The analysis under another reading of the poses."""
    before, scan = analysis.diagnosis, analysis.scan
    diagnosis = _diagnose(scan, analysis.pose_files, analysis.limits, convention)
    diagnosis = replace(diagnosis, readings=before.readings, decided_by=before.decided_by)
    centring = _centre(scan, diagnosis, analysis.settings, analysis.limits)
    return replace(analysis, diagnosis=diagnosis, centring=centring)


def _diagnose(
    scan: DatasetScan, pose_files: PoseFiles, limits: Limits, convention: Convention | None = None
) -> Diagnosis:
    """The convention of the poses that can be worked on, unless it is given."""
    return diagnose(
        pose_files.rigid,
        pose_files.valid,
        scan.scene_index,
        scan.n_scenes,
        limits.off_axis_degrees,
        limits.roll_degrees,
        convention,
    )


def _centre(scan: DatasetScan, diagnosis: Diagnosis, settings: Settings, limits: Limits) -> Centring:
    middle = 0.5 * (settings.near + settings.far)
    return find_centring(diagnosis, scan.scene_index, scan.n_scenes, settings.obj_scale, limits, middle)

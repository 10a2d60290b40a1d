"""From the poses to what pictures, masks and depth maps hold, and what depth says about the rest."""

from dataclasses import replace

import numpy as np

from objnerf.console import Progress, no_progress
from validate.analysis.depth_agreement import depths_are_poor
from validate.analysis.depth_mistakes import explain_contradictions
from validate.analysis.model import Analysis
from validate.measure.pictures import Source, gather
from validate.measure.spread import spread_evenly
from validate.workers import Workers


def measure_pictures(
    analysis: Analysis, sample: int | None, workers: Workers, progress: Progress = no_progress
) -> Analysis:
    """The analysis with measurements of the pictures: of all scenes, or of ``sample`` spread evenly.

    Raises:
        WorkError: a worker process died.
    """
    scan = analysis.scan
    opened = np.ones(len(scan.views), dtype=bool)
    if sample is not None and sample < scan.n_scenes:
        opened = np.isin(scan.scene_index, spread_evenly(np.arange(scan.n_scenes), sample))
    cards = {
        int(name.removesuffix(".json")): name
        for name in scan.dataset.scene_cards
        if name.removesuffix(".json").isascii() and name.removesuffix(".json").isdigit() and len(name) < 24
    }
    source = Source(
        scan.dataset.root,
        scan.views,
        scan.scene_index,
        cards,
        analysis.pose_files.stored,
        analysis.world_poses,
        analysis.lenses.numbers,
    )
    pictures = gather(source, opened, analysis.settings, analysis.limits, workers, progress)
    analysis = replace(analysis, pictures=pictures)
    if depths_are_poor(analysis):
        analysis = replace(analysis, depth_explanation=explain_contradictions(analysis))
    return analysis

"""Whether the world has the scale of the settings."""

import numpy as np
from jaxtyping import Float

from validate.analysis.model import Analysis


def scale_is_off(analysis: Analysis) -> bool:
    """The world has another scale than the settings: then nothing else that depends on the scale is news."""
    distances = camera_distances(analysis)
    settings = analysis.settings
    if settings.far <= settings.near:
        return False
    return bool(len(distances)) and bool(
        ((distances <= settings.near) | (distances >= settings.far)).mean() > 0.5
    )


def camera_distances(analysis: Analysis) -> Float[np.ndarray, " usable"]:
    """Distances of the usable cameras from the scene's centre."""
    return np.linalg.norm(analysis.world_poses[analysis.diagnosis.usable][:, :3, 3], axis=1)

"""Object volumes: the model of the recipes ``tiny`` and ``fast``. Begin reading in ``model``."""

from objnerf.models.volumes.code import VolumesCode, VolumesRendering
from objnerf.models.volumes.model import ObjectVolumes

__all__ = ["ObjectVolumes", "VolumesCode", "VolumesRendering"]

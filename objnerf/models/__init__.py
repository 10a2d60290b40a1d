"""Scene models: images in, slots out, slots rendered. ``build_model`` makes the one a recipe asks for."""

from objnerf.dataset.card import SceneScale
from objnerf.models.config import ModelConfig, UorfConfig, VolumesConfig
from objnerf.models.scene import SceneCode, SceneModel
from objnerf.models.uorf import UORF

__all__ = [
    "UORF",
    "ModelConfig",
    "SceneCode",
    "SceneModel",
    "UorfConfig",
    "VolumesConfig",
    "build_model",
]


def build_model(config: ModelConfig, geometry: SceneScale) -> SceneModel:
    """The model that a recipe's ``model`` section describes, freshly initialised.

    Args:
        config: the section; its ``kind`` picks the class.
        geometry: near, far, scales and lens of the dataset.
    """
    if isinstance(config, VolumesConfig):
        from objnerf.models.volumes import ObjectVolumes

        return ObjectVolumes(config, geometry)
    return UORF(config, geometry)

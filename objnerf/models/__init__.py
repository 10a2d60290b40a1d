"""Scene models: images in, slots out, slots rendered. ``build_model`` makes the one a recipe asks for."""

from objnerf.models.config import ModelConfig, PlacesConfig, UorfConfig
from objnerf.models.scene import UORF, SceneCode, SceneGeometry, SceneModel

__all__ = [
    "UORF",
    "ModelConfig",
    "PlacesConfig",
    "SceneCode",
    "SceneGeometry",
    "SceneModel",
    "UorfConfig",
    "build_model",
]


def build_model(config: ModelConfig, geometry: SceneGeometry) -> SceneModel:
    """The model that a recipe's ``model`` section describes, freshly initialised.

    Args:
        config: the section; its ``kind`` picks the class.
        geometry: near, far, scales and lens of the dataset.
    """
    if isinstance(config, PlacesConfig):
        from objnerf.models.places import Places

        return Places(config, geometry)
    return UORF(config, geometry)

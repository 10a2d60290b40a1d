"""objnerf: object radiance fields, from the data generator to the trained model.

The names below are the library's public face. They are loaded when they are first used (PEP 562), so that
importing this package loads neither torch nor Blender, nor even numpy:

>>> import objnerf
>>> dataset = objnerf.open_dataset("tests/data/blocks")
>>> len(dataset.scenes), dataset.n_views
(3, 12)

``docs/python.md`` shows each of them at work. What needs an extra that is not installed raises an
``ImportError`` that names it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from objnerf.version import __version__ as __version__

if TYPE_CHECKING:
    from generation.api import AssetFolders, ScenePlan, compose_scene, generate, place_object, render_scene
    from objnerf.api import evaluate, load_model, render_view, train
    from objnerf.dataset import Dataset, SceneScale, open_dataset
    from objnerf.dataset.convert import convert
    from objnerf.dataset.torch import SceneDataset
    from objnerf.errors import InputError, WorkError
    from validate import run as validate

__all__ = [
    "AssetFolders",
    "Dataset",
    "InputError",
    "SceneDataset",
    "ScenePlan",
    "SceneScale",
    "WorkError",
    "compose_scene",
    "convert",
    "evaluate",
    "generate",
    "load_model",
    "open_dataset",
    "place_object",
    "render_scene",
    "render_view",
    "train",
    "validate",
]

#: Where each name of the public face comes from: a module, and the name there where it is another one.
_HOME = {
    "AssetFolders": "generation.api",
    "Dataset": "objnerf.dataset",
    "InputError": "objnerf.errors",
    "SceneDataset": "objnerf.dataset.torch",
    "ScenePlan": "generation.api",
    "SceneScale": "objnerf.dataset",
    "WorkError": "objnerf.errors",
    "compose_scene": "generation.api",
    "convert": "objnerf.dataset.convert",
    "evaluate": "objnerf.api",
    "generate": "generation.api",
    "load_model": "objnerf.api",
    "open_dataset": "objnerf.dataset",
    "place_object": "generation.api",
    "render_scene": "generation.api",
    "render_view": "objnerf.api",
    "train": "objnerf.api",
    "validate": "validate:run",
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module, _, attribute = home.partition(":")
        found = getattr(import_module(module), attribute or name)
    except ModuleNotFoundError as error:
        from objnerf.extras import missing_extra

        missing = missing_extra(error, f"objnerf.{name}")
        if missing is None:
            raise
        raise missing from error
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

"""The live viewer: a dataset's scenes, or what a model made of them, in the browser (extra ``viewer``)."""

from objnerf.viewer.open import open_viewer

__all__ = ["open_viewer"]

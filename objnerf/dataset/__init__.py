"""The on-disk dataset format: names, cameras, index, files and cards. Needs neither torch nor bpy."""

from objnerf.dataset.cameras import REFERENCE_FOCAL_RATIO, Intrinsics, Pinhole
from objnerf.dataset.card import DatasetCard, SceneCard, SceneScale, read_card, write_card
from objnerf.dataset.index import Dataset, Scene, View, open_dataset, scan_dataset
from objnerf.dataset.objects import SceneObjects, read_objects

__all__ = [
    "REFERENCE_FOCAL_RATIO",
    "Dataset",
    "DatasetCard",
    "Intrinsics",
    "Pinhole",
    "Scene",
    "SceneCard",
    "SceneObjects",
    "SceneScale",
    "View",
    "open_dataset",
    "read_card",
    "read_objects",
    "scan_dataset",
    "write_card",
]

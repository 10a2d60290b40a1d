"""COCO's annotations: visible and amodal instance masks as RLE, categories, panoptic segmentation.

``images/``, ``depths/``, and in ``annotations/`` ``instances_{split}.json``,
``instances_amodal_{split}.json`` and ``panoptic_{split}.json`` with its PNGs in ``panoptic_{split}/``
(https://cocodataset.org/#format-data). An image also has ``scene``, ``view``, ``world_from_camera`` (4x4,
OpenCV axes) and ``intrinsics`` (fx, fy, cx, cy in pixels, integer pixel centres), which programs that do not
know them pass over. Written only.
"""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Bool, Integer, UInt8
from PIL import Image

from objnerf.dataset import names
from objnerf.dataset.convert.annotations import SceneAnnotations, scene_annotations
from objnerf.dataset.convert.posed import PosedScenes, PosedView, Progress, counted, pixels, put, put_png
from objnerf.dataset.convert.sidecars import left_out, write_sidecars
from objnerf.errors import InputError

_BACKGROUND = "background"
Entry = dict[str, Any]


def write(posed: PosedScenes, folder: Path, progress: Progress) -> list[str]:
    """Write images and annotations; returns what COCO has no place for. Needs the extra publish.

    Raises:
        InputError: no view has a mask.
    """
    from pycocotools import mask as encoder

    if not any(names.MASK_SUFFIX in view.companions for view in posed.views):
        raise InputError("COCO's annotations are made from instance masks, and none of the views has one")
    split = "all" if posed.card is None or posed.card.split is None else posed.card.split
    panoptic_folder = folder / "annotations" / f"panoptic_{split}"
    for path in (folder / "images", panoptic_folder):
        path.mkdir(parents=True)
    made = _Annotations(encoder)
    annotations = SceneAnnotations({}, {}, {})
    for index, scene, number, view in counted(posed, progress):
        if number == 0:
            annotations = scene_annotations(posed, scene)
        source = posed.scenes[scene].views[number].stem
        stem = (
            view.stem if posed.keep_stems else names.make_view_stem(index, scene, number, len(posed.scenes))
        )
        put_png(view.image, folder / "images" / f"{stem}.png")
        image = _image(posed, view, index + 1, stem, scene, number)
        if names.DEPTH_SUFFIX in view.companions:
            (folder / "depths").mkdir(exist_ok=True)
            put(view.companions[names.DEPTH_SUFFIX], folder / "depths" / f"{stem}.npy")
            image["depth_file_name"] = f"{stem}.npy"
        made.images.append(image)
        for label, mask in sorted(view.amodal.items()):
            made.add_amodal(image, annotations, source, label, pixels(mask)[..., 0] >= 128)
        if source in annotations.numbers:
            segments = made.add_visible(image, annotations, source)
            path = panoptic_folder / f"{stem}.png"
            Image.fromarray(_panoptic_colours(segments)).save(path, format="PNG")
    for name, content in made.files(posed).items():
        path = folder / "annotations" / f"{name}_{split}.json"
        path.write_text(json.dumps(content), encoding="utf-8")
    write_sidecars(posed, folder)
    return left_out(posed, {names.MASK_SUFFIX, names.DEPTH_SUFFIX}, amodal=True)


class _Annotations:
    """The annotations of all images, gathered view by view."""

    def __init__(self, encoder: ModuleType) -> None:
        self._encoder = encoder
        self.images: list[Entry] = []
        self._visible: list[Entry] = []
        self._amodal: list[Entry] = []
        self._panoptic: list[Entry] = []
        self._categories: set[str] = set()

    def add_visible(
        self, image: Entry, annotations: SceneAnnotations, source: str
    ) -> Integer[np.ndarray, "height width"]:
        """Add an annotation a visible object, and the panoptic one; returns each pixel's segment."""
        numbers = annotations.numbers[source]
        # 0 means "not labelled" in panoptic PNGs, and the background is labelled.
        segments = numbers + 1
        infos = []
        for id_ in np.unique(segments).tolist():
            region = self._region(segments == id_)
            category = annotations.category(id_ - 1) if id_ > 1 else _BACKGROUND
            if id_ > 1:
                self._add(self._visible, image, annotations, source, id_ - 1, region)
            infos.append({"id": id_, "category": category, "iscrowd": 0} | region)
        for info in infos:
            del info["segmentation"]
        name = f"{Path(image['file_name']).stem}.png"
        self._panoptic.append({"image_id": image["id"], "file_name": name, "segments_info": infos})
        return segments

    def add_amodal(
        self,
        image: Entry,
        annotations: SceneAnnotations,
        source: str,
        label: int,
        mask: Bool[np.ndarray, "height width"],
    ) -> None:
        """Add the whole silhouette of an object."""
        if mask.any():
            self._add(self._amodal, image, annotations, source, label, self._region(mask))

    def files(self, posed: PosedScenes) -> dict[str, Entry]:
        """The contents of the annotation files, by their names."""
        things = sorted(self._categories)
        ids = {name: number for number, name in enumerate((*things, _BACKGROUND), start=1)}
        categories = [{"id": ids[name], "name": name, "supercategory": "object"} for name in things]
        assets = () if posed.card is None else posed.card.assets or ()
        licences = sorted({asset.licence for asset in assets})
        shared = {
            "info": {"description": f"{len(posed.scenes)} scenes of posed views, converted by objnerf"},
            "licenses": [
                {"id": n, "name": f"assets shown: {name}"} for n, name in enumerate(licences, start=1)
            ],
            "images": self.images,
        }
        files: dict[str, Entry] = {}
        for name, entries in (("instances", self._visible), ("instances_amodal", self._amodal)):
            if name == "instances" or entries:
                numbered = [_numbered(entry, n, ids) for n, entry in enumerate(entries, start=1)]
                files[name] = shared | {"categories": categories, "annotations": numbered}
        for annotation in self._panoptic:
            annotation["segments_info"] = [_categorised(info, ids) for info in annotation["segments_info"]]
        both = [category | {"isthing": 1} for category in categories]
        both.append({"id": ids[_BACKGROUND], "name": _BACKGROUND, "supercategory": "stuff", "isthing": 0})
        files["panoptic"] = shared | {"categories": both, "annotations": self._panoptic}
        return files

    def _add(
        self,
        entries: list[Entry],
        image: Entry,
        annotations: SceneAnnotations,
        source: str,
        label: int,
        region: Entry,
    ) -> None:
        category = annotations.category(label)
        self._categories.add(category)
        entry = {"image_id": image["id"], "category": category, "iscrowd": 0, "object": label} | region
        share = annotations.visible.get((source, label))
        if share is not None:
            entry["visible_share"] = share
        entries.append(entry)

    def _region(self, mask: Bool[np.ndarray, "height width"]) -> Entry:
        """A mask as compressed RLE, with its area in pixels and its box (x, y, width, height)."""
        rle = self._encoder.encode(np.asfortranarray(mask, dtype=np.uint8))
        return {
            "segmentation": {
                "size": [int(side) for side in rle["size"]],
                "counts": rle["counts"].decode("ascii"),
            },
            "area": int(self._encoder.area(rle)),
            "bbox": [float(value) for value in self._encoder.toBbox(rle)],
        }


def _numbered(entry: Entry, id_: int, ids: dict[str, int]) -> Entry:
    return {"id": id_} | _categorised(entry, ids)


def _categorised(entry: Entry, ids: dict[str, int]) -> Entry:
    """An entry with its category's id in place of its name: ids are known when all names are."""
    rest = {key: value for key, value in entry.items() if key != "category"}
    return rest | {"category_id": ids[entry["category"]]}


def _image(posed: PosedScenes, view: PosedView, id_: int, stem: str, scene: int, number: int) -> Entry:
    camera = posed.intrinsics_of(view)
    return {
        "id": id_,
        "file_name": f"{stem}.png",
        "width": camera.width,
        "height": camera.height,
        "scene": scene,
        "view": number,
        "world_from_camera": view.world_from_camera.tolist(),
        "intrinsics": [camera.fx, camera.fy, camera.cx, camera.cy],
    }


def _panoptic_colours(segments: Integer[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width 3"]:
    """Ids as COCO's panoptic PNGs have them: R + 256 G + 256² B."""
    return np.stack([segments & 255, (segments >> 8) & 255, segments >> 16], axis=-1).astype(np.uint8)

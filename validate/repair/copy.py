"""Write a fixed copy of a dataset. The input is only read, never touched."""

import json
import os
import re
import shutil
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from objnerf.console import Progress, no_progress
from objnerf.dataset import files, names
from objnerf.dataset.cameras import Pinhole, camera_rays
from objnerf.dataset.card import (
    CARD_NAME,
    CONVENTIONS,
    FORMAT_VERSION,
    SCENE_FOLDER,
    DatasetCard,
    read_scene_card,
    write_card,
)
from objnerf.dataset.folders import atomic_folder
from objnerf.dataset.untrusted import read_json
from objnerf.errors import InputError, ObjnerfError, WorkError
from validate.analysis.labels import relabelling
from validate.analysis.model import Analysis
from validate.analysis.pose_files import Fault
from validate.checks.files import misnamed_views
from validate.measure.geometry import azimuth_rotations
from validate.measure.pictures import READ
from validate.read import read_matrix_text
from validate.repair.proof import unproven
from validate.result import Repair, Report
from validate.settings import OPTION

_SCENE_TOKEN = re.compile(r"sc(?=\d)")

#: Faults of single pose files that are fixed.
_FIXABLE = (Fault.BOTTOM, Fault.WHOLE_TRANSPOSED, Fault.SCALED, Fault.MIRRORED, Fault.NOT_ROTATION)


class _Refused(Exception):
    """A copy that did not prove itself; the message says why."""


def repair(
    analysis: Analysis,
    report: Report,
    out: str | os.PathLike[str],
    verify: Callable[[Path], Report],
    progress: Progress = no_progress,
) -> Repair:
    """Write a fixed copy of the dataset.

    Fixes conventions of axes, hand, inversion, transposition, up and centring; scale, mirroring and last rows
    of single matrices; scene ids and their widths; transparency and odd picture modes; ray lengths stored as
    depth; masks whose background is not the second lowest grey level; missing or wrong azimuth files; stray
    files. Writes the suggested settings into ``dataset.yaml``.

    The copy has to prove itself, else nothing is written and ``refused`` says why: its poses are the cameras
    that were found, up to a similarity of the world and what findings name, and validating it gives no new
    error.

    Args:
        analysis: with pictures.
        report: what was found in it.
        out: a folder that is not there yet, or is empty, outside the dataset.
        verify: validates a folder as ``report`` was made.
    Raises:
        InputError: ``out`` cannot be used.
        WorkError: writing failed.
    """
    if not analysis.scan.views:
        raise InputError(
            f"{analysis.scan.dataset.root}: no image has a scene id in its name, so that there is nothing "
            "to copy; rename the views first, as in 00011_sc0002_img3.png"
        )
    target = Path(out)
    _refuse_unusable(analysis.scan.dataset.root, target)
    if analysis.diagnosis.is_undecided:
        return Repair(
            target,
            refused="the poses alone leave two readings that are mirror images of each other, and one of "
            "them is wrong; use --photo, which compares poses and images, or add depth maps",
        )
    try:
        # Built beside its place and renamed at the end: a copy that is there is whole.
        with atomic_folder(target) as building:
            job = _Job(analysis, report, building, Repair(target))
            problem = unproven(analysis, job.poses, job.excused)
            if problem is None:
                job.write(progress)
                problem = _new_errors(report, verify(building))
            if problem is not None:
                raise _Refused(problem)
    except _Refused as refused:
        return Repair(target, refused=str(refused))
    except OSError as error:
        raise WorkError(f"{target}: the fixed copy cannot be written ({error.strerror or error})") from error
    return job.outcome


def _new_errors(before: Report, after: Report) -> str | None:
    """Errors that the copy has and the dataset had not; those that were held back there are not new."""
    known = {finding.id for finding in before.errors} | set(before.held_back)
    new = [finding for finding in after.errors if finding.id not in known]
    if not new:
        return None
    return f"it would have an error that the dataset has not: {new[0].id}, {new[0].message}"


def _refuse_unusable(root: Path, target: Path) -> None:
    inside, source = target.resolve(), root.resolve()
    if inside == source or source in inside.parents:
        raise InputError(
            f"{target}: the fixed copy must lie outside the dataset {root}, which is never touched"
        )
    if target.exists() and not target.is_dir():
        raise InputError(f"{target}: expected a folder to write the fixed copy to, found a file")
    try:
        if target.is_dir() and any(target.iterdir()):
            raise InputError(
                f"{target}: expected a new or empty folder for the fixed copy, found files in it"
            )
    except OSError as error:
        raise InputError(f"{target}: the folder cannot be read ({error.strerror or error})") from error


def _conversions(analysis: Analysis, view: int) -> list[str]:
    """What is done to a view's pose, in words that are counted."""
    diagnosis = analysis.diagnosis
    convention = diagnosis.single.get(view, diagnosis.convention)
    flipped = diagnosis.flipped and view not in diagnosis.single
    words = []
    if convention.layout == "inverted":
        words.append("poses inverted: they were world-to-camera")
    if convention.layout == "transposed":
        words.append("rotations transposed")
    if convention.layout in ("unrotated", "uninverted"):
        words.append("positions turned from the camera's frame into the world's")
    if convention.mirrored:
        words.append("poses mirrored, because their world was left-handed")
    if not np.array_equal(convention.frame(flipped), np.eye(3)):
        words.append(f"camera axes changed to OpenCV's (were: {convention.axis_words(flipped)})")
    scene = analysis.scan.scene_index[view]
    if not np.array_equal(diagnosis.world.turns[scene], np.eye(3)):
        name = diagnosis.world.name
        was = f"was {name}" if name not in ("tilted", "own") else f"was {diagnosis.world.tilt:.0f}° off"
        words.append(f"poses turned so that the world's up is z ({was})")
    if np.abs(analysis.centring.subtract[scene]).max() > 0:
        words.append("camera positions shifted so that the cameras look at the origin")
    return words


class _Job:
    """One repair: the analysis, the place, and the tally of what was changed."""

    def __init__(self, analysis: Analysis, report: Report, building: Path, outcome: Repair) -> None:
        self.analysis = analysis
        self.report = report
        self.building = building
        self.outcome = outcome
        self.tally: dict[str, int] = {}
        self.scene_ids = {old: new for new, old in enumerate(analysis.scan.dataset.scenes)}
        self.stems = self._new_stems()
        self.described = self._described_poses()
        self.poses = self._new_poses()
        self.labels = relabelling(analysis) if analysis.pictures is not None else {}

    @property
    def excused(self) -> Bool[np.ndarray, " views"]:
        """Views whose pose is taken from elsewhere, as findings of their own say."""
        excused = np.zeros(len(self.analysis.scan.views), dtype=bool)
        excused[list(self.described)] = True
        return excused

    def _new_poses(self) -> Float[np.ndarray, "views 4 4"]:
        """What is written for each view; nan where the file is copied as it is.

        Views that don't go with the others are moved with the world as well: they are wrong, or right, as
        they were.
        """
        poses = self.analysis.moved_poses.copy()
        for view, pose in self.described.items():
            poses[view] = pose
        return poses

    def write(self, progress: Progress) -> None:
        analysis = self.analysis
        total = len(analysis.scan.views)
        for view in range(total):
            self._write_view(view)
            progress(view + 1, total, "writing the fixed copy")
        for scene, path in analysis.scan.dataset.movements.items():
            if scene in self.scene_ids:
                self._copy(path, names.movement_name(self.scene_ids[scene]))
        self._write_scene_cards()
        self._write_card()
        self._tell()

    # Names

    def _new_stems(self) -> list[str]:
        """New stems of all views: unchanged where names are sound."""
        analysis = self.analysis
        n = analysis.scan.n_scenes
        digits = names.scene_digits(n)
        sound = all(old == new for old, new in self.scene_ids.items()) and all(
            view.name.digits == digits for view in analysis.scan.views
        )
        stems = []
        for view in analysis.scan.views:
            clean = not _SCENE_TOKEN.search(view.name.prefix + "|" + view.name.suffix)
            if sound and clean:
                stems.append(view.stem)
                continue
            prefix = _SCENE_TOKEN.sub("s", view.name.prefix)
            suffix = _SCENE_TOKEN.sub("s", view.name.suffix)
            stems.append(f"{prefix}sc{self.scene_ids[view.scene]:0{digits}d}{suffix}")
        if len(set(stems)) < len(stems):
            # Names that differed only in what was fixed: number them all.
            stems = []
            counted: dict[int, int] = {}
            for index, view in enumerate(analysis.scan.views):
                number = counted[view.scene] = counted.get(view.scene, -1) + 1
                stems.append(names.make_view_stem(index, self.scene_ids[view.scene], number, n))
        return stems

    # Views

    def _write_view(self, view: int) -> None:
        source = self.analysis.scan.views[view]
        stem = self.stems[view]
        if stem != source.stem:
            self._count("views renamed, so that scene ids are unique, run from 0 and have one width")
        self._write_image(view, stem)
        pose = self._write_pose(view, stem)
        self._write_azimuth(view, stem, pose)
        self._write_depth(view, stem)
        self._write_intrinsics(view, stem)
        self._write_mask(view, stem)
        written = {names.POSE_SUFFIX, names.AZIMUTH_SUFFIX, names.DEPTH_SUFFIX}
        written |= {names.INTRINSICS_SUFFIX, names.MASK_SUFFIX}
        for suffix in sorted(source.companions - written):
            path = source.companion(suffix)
            if path is not None:
                self._copy(path, stem + suffix)

    @cached_property
    def _opaque_alpha_stays(self) -> bool:
        """Whether no picture is stored as RGB, beside which an alpha channel would be odd."""
        pictures = self.analysis.pictures
        if pictures is None or not self.analysis.all_are_opaque_rgba:
            return False
        rows = pictures.rows[pictures.rows["image"] == READ]
        plain = not (rows["alpha"] < 255).any() and not (rows["bits"] == 16).any()
        return plain and set(pictures.modes.values()) == {"RGBA PNG"}

    def _write_image(self, view: int, stem: str) -> None:
        pictures = self.analysis.pictures
        path = self.analysis.scan.views[view].image_path
        if pictures is None or pictures.rows["image"][view] != READ:
            self._copy(path, f"{stem}.png")
            return
        clear = pictures.rows["alpha"][view] < 255
        deep = pictures.rows["bits"][view] == 16
        mode = pictures.modes.get(view, "RGB PNG")
        odd = mode != "RGB PNG" and not (mode == "RGBA PNG" and self._opaque_alpha_stays)
        if not (clear or deep or odd):
            self._copy(path, f"{stem}.png")
            return
        files.write_image(self.building / f"{stem}.png", files.read_image(path))
        self._count("transparent images flattened on white" if clear else "images stored as 8-bit RGB")

    def _write_pose(self, view: int, stem: str) -> Float[np.ndarray, "4 4"] | None:
        """Write the pose; what was written, when it can be computed with."""
        analysis = self.analysis
        path = analysis.scan.views[view].pose_path
        if path is None:
            return None
        pose = self.poses[view] if np.isfinite(self.poses[view]).all() else None
        if view in self.described:
            self._count("poses taken from the scenes' descriptions, which they differed from")
        elif pose is None or np.array_equal(pose, analysis.pose_files.stored[view]):
            self._copy(path, stem + names.POSE_SUFFIX)
            return pose
        assert pose is not None
        files.write_matrix(self.building / (stem + names.POSE_SUFFIX), pose)
        fault = Fault(int(analysis.pose_files.fault[view]))
        if fault in _FIXABLE:
            words = {
                Fault.BOTTOM: "last rows of poses set to 0 0 0 1",
                Fault.WHOLE_TRANSPOSED: "poses transposed as a whole",
                Fault.SCALED: "rotations freed from their scale",
                Fault.MIRRORED: "mirrored rotations made right-handed",
                Fault.NOT_ROTATION: "rotation blocks replaced by the nearest rotation",
            }
            self._count(words[fault])
        for conversion in _conversions(analysis, view):
            self._count(conversion)
        return pose

    def _write_azimuth(self, view: int, stem: str, pose: Float[np.ndarray, "4 4"] | None) -> None:
        path = self.analysis.scan.views[view].azimuth_path
        name = stem + names.AZIMUTH_SUFFIX
        if pose is not None:
            rotation, defined = azimuth_rotations(pose[None])
            if defined[0]:
                if path is not None:
                    stored = read_matrix_text(path, 3, 3).values
                    # Half a step of a file with 5 digits.
                    if stored is not None and np.abs(stored - rotation[0]).max() < 1e-4:
                        self._copy(path, name)
                        return
                files.write_matrix(self.building / name, rotation[0])
                self._count("azimuth files written from the poses")
                return
        if path is not None:
            self._copy(path, name)

    def _write_depth(self, view: int, stem: str) -> None:
        source = self.analysis.scan.views[view]
        path = source.depth_path
        if path is None:
            return
        name = stem + names.DEPTH_SUFFIX
        pictures = self.analysis.pictures
        row = pictures.rows[view] if pictures is not None else None
        if row is None or row["depth"] != READ or not row["depth_high"] > 0:
            self._copy(path, name)
            return
        explanation = self.analysis.depth_explanation
        loose = row["depth_dims"][0] == 2 or not row["depth_float32"]
        if explanation is None and not loose:
            self._copy(path, name)
            return
        depth = source.depth().astype(np.float64)
        if explanation is not None and explanation.kind == "ray":
            height, width = depth.shape
            full = camera_rays(self.analysis.lenses.intrinsics(view, width, height))
            depth = depth / np.linalg.norm(full, axis=-1)
            self._count("depth maps turned from ray length into planar depth")
        elif explanation is not None and explanation.is_unit and explanation.factor is not None:
            depth = depth * explanation.factor
            self._count(f"depth maps multiplied by {explanation.factor:g}")
        elif not loose:
            self._copy(path, name)
            return
        if loose:
            self._count("depth maps stored as float32 H×W×1")
        files.write_depth(self.building / name, depth)

    def _write_intrinsics(self, view: int, stem: str) -> None:
        """The view's own lens, changed as the dataset's is where depth says that focal lengths are wrong."""
        path = self.analysis.scan.views[view].intrinsics_path
        if path is None:
            return
        if self.analysis.settings.source.get("focal_ratio") == OPTION:
            self._count("views' own intrinsics left out: --focal-ratio was to hold for all views")
            return
        name = stem + names.INTRINSICS_SUFFIX
        explanation = self.analysis.depth_explanation
        if explanation is None or explanation.focal_ratio is None or not self.analysis.lenses.own[view]:
            self._copy(path, name)
            return
        old = self.analysis.lenses.pinhole(view)
        pairs = zip(old.focal_ratio, explanation.focal_ratio, self.analysis.settings.focal_ratio, strict=True)
        x, y = (own * better / usual for own, better, usual in pairs)
        files.write_pinhole(self.building / name, Pinhole((x, y), old.principal_offset))
        self._count("views' own focal lengths corrected")

    def _write_mask(self, view: int, stem: str) -> None:
        path = self.analysis.scan.views[view].mask_path
        if path is None:
            return
        name = stem + names.MASK_SUFFIX
        plan = self.labels.get(view)
        if plan is None or all(old == new for old, new in plan.items()):
            self._copy(path, name)
            return
        pixels = files.read_mask(path).astype(np.uint32)
        packed = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
        old, inverse = np.unique(packed, return_inverse=True)
        new = np.array([plan.get(int(colour), int(colour)) for colour in old], dtype=np.uint32)
        relabelled = new[inverse.reshape(packed.shape)]
        channels = np.stack([relabelled >> 16 & 255, relabelled >> 8 & 255, relabelled & 255], axis=-1)
        files.write_image(self.building / name, channels.astype(np.uint8))
        self._count("masks relabelled, so that the second lowest grey level is the background")

    # Descriptions

    def _described_poses(self) -> dict[int, Float[np.ndarray, "4 4"]]:
        """Poses from ``scenes/*.json`` for the views whose pose file differs from them."""
        analysis = self.analysis
        if analysis.pictures is None or analysis.world_is_moved:
            # Descriptions are of the world as it was.
            return {}
        described: dict[int, Float[np.ndarray, "4 4"]] = {}
        for scene, note in analysis.pictures.scene_notes.items():
            views = [v for v, error in note.pose_errors.items() if error > analysis.limits.meta_pose]
            if note.problem is not None or not views:
                continue
            card = read_scene_card(self._scene_card_path(scene))
            by_stem = {view.stem: view.matrix() for view in card.views}
            described |= {view: by_stem[analysis.scan.views[view].stem] for view in views}
        return described

    def _scene_card_path(self, scene: int) -> Path:
        for name in self.analysis.scan.dataset.scene_cards:
            if name.removesuffix(".json").isdecimal() and int(name.removesuffix(".json")) == scene:
                return self.analysis.scan.dataset.root / SCENE_FOLDER / name
        raise WorkError(f"scene {scene} has no description")

    def _write_scene_cards(self) -> None:
        analysis = self.analysis
        if not analysis.scan.dataset.scene_cards:
            return
        if analysis.world_is_moved:
            self.outcome.changes.append(
                f"{SCENE_FOLDER}/ left out: it describes the world as it was before it was turned or shifted"
            )
            return
        new_stem = {view.stem: stem for view, stem in zip(analysis.scan.views, self.stems, strict=True)}
        digits = names.scene_digits(analysis.scan.n_scenes)
        for old, new in self.scene_ids.items():
            try:
                path = self._scene_card_path(old)
                content = read_json(path)
                for view in content["views"]:
                    view["stem"] = new_stem.get(view["stem"], view["stem"])
                content["scene"] = new
            except (ObjnerfError, OSError, ValueError, KeyError, TypeError):
                continue
            target = self.building / SCENE_FOLDER / f"{new:0{digits}d}.json"
            if old == new:
                self._copy(path, f"{SCENE_FOLDER}/{target.name}")
            else:
                files.write_text(target, json.dumps(content, indent=1) + "\n")

    def _write_card(self) -> None:
        """``dataset.yaml`` with the suggested settings."""
        analysis = self.analysis
        values = (
            analysis.scan.card.model_dump(mode="python", exclude_none=True)
            if analysis.scan.card is not None
            else {}
        )
        values.setdefault("format_version", FORMAT_VERSION)
        values["conventions"] = {**CONVENTIONS, **(values.get("conventions") or {})}
        values["scenes"] = analysis.scan.n_scenes
        counts = {block.stop - block.start for block in analysis.scan.scene_blocks.values()}
        if len(counts) == 1:
            values["views_per_scene"] = counts.pop()
        if analysis.pictures is not None:
            read = analysis.pictures.rows[analysis.pictures.rows["image"] == READ]
            sizes = {(int(row["width"]), int(row["height"])) for row in read}
            if len(sizes) == 1:
                values["image_size"] = sizes.pop()
        for name, suggestion in self.report.suggested.items():
            values[name] = suggestion.value
        write_card(self.building, DatasetCard.model_validate(values))
        written = ", ".join(self.report.suggested) or "no settings"
        self.outcome.changes.append(f"{CARD_NAME} written with {written}")

    # Book-keeping

    def _copy(self, source: Path, name: str) -> None:
        target = self.building / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not source.is_file():
            # A folder, a dead link or a pipe in a file's place: found, reported, and not copied.
            self._count("broken entries left out", left=True)
            return
        try:
            shutil.copyfile(source, target)
        except PermissionError:
            self._count("files left out that may not be read", left=True)

    def _count(self, words: str, left: bool = False) -> None:
        key = ("!" if left else "") + words
        self.tally[key] = self.tally.get(key, 0) + 1

    def _tell(self) -> None:
        """Turn the tally into words, and list what remains."""
        dataset = self.analysis.scan.dataset
        changes = [f"{count} {words}" for words, count in self.tally.items() if not words.startswith("!")]
        self.outcome.left += [
            f"{count} {words[1:]}" for words, count in self.tally.items() if words.startswith("!")
        ]
        misnamed = misnamed_views(self.analysis)
        if misnamed:
            self.outcome.left.append(f"{len(misnamed)} views left out whose names hold no scene id")
        dropped = len(dataset.strays) - len(misnamed) + len(self.analysis.scan.extras)
        if dropped > 0:
            changes.append(f"{dropped} images left out that are not views")
        if dataset.orphans:
            changes.append(f"{len(dataset.orphans)} files left out that belong to no view")
        self.outcome.changes[:0] = changes
        self.outcome.left += [
            f"{finding.id}: {finding.message}" for finding in self.report.findings if not finding.fixable
        ]

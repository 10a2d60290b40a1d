"""Write a mended copy of a dataset. The input is only read, never touched."""

import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

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
from objnerf.errors import InputError, ObjnerfError, WorkError
from validate.checks.files import misnamed_views
from validate.findings import Report
from validate.geometry import azimuth_rotations
from validate.pictures import READ
from validate.reading import read_matrix_text
from validate.settings import OPTION
from validate.survey import Fault, Survey

_SCENE_TOKEN = re.compile(r"sc(?=\d)")

#: Faults of single pose files that are mended.
_MENDABLE = (Fault.BOTTOM, Fault.WHOLE_TRANSPOSED, Fault.SCALED, Fault.MIRRORED, Fault.NOT_ROTATION)


@dataclass
class Repair:
    """What was done.

    Attributes:
        out: the mended copy.
        changes: what was changed, in words with counts.
        left: what was found and could not be mended.
    """

    out: Path
    changes: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def text(self) -> str:
        """For people: a line a change."""
        lines = [f"mended copy: {self.out}"]
        lines += [f"  changed: {change}" for change in self.changes] or ["  nothing had to be changed"]
        lines += [f"  left as it is: {item}" for item in self.left]
        return "\n".join(lines) + "\n"


def repair(
    survey: Survey, report: Report, out: str | os.PathLike[str], progress: Progress = no_progress
) -> Repair:
    """Write a mended copy of the surveyed dataset.

    Mends conventions of axes, inversion, transposition, up and centring; scale, mirroring and last rows of
    single matrices; scene ids and their widths; transparency and odd picture modes; ray lengths stored as
    depth; missing or wrong azimuth files; stray files. Writes the suggested settings into ``dataset.yaml``.

    Args:
        survey: with pictures.
        report: what was found in it.
        out: a folder that is not there yet, or is empty, outside the dataset.
    Raises:
        InputError: ``out`` cannot be used.
        WorkError: writing failed.
    """
    if not survey.views:
        raise InputError(
            f"{survey.dataset.root}: no picture has a scene id in its name, so that there is nothing to "
            "copy; "
            "rename the views first, as in 00011_sc0002_img3.png"
        )
    target = Path(out)
    _refuse_unusable(survey.dataset.root, target)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Built beside its place and renamed at the end: a copy that is there is whole.
    building = Path(tempfile.mkdtemp(prefix=f".tmp-{target.name}-", dir=target.parent))
    try:
        job = _Job(survey, report, building, Repair(target))
        job.write(progress)
        os.chmod(building, 0o755)
        if target.is_dir():
            target.rmdir()
        os.replace(building, target)
    except OSError as error:
        raise WorkError(f"{target}: the mended copy cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return job.outcome


def _refuse_unusable(root: Path, target: Path) -> None:
    inside, source = target.resolve(), root.resolve()
    if inside == source or source in inside.parents:
        raise InputError(
            f"{target}: the mended copy must lie outside the dataset {root}, which is never touched"
        )
    if target.exists() and not target.is_dir():
        raise InputError(f"{target}: expected a folder to write the mended copy to, found a file")
    try:
        if target.is_dir() and any(target.iterdir()):
            raise InputError(
                f"{target}: expected a new or empty folder for the mended copy, found files in it"
            )
    except OSError as error:
        raise InputError(f"{target}: the folder cannot be read ({error.strerror or error})") from error


class _Job:
    """One repair: the survey, the place, and the tally of what was changed."""

    def __init__(self, survey: Survey, report: Report, building: Path, outcome: Repair) -> None:
        self.survey = survey
        self.report = report
        self.building = building
        self.outcome = outcome
        self.tally: dict[str, int] = {}
        self.scene_ids = {old: new for new, old in enumerate(survey.dataset.scenes)}
        self.stems = self._new_stems()
        self.described = self._described_poses()

    def write(self, progress: Progress) -> None:
        survey = self.survey
        total = len(survey.views)
        for view in range(total):
            self._write_view(view)
            progress(view + 1, total, "mending")
        for scene, path in survey.dataset.movements.items():
            if scene in self.scene_ids:
                self._copy(path, names.movement_name(self.scene_ids[scene]))
        self._write_scene_cards()
        self._write_card()
        self._tell()

    # Names

    def _new_stems(self) -> list[str]:
        """New stems of all views: unchanged where names are sound."""
        survey = self.survey
        n = survey.n_scenes
        digits = names.scene_digits(n)
        sound = all(old == new for old, new in self.scene_ids.items()) and all(
            view.name.digits == digits for view in survey.views
        )
        stems = []
        for view in survey.views:
            clean = not _SCENE_TOKEN.search(view.name.prefix + "|" + view.name.suffix)
            if sound and clean:
                stems.append(view.stem)
                continue
            prefix = _SCENE_TOKEN.sub("s", view.name.prefix)
            suffix = _SCENE_TOKEN.sub("s", view.name.suffix)
            stems.append(f"{prefix}sc{self.scene_ids[view.scene]:0{digits}d}{suffix}")
        if len(set(stems)) < len(stems):
            # Names that differed only in what was mended: number them all.
            stems = []
            counted: dict[int, int] = {}
            for index, view in enumerate(survey.views):
                number = counted[view.scene] = counted.get(view.scene, -1) + 1
                stems.append(names.make_view_stem(index, self.scene_ids[view.scene], number, n))
        return stems

    # Views

    def _write_view(self, view: int) -> None:
        source = self.survey.views[view]
        stem = self.stems[view]
        if stem != source.stem:
            self._count("views renamed, so that scene ids are unique, run from 0 and have one width")
        self._write_image(view, stem)
        pose = self._write_pose(view, stem)
        self._write_azimuth(view, stem, pose)
        self._write_depth(view, stem)
        self._write_intrinsics(view, stem)
        written = {names.POSE_SUFFIX, names.AZIMUTH_SUFFIX, names.DEPTH_SUFFIX, names.INTRINSICS_SUFFIX}
        for suffix in sorted(source.companions - written):
            path = source.companion(suffix)
            if path is not None:
                self._copy(path, stem + suffix)

    def _write_image(self, view: int, stem: str) -> None:
        pictures = self.survey.pictures
        path = self.survey.views[view].image_path
        if pictures is None or pictures.rows["image"][view] != READ:
            self._copy(path, f"{stem}.png")
            return
        clear = pictures.rows["alpha"][view] < 255
        deep = pictures.rows["bits"][view] == 16
        if not (clear or deep or pictures.modes.get(view, "RGB PNG") != "RGB PNG"):
            self._copy(path, f"{stem}.png")
            return
        files.write_image(self.building / f"{stem}.png", files.read_image(path))
        self._count("transparent pictures flattened on white" if clear else "pictures stored as 8-bit RGB")

    def _write_pose(self, view: int, stem: str) -> Float[np.ndarray, "4 4"] | None:
        """Write the pose; what was written, when it can be computed with."""
        survey = self.survey
        path = survey.views[view].pose_path
        if path is None:
            return None
        usable = bool(survey.diagnosis.usable[view])
        pose = survey.world_poses[view] if usable else None
        if view in self.described:
            pose = self.described[view]
            self._count("poses taken from the scenes' descriptions, which they differed from")
        elif pose is None or np.array_equal(pose, survey.poses.stored[view]):
            self._copy(path, stem + names.POSE_SUFFIX)
            return pose
        files.write_matrix(self.building / (stem + names.POSE_SUFFIX), pose)
        fault = Fault(int(survey.poses.fault[view]))
        if fault in _MENDABLE:
            words = {
                Fault.BOTTOM: "last rows of poses set to 0 0 0 1",
                Fault.WHOLE_TRANSPOSED: "poses transposed as a whole",
                Fault.SCALED: "rotations freed from their scale",
                Fault.MIRRORED: "mirrored rotations turned right",
                Fault.NOT_ROTATION: "rotation blocks replaced by the nearest rotation",
            }
            self._count(words[fault])
        convention = survey.diagnosis.single.get(view, survey.diagnosis.convention)
        if convention.layout == "inverted":
            self._count("poses inverted: they were world-to-camera")
        if convention.layout == "transposed":
            self._count("rotations transposed")
        if convention.axes:
            self._count(f"camera axes changed to OpenCV's (were: {convention.axis_words})")
        if convention.up != "z":
            self._count(f"poses turned so that the world's up is z (was {convention.up})")
        if np.abs(survey.centring.subtract[survey.scene_index[view]]).max() > 0:
            self._count("camera positions shifted so that the cameras look at the origin")
        return pose

    def _write_azimuth(self, view: int, stem: str, pose: Float[np.ndarray, "4 4"] | None) -> None:
        path = self.survey.views[view].azimuth_path
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
        source = self.survey.views[view]
        path = source.depth_path
        if path is None:
            return
        name = stem + names.DEPTH_SUFFIX
        pictures = self.survey.pictures
        row = pictures.rows[view] if pictures is not None else None
        if row is None or row["depth"] != READ or not row["depth_high"] > 0:
            self._copy(path, name)
            return
        explanation = self.survey.depth_explanation
        loose = row["depth_dims"][0] == 2 or not row["depth_float32"]
        if explanation is None and not loose:
            self._copy(path, name)
            return
        depth = source.depth().astype(np.float64)
        if explanation is not None and explanation.kind == "ray":
            height, width = depth.shape
            full = camera_rays(self.survey.lenses.intrinsics(view, width, height))
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
        path = self.survey.views[view].intrinsics_path
        if path is None:
            return
        if self.survey.settings.source.get("focal_ratio") == OPTION:
            self._count("views' own intrinsics left out: --focal-ratio was to hold for all views")
            return
        name = stem + names.INTRINSICS_SUFFIX
        explanation = self.survey.depth_explanation
        if explanation is None or explanation.focal_ratio is None or not self.survey.lenses.own[view]:
            self._copy(path, name)
            return
        old = self.survey.lenses.pinhole(view)
        pairs = zip(old.focal_ratio, explanation.focal_ratio, self.survey.settings.focal_ratio, strict=True)
        x, y = (own * better / usual for own, better, usual in pairs)
        files.write_pinhole(self.building / name, Pinhole((x, y), old.principal_offset))
        self._count("views' own focal lengths corrected")

    # Descriptions

    def _described_poses(self) -> dict[int, Float[np.ndarray, "4 4"]]:
        """Poses from ``scenes/*.json`` for the views whose pose file differs from them."""
        survey = self.survey
        if survey.pictures is None:
            return {}
        described: dict[int, Float[np.ndarray, "4 4"]] = {}
        for scene, note in survey.pictures.scene_notes.items():
            views = [v for v, error in note.pose_errors.items() if error > survey.limits.meta_pose]
            if note.problem is not None or not views:
                continue
            card = read_scene_card(self._scene_card_path(scene))
            by_stem = {view.stem: view.matrix() for view in card.views}
            described |= {view: by_stem[survey.views[view].stem] for view in views}
        return described

    def _scene_card_path(self, scene: int) -> Path:
        for name in self.survey.dataset.scene_cards:
            if name.removesuffix(".json").isdecimal() and int(name.removesuffix(".json")) == scene:
                return self.survey.dataset.root / SCENE_FOLDER / name
        raise WorkError(f"scene {scene} has no description")

    def _write_scene_cards(self) -> None:
        survey = self.survey
        if not survey.dataset.scene_cards:
            return
        if survey.diagnosis.convention.up != "z" or np.abs(survey.centring.subtract).max() > 0:
            self.outcome.changes.append(
                f"{SCENE_FOLDER}/ left out: it describes the world as it was before it was turned or shifted"
            )
            return
        new_stem = {view.stem: stem for view, stem in zip(survey.views, self.stems, strict=True)}
        digits = names.scene_digits(survey.n_scenes)
        for old, new in self.scene_ids.items():
            try:
                path = self._scene_card_path(old)
                content = json.loads(path.read_bytes())
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
        survey = self.survey
        values = survey.card.model_dump(mode="python", exclude_none=True) if survey.card is not None else {}
        values.setdefault("format_version", FORMAT_VERSION)
        values["conventions"] = {**CONVENTIONS, **(values.get("conventions") or {})}
        values["scenes"] = survey.n_scenes
        counts = {block.stop - block.start for block in survey.scene_blocks.values()}
        if len(counts) == 1:
            values["views_per_scene"] = counts.pop()
        if survey.pictures is not None:
            read = survey.pictures.rows[survey.pictures.rows["image"] == READ]
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
        dataset = self.survey.dataset
        changes = [f"{count} {words}" for words, count in self.tally.items() if not words.startswith("!")]
        self.outcome.left += [
            f"{count} {words[1:]}" for words, count in self.tally.items() if words.startswith("!")
        ]
        misnamed = misnamed_views(self.survey)
        if misnamed:
            self.outcome.left.append(f"{len(misnamed)} views left out whose names hold no scene id")
        dropped = len(dataset.strays) - len(misnamed) + len(self.survey.extras)
        if dropped > 0:
            changes.append(f"{dropped} pictures left out that are no views")
        if dataset.orphans:
            changes.append(f"{len(dataset.orphans)} files left out that belong to no view")
        self.outcome.changes[:0] = changes
        self.outcome.left += [
            f"{finding.id}: {finding.message}" for finding in self.report.findings if not finding.mendable
        ]

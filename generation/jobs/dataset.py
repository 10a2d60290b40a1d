"""A dataset from beginning to end: check, see what is left, have it made, sum up."""

import hashlib
import importlib.util
import logging
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from generation.assets.catalogue import Catalogue, ShapeAsset, SurfaceAsset
from generation.jobs.local import LocalWorker, TimeLimit, Worker, run_tasks
from generation.jobs.tasks import AssetFolders, Result, Task, WorkerSetup
from generation.jobs.workers import ONE_A_CORE, Workers
from generation.plan.cameras import check_views
from generation.plan.plan import AssetPool, PlacementError, ScenePlan, fit_request, plan_scene
from generation.plan.request import GENERATOR_VERSION, GenerationRequest
from objnerf.console import Progress, no_progress
from objnerf.dataset.cameras import REFERENCE_FOCAL_RATIO
from objnerf.dataset.card import (
    CARD_NAME,
    CONVENTIONS,
    SCENE_FOLDER,
    AssetUse,
    DatasetCard,
    describe_validation_error,
    read_card,
    scene_card_path,
    write_card,
)
from objnerf.dataset.files import write_text
from objnerf.dataset.folders import LOCK_PREFIX, TEMPORARY_PREFIX, FolderInUse, only_writer, sweep
from objnerf.dataset.names import (
    make_view_stem,
    parse_movement_name,
    parse_view_name,
    scene_digits,
    split_companion,
)
from objnerf.dataset.untrusted import Unreadable, read_bytes
from objnerf.errors import InputError, WorkError

logger = logging.getLogger(__name__)

#: Where --plan-only writes: beside the scenes of finished datasets, never in their place.
PLAN_FOLDER = "plans"

#: At most this many scenes are shown on the contact sheet.
_SHEET_SCENES = 12


@dataclass
class Report:
    """What came of a run.

    Attributes:
        seed: of the dataset.
        made: scenes made in this run.
        planned: scenes planned and not made (`plan_only`).
        kept: scenes that were there already.
        failed: scenes that cannot be made: the last result of each.
        deaths: workers that died: the first line of each one's report.
        replans: reasons for which plans were given up.
        objects: number of objects, by scene made.
        seen: least visible share and mean visible share, by scene made.
        seconds: summed over workers, by what was done.
        memory: resident size of the worker after each scene made, bytes.
    """

    seed: int = 0
    made: int = 0
    planned: int = 0
    kept: int = 0
    failed: list[Result] = field(default_factory=list)
    deaths: list[str] = field(default_factory=list)
    replans: Counter[str] = field(default_factory=Counter)
    objects: list[int] = field(default_factory=list)
    seen: list[tuple[float, float]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    memory: list[int] = field(default_factory=list)

    def statistics(self) -> str:
        """One line for the user."""
        parts = [f"{self.made} scenes made" + (f", {self.kept} were there" if self.kept else "")]
        if self.planned:
            parts = [f"{self.planned} scenes planned"]
        if self.objects:
            parts.append(
                f"{min(self.objects)}-{max(self.objects)} objects, {np.mean(self.objects):.2f} a scene"
            )
        if self.seen:
            least, mean = np.array(self.seen).T
            parts.append(
                f"visible share of an object {mean.mean():.0%} on average, {least.min():.0%} at least"
            )
        replans = sum(self.replans.values())
        parts.append(f"{replans} plans given up" + (f" ({self._reasons()})" if replans else ""))
        if self.deaths:
            parts.append(f"{len(self.deaths)} workers died and were restarted")
        return "; ".join(parts)

    def _reasons(self) -> str:
        return ", ".join(f"{count} × {reason}" for reason, count in self.replans.most_common(3))

    def raise_failures(self) -> None:
        """Raise a `WorkError` that lists the scenes that cannot be made, if there are any."""
        if self.failed:
            raise WorkError(
                f"{len(self.failed)} scenes failed:"
                + "".join(_failure(result, self.seed) for result in self.failed)
            )

    def add(self, result: Result) -> None:
        """Count a result."""
        if result.kind == "done":
            self.made += 1
            self.objects.append(result.objects)
            self.seen.append((result.seen[0], result.seen[1]))
            self.replans.update(result.replans)
            for name, seconds in {**result.timing, "scene": result.seconds}.items():
                self.seconds[name] = self.seconds.get(name, 0.0) + seconds
            self.memory.append(result.memory)
        elif result.kind == "failed":
            self.failed.append(result)
        elif result.kind == "died":
            self.deaths.append(f"scene {result.scene}: {result.error.splitlines()[0]}")


def generate_dataset(
    request: GenerationRequest,
    out: Path,
    assets: AssetFolders | None = None,
    *,
    workers: Workers = ONE_A_CORE,
    shard: tuple[int, int] = (1, 1),
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> Report:
    """Make a dataset, or what is left of one.

    A scene is done when its JSON is there, which is written last. Scenes follow from the request alone, so
    interruptions, workers, shards and machines in any mix give the same bytes.

    Args:
        request: what to make, with as many shapes and backgrounds as there are (see `fit_request`).
        out: folder of the dataset; made when missing.
        assets: where assets lie.
        workers: how many processes render, where, and on which device.
        shard: (I, N): make every Nth scene, starting at the Ith; I counts from 1.
        overwrite: throw away another dataset of ours that is in the way.
        progress: called after every scene.
    Raises:
        InputError: the request cannot be met, `out` holds something else, or Blender does not load here or
            has no such device.
        WorkError: the disk is full, or workers do not start.
    """
    assets = assets or AssetFolders()
    request, pool = _fitted(request, assets)
    check_blender()
    if overwrite and out.is_dir():
        # Alone even where shards work side by side: nothing is pulled from under another one.
        with only_writer(out):
            remove_dataset(out)
    with _own_shard(out, shard):
        prepare_folder(out, request, pool)
        setup = WorkerSetup(request=request, assets=assets, out=out.resolve(), device=workers.device)
        report = _make_shard(setup, request, shard, workers, progress)
    if not pending_scenes(out, request, range(request.scenes)):
        # Of shards that end together one does it, alone.
        with suppress(FolderInUse), only_writer(out):
            sweep([out, *(path for path in out.iterdir() if path.is_dir())])
            write_preview(out, request)
    return report


def _fitted(request: GenerationRequest, assets: AssetFolders) -> tuple[GenerationRequest, AssetPool]:
    """The request with no more shapes and floors than there are, and these.

    Raises:
        InputError: the request cannot be met.
    """
    check_views(request.preset.cameras, request.views)
    catalogue = assets.load()
    request, notes = fit_request(request, catalogue)
    for note in notes:
        logger.warning("%s", note)
    return request, AssetPool.draw(catalogue, request)


def _shard_scenes(request: GenerationRequest, shard: tuple[int, int]) -> range:
    index, count = shard
    return range(index - 1, request.scenes, count)


def _make_shard(
    setup: WorkerSetup,
    request: GenerationRequest,
    shard: tuple[int, int],
    workers: Workers,
    progress: Progress,
) -> Report:
    """Render the scenes of a shard that are not there yet."""
    mine = _shard_scenes(request, shard)
    left = pending_scenes(setup.out, request, mine)
    report = Report(seed=request.seed, kept=len(mine) - len(left))
    progress(report.kept, len(mine), "")
    if left:
        tasks = [Task(scene=scene) for scene in left]
        with workers.ready(setup) as (start, count):
            _run_tasks(tasks, count, start, report, len(mine), progress, TimeLimit(request))
    return report


def _own_shard(out: Path, shard: tuple[int, int]) -> AbstractContextManager[None]:
    """Keep other processes from the same scenes; other shards of the dataset may be made beside."""
    index, count = shard
    if count == 1:
        return only_writer(out)
    return only_writer(out, shared=True, part=f"{index}-of-{count}")


def check_blender() -> None:
    """Say early, and clearly, when Blender is not there.

    Raises:
        InputError: bpy is not installed.
    """
    if importlib.util.find_spec("bpy") is None:
        raise InputError(
            "rendering needs Blender as the Python module bpy 4.5, which exists only for Python 3.11; this "
            f"is Python {sys.version_info.major}.{sys.version_info.minor} without it. Under Python 3.11, "
            "pip install 'objnerf[generate]' brings it; here, --plan-only writes plans that can be rendered "
            "there"
        )


def read_plan(path: Path) -> ScenePlan:
    """A scene's plan: a `scenes/*.json` of a generated dataset, or one of `--plan-only`.

    Raises:
        InputError: the file cannot be read, or is no plan.
    """
    try:
        return ScenePlan.model_validate_json(read_bytes(path))
    except Unreadable as problem:
        raise InputError(f"{path}: cannot be read ({problem})") from problem
    except ValidationError as error:
        raise InputError(
            f"{path}: expected a scene's plan of version {GENERATOR_VERSION} of the generator or an earlier "
            f"one, {describe_validation_error(error)}"
        ) from error


def render_plan(
    plan: ScenePlan,
    out: Path,
    assets: AssetFolders | None = None,
    *,
    device: str = "cpu",
) -> None:
    """Render one scene into the dataset folder `out`, in a process of its own.

    A folder that has no `dataset.yaml` gets one that states the size and the lens; one that has is only
    added to where it states the same.

    Args:
        plan: the scene.
        out: folder for the files; made when missing.
        assets: where assets lie.
        device: what Cycles computes on; see `generation.render.devices`.
    Raises:
        InputError: the dataset in `out` has another size or lens.
        WorkError: views don't show what the plan asks for, or a file can't be written.
    """
    check_blender()
    _join_dataset(plan, out)
    setup = WorkerSetup(assets=assets or AssetFolders(), out=out.resolve(), device=device)
    report = Report(seed=plan.seed)
    task = Task(scene=plan.scene, plan=plan)
    _run_tasks([task], 1, lambda: LocalWorker(setup), report, 1, no_progress)
    report.raise_failures()


def _join_dataset(plan: ScenePlan, out: Path) -> None:
    """See that a plan's images fit the dataset in a folder; begin one where there is none."""
    render = plan.render
    card = read_card(out) if out.is_dir() else None
    if card is None:
        used = {item.asset: _asset_use(item.shape) for item in plan.objects}
        size, lens = (render.width, render.height), render.intrinsics.focal_ratio
        assets = list(used.values())
        write_card(
            out,
            DatasetCard(
                image_size=size,
                focal_ratio=lens,
                conventions=CONVENTIONS,
                versions=_versions(),
                assets=assets,
            ),
        )
        return
    size = card.image_size or (render.width, render.height)
    lens = card.focal_ratio or REFERENCE_FOCAL_RATIO
    if size != (render.width, render.height) or not np.allclose(lens, render.intrinsics.focal_ratio):
        raise InputError(
            f"{out}: its dataset.yaml states images of {size[0]}x{size[1]} with the focal ratio {lens}, and "
            f"this scene has {render.width}x{render.height} with {render.intrinsics.focal_ratio}; name "
            "another folder"
        )


def plan_dataset(
    request: GenerationRequest,
    out: Path,
    assets: AssetFolders | None = None,
    *,
    shard: tuple[int, int] = (1, 1),
    progress: Progress = no_progress,
) -> Report:
    """Write `plans/*.json`: the first plan of each scene whose objects find a place. Needs no Blender.

    Views are not judged without Blender, so a rendered scene may come from a later attempt. The arguments are
    those of `generate_dataset`.

    Raises:
        InputError: the request cannot be met.
    """
    request, pool = _fitted(request, assets or AssetFolders())
    report = Report(seed=request.seed)
    digits = scene_digits(request.scenes)
    mine = _shard_scenes(request, shard)
    for scene in mine:
        for attempt in range(request.preset.placement.attempts):
            try:
                plan = plan_scene(request, pool, scene, attempt)
            except PlacementError as reason:
                report.replans[str(reason)] += 1
                continue
            write_text(out / PLAN_FOLDER / f"{scene:0{digits}d}.json", plan.model_dump_json() + "\n")
            report.planned += 1
            report.objects.append(len(plan.objects))
            break
        else:
            message = f"none of {request.preset.placement.attempts} plans found place for all objects"
            report.failed.append(Result(kind="failed", scene=scene, error=message))
        progress(report.planned + len(report.failed), len(mine), "")
    return report


def _failure(result: Result, seed: int) -> str:
    log = "".join(f"\n      {line}" for line in result.log.strip().splitlines()[-12:])
    return f"\n  scene {result.scene} (seed {seed}): {result.error}{log}"


def _run_tasks(
    tasks: Sequence[Task],
    workers: int,
    start: Callable[[], Worker],
    report: Report,
    total: int,
    progress: Progress,
    limit: TimeLimit | None = None,
) -> None:
    # Closed at once, whatever happens: no worker goes on behind an error message.
    with closing(run_tasks(tasks, workers, start, limit)) as results:
        for result in results:
            report.add(result)
            if result.kind == "disk":
                raise WorkError(
                    f"a file cannot be written: {result.error}. Free some space and run the same command "
                    f"again: {report.kept + report.made} scenes are complete"
                )
            if result.kind == "died":
                logger.warning("scene %d: %s; the scene is retried once", result.scene, result.error)
            progress(report.kept + report.made + len(report.failed), total, _note(report))


def _note(report: Report) -> str:
    replans = sum(report.replans.values())
    parts = [f"{replans} replans"] if replans else []
    if report.deaths:
        parts.append(f"{len(report.deaths)} workers replaced")
    if report.failed:
        parts.append(f"{len(report.failed)} failed")
    return ", ".join(parts)


def prepare_folder(out: Path, request: GenerationRequest, pool: AssetPool) -> None:
    """Write `dataset.yaml`, or see that the one that is there says the same.

    A dataset may grow: the same request with more scenes goes on, as long as file names keep their width.

    Raises:
        InputError: the folder holds another dataset, or something that is none.
    """
    card = make_card(request, pool)
    before = read_card(out)
    if before is None:
        names = [path.name for path in out.iterdir() if not path.name.startswith(TEMPORARY_PREFIX)]
        if CARD_NAME in names:
            # Another shard was here in this very moment.
            return prepare_folder(out, request, pool)
        strangers = sorted(name for name in names if name != PLAN_FOLDER)[:3]
        if strangers:
            raise InputError(
                f"--out {out}: expected an empty folder or an objnerf dataset, found {', '.join(strangers)}; "
                "name another folder"
            )
        write_card(out, card)
        return None
    difference = _difference(before, card, request)
    if difference is not None:
        raise InputError(
            f"--out {out}: holds a different dataset ({difference}); choose another folder, or "
            "replace it with --overwrite"
        )
    if before.scenes != request.scenes:
        write_card(out, card)
    return None


def _difference(before: DatasetCard, card: DatasetCard, request: GenerationRequest) -> str | None:
    """In what the dataset on disk differs from the request, for people; None when it can go on.

    Args:
        before: of the dataset on disk.
        card: of the request.
        request: what is asked for.
    """
    stored = (before.model_extra or {}).get("request")
    try:
        old = GenerationRequest.model_validate(stored)
    except ValidationError:
        return "not by this version of the generator"
    if old.generator != request.generator:
        return f"by version {old.generator} of the generator, and this is version {request.generator}"
    if old.scenes > request.scenes or scene_digits(old.scenes) != scene_digits(request.scenes):
        return f"{old.scenes} scenes there, {request.scenes} asked for"
    for name in GenerationRequest.model_fields:
        if name not in ("scenes", "preset") and getattr(old, name) != getattr(request, name):
            return f"{name} is {getattr(old, name)} there, {getattr(request, name)} asked for"
    if old.preset != request.preset:
        return f"preset {old.preset.name} there" + (
            " with other values" if old.preset.name == request.preset.name else ""
        )
    if _stated_pool(before) != _stated_pool(card):
        return (
            "from other shapes or textures: files in the folders have changed, or one of --meshes, "
            "--shapenet-root, --textures, --assets, --up, --unit and --mix was another"
        )
    return None


def remove_dataset(out: Path) -> None:
    """Remove what the generator wrote, and nothing else; a folder without a dataset of ours stays as it is.

    `dataset.yaml` goes last: as long as it is there, what is left is known to be ours.

    Raises:
        InputError: the folder holds other files as well.
    """
    card = read_card(out)
    if card is None or "request" not in (card.model_extra or {}):
        return
    ours: list[Path] = []
    strangers: list[Path] = []
    for path in out.iterdir():
        if path.name == CARD_NAME or path.name.startswith(LOCK_PREFIX):
            continue
        (ours if _is_generated(path) else strangers).append(path)
    if strangers:
        shown = ", ".join(sorted(path.name for path in strangers)[:3])
        raise InputError(
            f"--overwrite: {out} also holds {shown}, which the generator did not write; move it away first"
        )
    for path in ours:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    (out / CARD_NAME).unlink()


def _is_generated(path: Path) -> bool:
    """Whether something in a dataset's folder has a name that the generator gives."""
    if path.is_dir():
        return path.name in (SCENE_FOLDER, "preview", "normal", "albedo", "amodal", PLAN_FOLDER)
    return (
        path.name.startswith(TEMPORARY_PREFIX)
        or split_companion(path.name) is not None
        or parse_view_name(path.name) is not None
        or parse_movement_name(path.name) is not None
    )


def make_card(request: GenerationRequest, pool: AssetPool) -> DatasetCard:
    """`dataset.yaml` of a request: the same on every machine and shard."""
    preset = request.preset
    shared = preset.split_shapes == "shared"
    content = {
        "image_size": (request.width, request.height),
        **request.scale.model_dump(),
        "scenes": request.scenes,
        "views_per_scene": request.views,
        "split": request.split,
        "splits": {
            "scenes": "train and test share no scene",
            "shapes": "train and test draw from the same shapes"
            if shared
            else "train and test share no shape",
        },
        "conventions": CONVENTIONS,
        "preset": preset.name,
        "seed": request.seed,
        "versions": _versions(),
        "assets": list(_asset_uses(pool)),
        "asset_pool_sha256": _pool_sha256(pool),
        "command": command_line(request, pool.catalogue),
        "request": request.model_dump(mode="json"),
    }
    return DatasetCard.model_validate(content)


def command_line(request: GenerationRequest, catalogue: Catalogue) -> str:
    """A command that makes this dataset, without what leaves the bytes alone (workers, shards, folders)."""
    words = [
        f"objnerf generate --preset {request.preset.name} --split {request.split} --seed {request.seed}",
        f"--shapes {request.shapes} --bgs {request.backgrounds} --scenes {request.scenes}",
        f"--views {request.views} --size {request.width}x{request.height} --samples {request.samples}",
        f"--passes {','.join(request.passes)}",
    ]
    if request.manipulations:
        words.append("--manipulations")
    if request.recolour != request.preset.objects.recolour:
        words.append("--recolour" if request.recolour else "--no-recolour")
    if request.real_scale:
        words.append("--real-scale")
    return " ".join((*words, *catalogue.options))


def _stated_pool(card: DatasetCard) -> str | None:
    """The checksum of the asset pool in a card; datasets that are older call it "stock"."""
    stated = card.model_extra or {}
    return stated.get("asset_pool_sha256", stated.get("stock"))


def _pool_sha256(pool: AssetPool) -> str:
    """Of the records of all shapes and textures, in their order: a scene draws from them by number."""
    assets: tuple[ShapeAsset | SurfaceAsset, ...] = (*pool.shapes, *pool.floors, *pool.walls)
    return hashlib.sha256("\n".join(asset.model_dump_json() for asset in assets).encode()).hexdigest()


def _versions() -> dict[str, str]:
    found = {}
    for name in ("objnerf", "bpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _asset_uses(pool: AssetPool) -> Iterator[AssetUse]:
    """Assets with their licences: files one by one, procedural ones by family, since they have no author."""
    procedural: Counter[tuple[str, str, str]] = Counter()
    assets: tuple[ShapeAsset | SurfaceAsset, ...] = (*pool.shapes, *pool.floors, *pool.walls)
    for asset in assets:
        if asset.kind == "procedural":
            procedural[asset.source, asset.family, asset.licence] += 1
        else:
            yield _asset_use(asset)
    for (source, family, licence), count in sorted(procedural.items()):
        yield AssetUse.model_validate(
            {"id": f"{source}/{family}", "licence": licence, "source": "procedural", "count": count}
        )


def _asset_use(asset: ShapeAsset | SurfaceAsset) -> AssetUse:
    creator = asset.params.get("creator")
    return AssetUse(
        id=asset.id,
        licence=asset.licence,
        source=asset.source,
        creator=None if creator is None else str(creator),
        sha256=asset.sha256,
    )


def pending_scenes(out: Path, request: GenerationRequest, scenes: Sequence[int]) -> list[int]:
    """The scenes whose JSON is not there yet."""
    digits = scene_digits(request.scenes)
    folder = out / SCENE_FOLDER
    there = set(os.listdir(folder)) if folder.is_dir() else set()
    return [scene for scene in scenes if scene_card_path(out, scene, digits).name not in there]


def write_preview(out: Path, request: GenerationRequest) -> Path:
    """A contact sheet of some scenes, all views, in `preview/`."""
    from objnerf.dataset.files import atomic_path, read_image
    from objnerf.visualization.contact_sheets import contact_sheet

    count = min(request.scenes, _SHEET_SCENES)
    scenes = [int(scene) for scene in np.linspace(0, request.scenes - 1, count).round()]
    views = range(min(request.views, 4))
    images = [
        read_image(out / f"{make_view_stem(scene * request.views + view, scene, view, request.scenes)}.png")
        for scene in scenes
        for view in views
    ]
    columns = len(views) * (2 if count > 3 else 1)
    sheet = contact_sheet(images, columns=columns, title=f"{request.preset.name}, {request.scenes} scenes")
    path = out / "preview" / "contact_sheet.png"
    with atomic_path(path) as temporary:
        sheet.save(temporary)
    return path


__all__ = [
    "CARD_NAME",
    "Report",
    "command_line",
    "generate_dataset",
    "make_card",
    "pending_scenes",
    "plan_dataset",
    "prepare_folder",
    "remove_dataset",
]

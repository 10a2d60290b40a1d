"""The ``objnerf`` command: one thin function a verb.

Everything heavy (torch, bpy, plotly) is imported inside the verb that needs it, so that help is instant.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from objnerf import __version__
from objnerf.errors import ObjnerfError

if TYPE_CHECKING:
    from objnerf.console import Progress


class _Command(click.Group):
    """The group: turns errors into one clear line and the exit status that belongs to them."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ObjnerfError as error:
            if ctx.params.get("debug"):
                raise
            click.secho(f"error: {error}", fg="red", err=True)
            ctx.exit(error.exit_code)
        except BrokenPipeError:
            # The reader of our output has gone (`objnerf … | head`): nobody is left to tell.
            sys.stderr.close()
            ctx.exit(0)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            click.secho("interrupted; run the same command again to go on", fg="yellow", err=True)
            ctx.exit(130)
        except ModuleNotFoundError as error:
            from objnerf.extras import missing_extra

            missing = missing_extra(error, f"objnerf {ctx.invoked_subcommand}")
            if missing is None or ctx.params.get("debug"):
                raise
            click.secho(f"error: {missing}", fg="red", err=True)
            ctx.exit(missing.exit_code)
        except OSError as error:
            if ctx.params.get("debug"):
                raise
            click.secho(f"error: {error}", fg="red", err=True)
            ctx.exit(1)


def _normalise(token: str) -> str:
    """Let ``--fixed_locality`` stand for ``--fixed-locality``."""
    return token.replace("_", "-")


_CONTEXT = {
    "help_option_names": ["-h", "--help"],
    "token_normalize_func": _normalise,
    "max_content_width": 110,
}

_DATASET = click.argument("dataset", type=click.Path(path_type=Path))

#: Scenes and seconds after which the time of all of them is estimated.
FORECAST_SCENES = 4
FORECAST_SECONDS = 10.0

#: Where `generate` writes, and what `validate` and `train` take, where nothing is said.
DEFAULT_DATASET = Path("dataset")


def _or_default(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """The folder that was named, or ``dataset``, which is then said."""
    if value is not None or ctx.params.get("explain") is not None:
        return value
    if not DEFAULT_DATASET.exists():
        raise click.UsageError(
            f"no dataset was named, and there is no folder {DEFAULT_DATASET} here. `objnerf generate` makes "
            f"one there; for one of your own call `objnerf {ctx.info_name} FOLDER`"
        )
    click.echo(f"no dataset was named: taking ./{DEFAULT_DATASET}", err=True)
    return DEFAULT_DATASET


_DATASET_OR_DEFAULT = click.argument(
    "dataset", type=click.Path(path_type=Path), required=False, callback=_or_default
)


def _scale_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The five numbers of ``objnerf.dataset.SceneScale``, None where the user does not state them."""
    for option in (
        click.option("--focal-ratio", type=float, nargs=2, metavar="X Y", help="fx / width and fy / height."),
        click.option("--obj-scale", type=float, help="Half side of the locality box, world units."),
        click.option(
            "--nss-scale", type=float, help="World units are divided by this before they reach a network."
        ),
        click.option("--far", type=float, help="Planar depth of the last sample, world units."),
        click.option("--near", type=float, help="Planar depth of the first sample, world units."),
    ):
        command = option(command)
    return command


def _parse_size(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[int, int]:
    """``192x144``: width and height in pixels."""
    width, _, height = value.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise click.BadParameter(f"expected width x height, such as 192x144, found {value!r}")
    return int(width), int(height)


def _parse_size_or_none(
    ctx: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    return None if value is None else _parse_size(ctx, parameter, value)


def _parse_list(ctx: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    """Words between commas."""
    return [word.strip() for word in value.split(",") if word.strip()]


def _parse_shard(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[int, int]:
    """``2/8``: the second of eight shards."""
    index, _, count = value.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise click.BadParameter(f"expected I/N with I from 1 to N, such as 2/8, found {value!r}")
    return int(index), int(count)


@click.group(cls=_Command, context_settings=_CONTEXT)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, prog_name="objnerf")
def main(debug: bool) -> None:
    """Object radiance fields: generate scenes, validate them, train, evaluate and look.

    Every verb has its own --help. Exit status: 0 done; 1 something was found wrong or failed, with a
    message; 2 the call or its input cannot be used.
    """


@main.command()
@_DATASET
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("cameras.html"),
    show_default=True,
    help="The suffix chooses: .html (turns with the mouse, works offline), .glb, .ply or .png.",
)
@click.option("--scene", type=click.IntRange(min=0), help="Only this scene's cameras.")
@click.option(
    "--max-views",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="At most so many cameras: whole scenes, spread evenly over the dataset.",
)
def poses(dataset: Path, out: Path, scene: int | None, max_views: int) -> None:
    """Draw the cameras of DATASET: frusta, axes, locality box and ground, right side up."""
    from objnerf.dataset import open_dataset
    from objnerf.errors import WorkError
    from objnerf.visualization.camera_plot import read_camera_plot
    from objnerf.visualization.cameras import WITH_THUMBNAILS, check_suffix, write_cameras

    check_suffix(out)
    thumbnails = 40 if out.suffix.lower() in WITH_THUMBNAILS else 0
    plot = read_camera_plot(
        open_dataset(dataset), scene=scene, max_views=max_views, thumbnails=thumbnails, skip_broken=True
    )
    write_cameras(plot, out)
    left_out = f"; {plot.left_out} more left out, see --max-views" if plot.left_out else ""
    click.echo(f"{out}: {plot.summary}{left_out}")
    if plot.skipped:
        reasons = "".join(f"\n  {reason}" for _, reason in plot.skipped[:10])
        more = f"\n  and {len(plot.skipped) - 10} more" if len(plot.skipped) > 10 else ""
        raise WorkError(
            f"{len(plot.skipped)} of {len(plot.skipped) + len(plot.cameras)} views could not be drawn:"
            f"{reasons}{more}\nrun `objnerf validate {dataset}` to learn more"
        )


_RUN = click.argument("run", type=click.Path(path_type=Path))
_REFERENCE = click.option(
    "--recipe",
    metavar="NAME|FILE",
    help="RUN is a folder of the reference's checkpoints, trained by this recipe.",
)
_DEVICE = click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto (a GPU if there is one), cpu, cuda, cuda:N or mps.",
)


@main.command()
@_RUN
@_DATASET
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Write the result here."
)
@click.option(
    "--html",
    "html_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a page with figures and pictures here: one file, works offline.",
)
@click.option("--manipulations", is_flag=True, help="Also score moved objects and changed backgrounds.")
@click.option("--scenes", type=click.IntRange(min=1), help="At most so many scenes.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the slots' start.")
@_REFERENCE
@_DEVICE
def evaluate(
    run: Path,
    dataset: Path,
    recipe: str | None,
    json_path: Path | None,
    html_path: Path | None,
    manipulations: bool,
    scenes: int | None,
    seed: int,
    device: str,
) -> None:
    """Score RUN on scenes of DATASET that it has not seen: ARI, FG-ARI, NV-ARI, PSNR, SSIM, LPIPS.

    The dataset that the run was trained on gives the scenes that were held out, any other one all of its
    scenes. Run again, it goes on where it stopped.
    """
    from objnerf.console import progress_bar
    from objnerf.dataset import open_dataset
    from objnerf.evaluation import evaluate as evaluation
    from objnerf.evaluation.gallery import scene_gallery
    from objnerf.evaluation.report import GALLERY_SCENES, write_json, write_page

    found = open_dataset(dataset)
    opened = evaluation.open_run(run, device, recipe=recipe, dataset=found)
    with progress_bar("evaluating", "scenes") as progress:
        result = evaluation.evaluate_run(
            opened, found, limit=scenes, manipulations=manipulations, seed=seed, progress=progress
        )
    if json_path is not None:
        write_json(json_path, result.as_dict())
    if html_path is not None:
        settings = opened.gallery_settings(found.root, seed=seed)
        shown = result.scene_ids[:GALLERY_SCENES]
        write_page(
            html_path, result, [scene_gallery(opened.model, found.scenes[id], settings) for id in shown]
        )
    click.echo(result.text())


@main.command()
@click.option(
    "--preset",
    default="room-diverse",
    show_default=True,
    help="room-diverse, room-chair, clevr-567, clevr-567-metal, or a YAML file: a changed copy of one.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=DEFAULT_DATASET,
    show_default=True,
    help="Folder of the dataset.",
)
@click.option("--scenes", type=int, help="How many; default: the preset's published number.")
@click.option("--split", type=click.Choice(["train", "test"]), default="train", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="0 is a seed.")
@click.option(
    "--shapes", type=int, help="Distinct shapes to draw from; default: the preset's, or what --meshes offers."
)
@click.option(
    "--bgs", type=int, help="Distinct floors to draw from; default: the preset's, or what --textures offers."
)
@click.option("--views", type=int, help="Pictures of a scene; default: the preset's.")
@click.option(
    "--size",
    callback=_parse_size,
    default="192x144",
    show_default=True,
    metavar="WxH",
    help="In pixels. The lens is always the preset's; 4:3 keeps the reference's focal ratio.",
)
@click.option("--samples", type=int, help="Samples a pixel, before denoising; default: the preset's.")
@click.option(
    "--passes",
    callback=_parse_list,
    default="depth,mask",
    show_default=True,
    metavar="LIST",
    help="Of depth, mask, normal, albedo, amodal.",
)
@click.option("--assets", type=click.Path(path_type=Path), help="Another asset manifest.")
@click.option("--shapenet-root", type=click.Path(path_type=Path), help="ShapeNetCore v1 or v2.")
@click.option("--meshes", type=click.Path(path_type=Path), help="Folder of mesh files: GLB, OBJ, FBX, ….")
@click.option("--textures", type=click.Path(path_type=Path), help="Folder of pictures for the floors.")
@click.option(
    "--up",
    type=click.Choice(["auto", "y", "z"]),
    help="The upward axis of mesh files; default: the manifest's, auto (z of PLY, y of the others).",
)
@click.option("--mix", is_flag=True, help="Put as many shapes made by code beside those of files.")
@click.option(
    "--recolour/--no-recolour",
    default=None,
    help="Mesh files take the colours that are drawn for objects; default: the preset's (room-chair does).",
)
@click.option(
    "--real-scale",
    is_flag=True,
    help="Objects keep their real sizes; default: a range of sizes for each kind.",
)
@click.option(
    "--unit",
    type=click.Choice(["m", "cm", "mm", "in", "ft"]),
    help="Of mesh files' coordinates, for --real-scale; default: the manifest's, m.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Blender processes; default: one a core.")
@click.option(
    "--shard",
    callback=_parse_shard,
    default="1/1",
    metavar="I/N",
    help="Make every Nth scene from the Ith on (1 to N), for job arrays.",
)
@click.option(
    "--manipulations",
    is_flag=True,
    help="Also the scene-manipulation test: an object moved, the background changed.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="ray: a Ray cluster, or one on this machine without --address.",
)
@click.option("--address", help="Of the Ray cluster: host:port, or auto.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "optix", "hip", "metal"]),
    default="cpu",
    show_default=True,
    help="What Cycles computes on. Files are equal to the byte on CPUs alone.",
)
@click.option(
    "--remake",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Make one scene again from its scenes/*.json alone; most other options are then in that file.",
)
@click.option(
    "--poses",
    type=click.Path(path_type=Path),
    metavar="POSES.json",
    help="With --remake: see the scene from these cameras, a list of 4x4 camera-to-world matrices.",
)
@click.option("--plan-only", is_flag=True, help="Write the plans, to plans/ in --out, and no picture.")
@click.option("--overwrite", is_flag=True, help="Replace another generated dataset in --out.")
def generate(
    preset: str,
    out: Path,
    scenes: int | None,
    split: Literal["train", "test"],
    seed: int,
    shapes: int | None,
    bgs: int | None,
    views: int | None,
    size: tuple[int, int],
    samples: int | None,
    passes: list[str],
    assets: Path | None,
    shapenet_root: Path | None,
    meshes: Path | None,
    textures: Path | None,
    up: Literal["auto", "y", "z"] | None,
    mix: bool,
    recolour: bool | None,
    real_scale: bool,
    unit: Literal["m", "cm", "mm", "in", "ft"] | None,
    workers: int | None,
    shard: tuple[int, int],
    manipulations: bool,
    engine: str,
    address: str | None,
    device: str,
    remake: Path | None,
    poses: Path | None,
    plan_only: bool,
    overwrite: bool,
) -> None:
    """Make a dataset with Blender: posed views, masks, depth. Run again, it goes on where it stopped."""
    from generation.jobs import AssetFolders, generate_dataset, read_plan, render_plan
    from generation.plan.request import build_request
    from objnerf.console import progress_bar
    from objnerf.dataset.index import scan_dataset

    if unit is not None and not real_scale:
        raise click.UsageError("--unit says how large mesh files are, which only --real-scale asks for")
    folders = AssetFolders(
        manifest=assets,
        shapenet_root=shapenet_root,
        meshes=meshes,
        textures=textures,
        up=up,
        unit=unit,
        mixed=mix,
    )
    if remake is not None:
        from generation.plan.compose import read_poses, with_cameras

        plan = read_plan(remake)
        if poses is not None:
            plan = with_cameras(plan, read_poses(poses))
        render_plan(plan, out, folders, device=device)
        click.echo(f"{out}: scene {plan.scene} made again from {remake}, {len(plan.views)} views")
        return
    if poses is not None:
        raise click.UsageError("--poses needs --remake FILE: the scene that is to be seen from there")
    request = build_request(
        preset,
        split=split,
        seed=seed,
        scenes=scenes,
        views=views,
        size=size,
        samples=samples,
        shapes=shapes,
        backgrounds=bgs,
        passes=passes,
        manipulations=manipulations,
        real_scale=real_scale,
        recolour=recolour,
    )
    if not plan_only:
        click.echo(
            f"{request.scenes} scenes go to {out}. Stop at any time (Ctrl-C): the same call goes on where it "
            "stopped, and what is there can be used. --scenes N makes fewer",
            err=True,
        )
    try:
        with progress_bar("planning" if plan_only else "rendering", "scenes") as shown:
            progress = shown if plan_only else _forecast(shown)
            report = generate_dataset(
                request,
                out,
                folders,
                workers=workers,
                shard=shard,
                plan_only=plan_only,
                overwrite=overwrite,
                device=device,
                engine=engine,
                address=address,
                progress=progress,
            )
    except KeyboardInterrupt:
        if not plan_only and out.is_dir() and (made := len(scan_dataset(out).scenes)):
            click.echo(f"{out}: {made} of {request.scenes} scenes are there")
            click.echo(f"next: objnerf validate {out}")
        raise
    click.echo(f"{out}: {report.statistics()}")
    report.raise_failures()
    if not plan_only:
        click.echo(f"next: objnerf validate {out}")


def _forecast(progress: "Progress") -> "Progress":
    """Say once how long the whole will take, as soon as some scenes tell."""
    from time import monotonic

    from objnerf.console import format_seconds

    begun = monotonic()
    first: int | None = None
    said = False

    def report(done: int, total: int, note: str) -> None:
        nonlocal first, said
        first = done if first is None else first
        passed, made = monotonic() - begun, done - first
        if not said and made >= FORECAST_SCENES and passed >= FORECAST_SECONDS:
            said = True
            left = passed / made * (total - done)
            click.echo(
                f"{made} scenes took {format_seconds(passed)}, so this machine needs about "
                f"{format_seconds(left)} more for the other {total - done}",
                err=True,
            )
        progress(done, total, note)

    return report


@main.group("assets")
def assets_group() -> None:
    """What scenes can be made of: list, check, sheet, fetch."""


def _asset_sources(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which manifest and folders are meant."""
    for option in (
        click.option(
            "--textures", type=click.Path(path_type=Path), help="Folder of pictures for the floors."
        ),
        click.option(
            "--meshes", type=click.Path(path_type=Path), help="Folder of mesh files: GLB, OBJ, FBX, …."
        ),
        click.option("--shapenet-root", type=click.Path(path_type=Path), help="ShapeNetCore v1 or v2."),
        click.option("--assets", type=click.Path(path_type=Path), help="Another asset manifest."),
    ):
        command = option(command)
    return command


@assets_group.command("list")
@_asset_sources
def assets_list(
    assets: Path | None, shapenet_root: Path | None, meshes: Path | None, textures: Path | None
) -> None:
    """What the manifest offers."""
    from generation.assets.catalogue import Catalogue
    from generation.assets.inventory import describe

    click.echo(describe(Catalogue.load(assets, shapenet_root, meshes, textures)))


@assets_group.command("check")
@_asset_sources
def assets_check(
    assets: Path | None, shapenet_root: Path | None, meshes: Path | None, textures: Path | None
) -> None:
    """Look at every asset once; name those that can't be used, and why, and what of others is not shown."""
    from generation.assets.catalogue import Catalogue
    from objnerf.console import progress_bar
    from objnerf.errors import WorkError

    catalogue = Catalogue.load(assets, shapenet_root, meshes, textures)
    with progress_bar("checking", "assets") as progress:
        results = catalogue.check(progress)
    bad = [result for result in results if result.reason is not None]
    for result in bad:
        click.echo(f"{result.id}: {result.reason}")
    for result in results:
        if result.reason is None and result.notes:
            click.echo(f"{result.id}: note: {'; '.join(result.notes)}")
    for source in dict.fromkeys(result.source for result in results):
        of_source = [result for result in results if result.source == source]
        sound = sum(result.reason is None for result in of_source)
        click.echo(f"{source}: {sound} of {len(of_source)} looked at are sound")
    if bad:
        raise WorkError(f"{len(bad)} of {len(results)} assets can't be used; `generate` leaves them out.")


@assets_group.command("sheet")
@_asset_sources
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("assets.png"),
    show_default=True,
    help="The picture: .png or .jpg.",
)
@click.option("--source", default="furniture", show_default=True, help="Entry or family of the manifest.")
@click.option("--shapes", type=click.IntRange(min=0), default=60, show_default=True)
@click.option("--bgs", type=click.IntRange(min=0), default=50, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def assets_sheet(
    assets: Path | None,
    shapenet_root: Path | None,
    meshes: Path | None,
    textures: Path | None,
    out: Path,
    source: str,
    shapes: int,
    bgs: int,
    seed: int,
) -> None:
    """Draw shapes, floors and walls on one picture."""
    from generation.assets.catalogue import Catalogue
    from generation.assets.sheet import draw_sheet
    from objnerf.console import progress_bar
    from objnerf.dataset.files import atomic_path
    from objnerf.errors import InputError

    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise InputError(f"--out {out}: expected a name that ends in .png or .jpg")
    catalogue = Catalogue.load(assets, shapenet_root, meshes, textures)
    with progress_bar("drawing", "pictures") as progress:
        sheet = draw_sheet(catalogue, source, shapes, bgs, seed, progress=lambda d, n: progress(d, n, ""))
    with atomic_path(out) as path:
        sheet.save(path, format="PNG" if out.suffix.lower() == ".png" else "JPEG")
    click.echo(f"{out}: {sheet.width} × {sheet.height} pixels")


@assets_group.command("fetch")
@click.argument("names", nargs=-1)
@click.option("--assets", type=click.Path(path_type=Path), help="Another asset manifest.")
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("assets"),
    show_default=True,
    help="Files go to textures/ and meshes/ in it.",
)
def assets_fetch(names: tuple[str, ...], assets: Path | None, folder: Path) -> None:
    """Download what the manifest allows: NAMES, or all of it."""
    from generation.assets.catalogue import default_manifest_path
    from generation.assets.fetch import choose_downloads, fetch
    from generation.assets.manifest import read_manifest
    from objnerf.console import progress_bar

    chosen = choose_downloads(read_manifest(assets or default_manifest_path()), names)
    kinds = {"texture": "textures", "mesh": "meshes"}
    for download in chosen:
        with progress_bar(download.name, "bytes") as progress:
            path = fetch(download, folder / kinds[download.kind], lambda d, n: progress(d, n, ""))
        click.echo(f"{path}: {download.licence}, {download.origin or download.url}")
    for kind in dict.fromkeys(download.kind for download in chosen):
        click.echo(f"use them with: objnerf generate --{kinds[kind]} {folder / kinds[kind]}")


@main.command()
@_DATASET_OR_DEFAULT
@click.option(
    "--recipe", "source", metavar="NAME|FILE", help="A recipe of the package, or a YAML file. [default: tiny]"
)
@click.option("--out", type=click.Path(path_type=Path), help="The run folder. [default: runs/DATASET-RECIPE]")
@_scale_options
@click.option(
    "--fixed-locality/--azimuth-locality",
    default=None,
    help="Box and foreground fields in fixed axes, not in the input view's azimuth frame.",
)
@click.option("--num-slots", type=int, help="Slots, the background included.")
@click.option("--lr", type=float, help="Learning rate at the end of the warm-up.")
@click.option("--attn-decay-steps", type=int, help="Steps in which the learning rate halves.")
@click.option("--warmup-steps", type=int, help="Steps until the full learning rate.")
@click.option("--seed", type=int, help="0 is a seed like any other.")
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY.SUB=VALUE",
    help="Any other key of the recipe, such as batch.scenes=4; may be given several times.",
)
@click.option("--max-steps", type=click.IntRange(min=1), help="Stop after this many steps of the run.")
@click.option("--max-minutes", type=click.FloatRange(min=0, min_open=True), help="Stop after this time.")
@_DEVICE
@click.option("--resume", is_flag=True, help="Go on with the run in --out, from its last checkpoint.")
@click.option(
    "--validate/--no-validate",
    "checks",
    default=True,
    help="Run the validator's quick checks first. [default: on]",
)
@click.option("--print-config", is_flag=True, help="Show the resolved recipe as YAML, and do nothing else.")
@click.pass_context
def train(
    ctx: click.Context,
    dataset: Path,
    source: str | None,
    out: Path | None,
    assignments: tuple[str, ...],
    max_steps: int | None,
    max_minutes: float | None,
    device: str,
    resume: bool,
    checks: bool,
    print_config: bool,
    **options: Any,
) -> None:
    """Train a model on DATASET, into a run folder that holds everything about it.

    Values come from the options first, then from the recipe, then from the dataset's own dataset.yaml, then
    from the reference. Under torchrun several processes share the work.
    """
    from objnerf.console import format_seconds, progress_bar
    from objnerf.dataset import open_dataset
    from objnerf.training.recipe import dump_yaml, option_overrides, resolve_recipe

    recipe, out = resolve_recipe(dataset, source, out, option_overrides(options, assignments), resume=resume)
    if print_config:
        click.echo(dump_yaml(recipe), nl=False)
        return
    if checks and os.environ.get("RANK", "0") == "0":
        scale = recipe.scale.model_dump(exclude={"own_intrinsics"})
        if recipe.scale.own_intrinsics and open_dataset(dataset).has_own_intrinsics:
            del scale["focal_ratio"]  # said as an option, it would hold for views with their own as well
        _refuse_unsound(dataset, num_slots=recipe.model.num_slots, **scale)

    from objnerf.training.loop import train as train_model
    from objnerf.training.processes import stopped_by_signal

    with stopped_by_signal() as stop:
        outcome = train_model(
            dataset,
            out,
            recipe,
            device=device,
            resume=resume,
            max_steps=max_steps,
            max_minutes=max_minutes,
            command=sys.argv,
            bar=progress_bar,
            stop=stop,
        )
    quality = "" if outcome.psnr is None else f", PSNR {outcome.psnr:.1f} dB on held-out views"
    if os.environ.get("RANK", "0") == "0":
        click.echo(
            f"{out}: {outcome.step} steps, {format_seconds(outcome.seconds)}{quality} ({outcome.reason})"
        )
        if outcome.nothing_held_out is not None:
            click.echo(
                f"note: nothing is held out, so that no PSNR on novel views is measured: "
                f"{outcome.nothing_held_out}"
            )
        click.echo(
            f"next: objnerf evaluate {out} {dataset} · objnerf render {out} {dataset} --slots · "
            f"objnerf export {out} {dataset} · objnerf view {out}"
        )
    if outcome.reason == "stopped":
        click.secho(
            f"interrupted; `objnerf train {dataset} --out {out} --resume` goes on", fg="yellow", err=True
        )
        ctx.exit(130)


@main.command("validate")
@click.option("--explain", metavar="ID", is_eager=True, help="Print a check's documentation and leave.")
@_DATASET_OR_DEFAULT
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write JSON here.")
@click.option(
    "--html",
    "html_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write one page with pictures, cameras and histograms here; it opens offline.",
)
@click.option("--strict", is_flag=True, help="Exit with 1 on warnings too.")
@click.option("--only", default="", callback=_parse_list, help="Ids of checks, or POSE for all POSE-… ones.")
@click.option("--skip", default="", callback=_parse_list, help="Ids of checks to leave out.")
@_scale_options
@click.option("--num-slots", type=click.IntRange(min=1), help="Slots of the model, background included.")
@click.option("--sample", type=click.IntRange(min=1), help="Open the pictures of this many scenes only.")
@click.option("--photo", is_flag=True, help="Compare feature matches with the poses (extra: photo).")
@click.option("--fix", type=click.Path(path_type=Path, file_okay=False), help="Write a mended copy here.")
@click.option("--limit", "limits", multiple=True, metavar="NAME=VALUE", help="Change a threshold.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes that read pictures (default: cores).")
@click.pass_context
def validate_(
    ctx: click.Context,
    dataset: Path | None,
    json_file: Path | None,
    html_file: Path | None,
    strict: bool,
    explain: str | None,
    **options: Any,
) -> None:
    """Check DATASET and say what is wrong with it, why, and how to mend it.

    Settings that are not given come from the dataset's own dataset.yaml, else from the reference. Exit
    status: 0 no errors, 1 errors found, 2 the dataset cannot be validated.
    """
    import validate

    if explain is not None:
        click.echo(validate.explain(explain), nl=False)
        return
    assert dataset is not None
    status = validate.command(dataset, json_file, html_file, strict=strict, **options)
    if status == 0:
        click.echo(f"next: objnerf train {options['fix'] or dataset}", err=True)
    ctx.exit(status)


def _refuse_unsound(dataset: Path, **settings: Any) -> None:
    """Run the validator's quick checks; their errors end the command in the validator's own words."""
    import validate
    from objnerf.errors import InputError

    report = validate.run(dataset, quick=True, **settings)
    if not report.ok:
        raise InputError(
            f"{dataset} is not sound, so nothing was trained; --no-validate trains all the same\n"
            f"{report.text()}"
        )
    for finding in report.warnings:
        click.secho(f"warning: {finding.id}: {finding.message}", fg="yellow", err=True)


@main.command()
@_RUN
@_DATASET
@click.option("--scene", type=click.IntRange(min=0), help="Its id. [default: the first that was held out]")
@click.option(
    "--orbit", type=click.IntRange(min=2), metavar="N", help="N cameras all round, not the scene's own."
)
@click.option("--slots", is_flag=True, help="Also each slot alone.")
@click.option(
    "--size", callback=_parse_size_or_none, metavar="WxH", help="In pixels. [default: the recipe's]"
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="A folder for PNGs, or a file: .png (a sheet), .gif or .mp4. [default: RUN/renders/scene_ID]",
)
@_REFERENCE
@_DEVICE
def render(
    run: Path,
    dataset: Path,
    recipe: str | None,
    scene: int | None,
    orbit: int | None,
    slots: bool,
    size: tuple[int, int] | None,
    out: Path | None,
    device: str,
) -> None:
    """Draw a scene of DATASET as RUN understands it from its first view: novel views, orbits, slots alone."""
    from objnerf.console import progress_bar
    from objnerf.evaluation import renders

    opened = renders.load_scene(run, dataset, scene, size=size, orbit=orbit, device=device, recipe=recipe)
    out = out or run / "renders" / f"scene_{opened.scene.id:04d}"
    renders.check_out(out, moving=orbit is not None)
    shown = [0, *opened.visible_slots()] if slots else []
    with progress_bar("rendering", "views") as progress:
        written = renders.write_renders(
            opened.model,
            opened.code,
            opened.poses,
            opened.settings,
            out,
            pinholes=opened.pinholes,
            name=opened.name,
            slots=shown,
            progress=progress,
        )
    click.echo(renders.summary_of(written))


@main.command()
@_RUN
@_DATASET
@click.option("--scene", type=click.IntRange(min=0), help="Its id. [default: the first that was held out]")
@click.option("--move", type=(int, float, float), multiple=True, metavar="SLOT DX DY", help="In world units.")
@click.option(
    "--copy", type=(int, float, float), multiple=True, metavar="SLOT DX DY", help="Put a copy there."
)
@click.option("--delete", type=int, multiple=True, metavar="SLOT", help="Take an object out.")
@click.option("--background-from", type=click.IntRange(min=0), metavar="SCENE", help="Take its background.")
@click.option(
    "--orbit", type=click.IntRange(min=2), metavar="N", help="N cameras all round, not the scene's own."
)
@click.option(
    "--size", callback=_parse_size_or_none, metavar="WxH", help="In pixels. [default: the recipe's]"
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="A folder for PNGs, or a file: .png (a sheet), .gif or .mp4. [default: RUN/edits/scene_ID.png]",
)
@_REFERENCE
@_DEVICE
def edit(
    run: Path,
    dataset: Path,
    recipe: str | None,
    scene: int | None,
    move: tuple[tuple[int, float, float], ...],
    copy: tuple[tuple[int, float, float], ...],
    delete: tuple[int, ...],
    background_from: int | None,
    orbit: int | None,
    size: tuple[int, int] | None,
    out: Path | None,
    device: str,
) -> None:
    """Change a scene and draw it before and after: move, copy, delete objects, take another background.

    Objects are named by their slots; `objnerf render RUN DATASET --slots` shows them. Edits are made in the
    order moves, copies, deletions.
    """
    from objnerf.console import progress_bar
    from objnerf.evaluation import edits, renders

    opened = renders.load_scene(run, dataset, scene, size=size, orbit=orbit, device=device, recipe=recipe)
    out = out or run / "edits" / f"scene_{opened.scene.id:04d}.png"
    renders.check_out(out, moving=orbit is not None)
    if not (move or copy or delete or background_from is not None):
        raise click.UsageError(f"nothing to do; name an edit. {opened.describe_slots()}")
    changed = opened.code
    for slot, dx, dy in move:
        changed = edits.move_object(changed, slot, dx, dy)
    for slot, dx, dy in copy:
        changed = edits.copy_object(changed, slot, dx, dy)
    for slot in delete:
        changed = edits.delete_object(changed, slot)
    if background_from is not None:
        changed = changed.with_background(opened.encode(background_from))
    with progress_bar("rendering", "views") as progress:
        written = renders.write_edit(
            opened.model,
            opened.code,
            changed,
            opened.poses,
            opened.settings,
            out,
            pinholes=opened.pinholes,
            progress=progress,
        )
    click.echo(renders.summary_of(written))


@main.command()
@_RUN
@_DATASET
@click.option("--scene", type=click.IntRange(min=0), help="Its id. [default: the first that was held out]")
@click.option(
    "--slot", type=int, multiple=True, metavar="SLOT", help="Only this object. [default: all that show]"
)
@click.option("--ground", is_flag=True, help="The ground too, as a coloured slab.")
@click.option(
    "--resolution",
    type=click.IntRange(min=16, max=512),
    default=96,
    show_default=True,
    help="Points that are asked along each side of the box.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A .glb file. [default: RUN/meshes/scene_ID.glb]",
)
@_REFERENCE
@_DEVICE
def export(
    run: Path,
    dataset: Path,
    recipe: str | None,
    scene: int | None,
    slot: tuple[int, ...],
    ground: bool,
    resolution: int,
    out: Path | None,
    device: str,
) -> None:
    """Take the objects of a scene home as meshes: closed, coloured, each at its place in the world.

    The file is binary glTF with a node for each object, object_1, object_2, …; Blender opens it where the
    objects stood.
    """
    from objnerf.console import progress_bar
    from objnerf.errors import WorkError
    from objnerf.evaluation import edits, meshes, renders

    if out is not None and out.suffix.lower() != ".glb":
        raise click.UsageError(f"--out {out}: expected a file that ends in .glb")
    opened = renders.load_scene(run, dataset, scene, device=device, recipe=recipe)
    out = out or run / "meshes" / f"scene_{opened.scene.id:04d}.glb"
    chosen = [edits.check_slot(opened.code, number) for number in slot] or list(opened.visible_slots())
    with progress_bar("asking the fields", "layers") as progress:
        found = meshes.slot_meshes(
            opened.model, opened.code, slots=chosen, resolution=resolution, progress=progress
        )
    if not found:
        raise WorkError(
            f"no object of scene {opened.scene.id} is opaque enough to have a surface. "
            f"{opened.describe_slots()}. Train longer, or choose another scene with --scene"
        )
    if ground:
        found.append(meshes.ground_mesh(opened.model, opened.code, resolution=resolution))
    meshes.write_meshes(found, out)
    for mesh in found:
        what = f"object {mesh.slot}" if mesh.slot else "ground"
        click.echo(f"{what:<10} {len(mesh.faces):7} triangles")
    shown = {mesh.slot for mesh in found}
    without = [f"object {number}" for number in chosen if number not in shown]
    if without:
        click.echo(f"no surface, so left out: {', '.join(without)}")
    click.echo(out)


@main.command()
def doctor() -> None:
    """What this machine has: Python, Blender, torch, GPU, optional parts; and what is missing for what."""
    from objnerf.evaluation.doctor import examine

    for finding in examine():
        mark = {"ok": ("ok", "green"), "missing": ("--", "yellow"), "broken": ("!!", "red")}[finding.state]
        click.echo(f"{click.style(mark[0], fg=mark[1])}  {finding.name:<22} {finding.detail}")


@main.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/demo"), show_default=True)
@click.option(
    "--minutes",
    type=click.FloatRange(min=2),
    default=11.0,
    show_default=True,
    help="For everything; training gets what the other steps leave.",
)
@click.option("--scenes", type=click.IntRange(min=8), default=64, show_default=True, help="To generate.")
@click.option("--preset", default="clevr-567", show_default=True, help="Of the scenes; see generate.")
@click.option(
    "--picture",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the results as one PNG; the README's picture was made so.",
)
def demo(out: Path, minutes: float, scenes: int, preset: str, picture: Path | None) -> None:
    """All of it, on the embedded assets: generate, validate, train, evaluate, and one page to look at.

    Run again, it goes on where it stopped.
    """
    import validate as validator
    from generation.jobs import generate_dataset
    from generation.plan.request import build_request
    from objnerf.console import progress_bar
    from objnerf.dataset import open_dataset
    from objnerf.errors import WorkError
    from objnerf.evaluation.clock import DemoClock

    dataset, run = out / "dataset", out / "training"
    clock = DemoClock(out / "demo.json", minutes)
    held_out = max(2, scenes // 6)

    _announce(1, f"{scenes} scenes are generated with Blender", clock.left)
    with clock.step("generate"), progress_bar("rendering", "scenes") as progress:
        # Fewer shapes and floors than usual, for there are few rooms to learn them from.
        shapes, floors = (60, 6) if preset == "room-diverse" else (None, None)
        request = build_request(
            preset, scenes=scenes, size=(128, 96), samples=16, shapes=shapes, backgrounds=floors
        )
        made = generate_dataset(request, dataset, progress=progress)
    made.raise_failures()

    _announce(2, "the validator looks at them", clock.left)
    with clock.step("validate"):
        verdict = validator.run(dataset)
    click.echo(verdict.text())
    if not verdict.ok:
        raise WorkError(
            f"the validator finds {dataset} unsound, which is a defect of objnerf; please report it"
        )

    # torch takes seconds to load: not before it is needed.
    import numpy as np

    from objnerf.dataset.files import write_image, write_text
    from objnerf.evaluation import evaluate as evaluation
    from objnerf.evaluation.demo import Step, demo_page, demo_summary
    from objnerf.evaluation.gallery import edit_pictures, gallery_sheet, scene_gallery, turntable
    from objnerf.evaluation.report import write_json
    from objnerf.training.checkpoints import checkpoint_path
    from objnerf.training.loop import train as train_model
    from objnerf.training.processes import stopped_by_signal
    from objnerf.training.recipe import resolve_recipe

    _announce(3, "a small model learns from their pictures", clock.left)
    trained = clock.seconds.get("train", 0.0) / 60 if checkpoint_path(run, "last").is_file() else 0.0
    left = clock.training_minutes() - trained
    if left > 0.1:
        begun = (run / "config.yaml").is_file()
        # A slot for each object that the preset may place, and one for the background.
        slots = request.preset.objects.count[1] + 1
        asked = [("held_out.scenes", held_out), ("model.num_slots", max(6, slots))]
        recipe, _ = resolve_recipe(dataset, None if begun else "tiny", run, asked, resume=begun)
        with clock.step("train"), stopped_by_signal() as stop:
            outcome = train_model(
                dataset,
                run,
                recipe,
                resume=begun,
                max_minutes=left,
                command=sys.argv,
                bar=progress_bar,
                stop=stop,
            )
        if outcome.reason == "stopped":
            raise KeyboardInterrupt
    else:
        click.echo(f"it has already learned for {trained:.1f} minutes")

    _announce(4, "the model is tried on scenes that it has not seen", clock.left)
    with clock.step("evaluate"):
        opened = evaluation.open_run(run, "cpu")
        found = open_dataset(dataset)
        with progress_bar("evaluating", "scenes") as progress:
            result = evaluation.evaluate_run(opened, found, progress=progress)
    click.echo(result.text())

    _announce(5, "the page is written", clock.left)
    with clock.step("report"):
        settings = opened.gallery_settings(found.root)
        shown = [found.scenes[id] for id in result.scene_ids[:4]]
        galleries = [scene_gallery(opened.model, scene, settings) for scene in shown]
        edited = edit_pictures(opened.model, shown[0], shown[1], settings)
        turning = turntable(opened.model, shown[0], opened.settings(found.root))
        if picture is not None:
            write_image(picture, np.asarray(gallery_sheet(galleries)))
        card = found.card()
        steps = (
            Step("generate", clock.seconds["generate"], f"{card.command if card else ''} --out {dataset}"),
            Step("validate", clock.seconds["validate"], f"objnerf validate {dataset}"),
            Step("train", clock.seconds.get("train", 0.0), f"objnerf train {dataset} --out {run}"),
            Step("evaluate", clock.seconds["evaluate"], f"objnerf evaluate {run} {dataset}"),
        )
        page = demo_page(
            found, verdict.as_dict(), run, result, galleries, steps, edits=edited, turning=turning
        )
        write_text(out / "report.html", page)
        write_json(out / "report.json", demo_summary(verdict.as_dict(), run, result, steps))
    click.secho(f"{out / 'report.html'}: open it in a browser", bold=True)


def _announce(step: int, text: str, left: str) -> None:
    """Head one of the demo's steps."""
    click.secho(f"[{step}/5] {text}", bold=True, err=True, nl=False)
    click.secho(f"  ({left})", dim=True, err=True)


@main.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("destination", type=click.Path(path_type=Path))
@click.option("--from", "source_format", metavar="FORMAT", help="Format of SOURCE; recognised when left out.")
@click.option(
    "--to",
    "target_format",
    metavar="FORMAT",
    help="Format of DESTINATION; our own when left out and SOURCE is in another one.",
)
@click.option("--undistort", is_flag=True, help="Resample the pictures to one centred pinhole camera.")
@click.option("--max-size", type=click.IntRange(8), help="Shrink pictures to this longer side, pixels.")
@click.option("--level/--no-level", default=None, help="Turn the world so that the cameras' up is z.")
@click.option("--centre/--no-centre", default=None, help="Move what the cameras look at to the origin.")
@click.option("--scale/--no-scale", default=None, help="Scale the world so that the usual settings fit.")
def convert(
    source: Path,
    destination: Path,
    source_format: str | None,
    target_format: str | None,
    level: bool | None,
    centre: bool | None,
    scale: bool | None,
    **pictures: Any,
) -> None:
    """Convert SOURCE to the new folder DESTINATION, to or from other projects' formats.

    The world of a capture (COLMAP, a phone's transforms.json) is levelled, centred and scaled as far as it
    needs it; a world that means something stays as it is. The --no-… options leave a step out, the others
    force it.

    FORMAT is one of objnerf (ours), nerfstudio, instant-ngp (transforms.json), colmap, colmap-binary,
    obsurf, uocf, webdataset, webdataset-scenes, parquet; written only: uorf, slotlifter (our own format as
    their code reads it), coco; read only: llff, nsvf (also SRN), idr (DTU, NeuS), scannet, 7-scenes, kubric
    (MOVi, MultiShapeNet), bop, blenderproc.
    """
    from objnerf.console import progress_bar
    from objnerf.dataset import convert as conversion

    with progress_bar("converting", unit="views") as report:
        done = conversion.convert(
            source,
            destination,
            source_format=source_format,
            target_format=target_format,
            world=None if level is centre is scale is None else conversion.WorldSteps(level, centre, scale),
            **pictures,
            progress=lambda views, total: report(views, total, ""),
        )
    click.echo(
        f"{destination}: {done.views} views of {done.scenes} scenes, from {done.source_format} to "
        f"{done.target_format}"
    )
    for note in done.notes:
        click.echo(f"note: {note}")
    for item in done.left_out:
        click.echo(f"left out, {done.target_format} has no place for it: {item}")
    if done.target_format == "objnerf":
        # What was captured has no truth but its pictures.
        photo = " --photo" if pictures["undistort"] else ""
        click.echo(f"next: objnerf validate {destination}{photo}")


@main.command()
@_DATASET
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write to. [default: DATASET]")
@click.option("--name", help="What the dataset is called. [default: the folder's name]")
@click.option("--licence", metavar="SPDX", help="Licence of the dataset as a whole, such as CC-BY-4.0.")
@click.option("--url", help="Where it is published.")
@click.option("--author", "authors", multiple=True, help="Who made it; may be given several times.")
@click.option("--overwrite", is_flag=True, help="Replace a README.md or croissant.json of somebody else.")
def card(dataset: Path, out: Path | None, overwrite: bool, **publication: Any) -> None:
    """Describe DATASET for publication: README.md for hubs, croissant.json, checksums, a contact sheet.

    What is known comes from the files, dataset.yaml and scenes/*.json; what is not known is said to be so.
    """
    from objnerf.cards import Publication, write_cards
    from objnerf.console import progress_bar

    with progress_bar("describing", unit="files") as report:
        written = write_cards(
            dataset,
            out,
            Publication(**publication),
            overwrite=overwrite,
            progress=lambda done, total: report(done, total, ""),
        )
    click.echo(f"{written.readme}, {written.metadata}, {written.checksums} and {written.sheet} written")


@main.command()
@click.argument("folder", metavar="RUN|DATASET", type=click.Path(path_type=Path))
@click.option("--dataset", type=click.Path(path_type=Path), help="Of a run: whose scenes. [default: its own]")
@click.option("--scene", type=click.IntRange(min=0), help="The scene shown first.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Where to listen; 0.0.0.0 for everybody."
)
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
@_REFERENCE
@_DEVICE
def view(folder: Path, dataset: Path | None, scene: int | None, **settings: Any) -> None:
    """Look around in the browser: cameras, pictures, points; of a run, objects to drag and hide."""
    from objnerf.viewer import open_viewer

    viewer = open_viewer(folder, dataset=dataset, scene=scene, **settings)
    click.echo(f"open {viewer.url} in a browser; Ctrl-C ends the viewer")
    try:
        viewer.server.sleep_forever()
    except KeyboardInterrupt:
        viewer.stop()


if __name__ == "__main__":
    main()

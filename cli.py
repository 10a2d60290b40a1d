"""The ``objnerf`` command: one thin function a verb.

Everything heavy (torch, bpy, plotly) is imported inside the verb that needs it, so that help is instant.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from objnerf.errors import ObjnerfError
from objnerf.version import __version__

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
            _echo_error(error)
            ctx.exit(error.exit_code)
        except BrokenPipeError:
            # The reader of our output is gone (`objnerf … | head`).
            sys.stderr.close()
            ctx.exit(0)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            click.secho("interrupted; run the same command again to continue", fg="yellow", err=True)
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
            _echo_error(error)
            ctx.exit(1)


def _echo_error(error: Exception) -> None:
    """One clear line; names of files may hold anything."""
    from objnerf.console import printable

    click.secho(f"error: {printable(str(error))}", fg="red", err=True)


def _normalise(token: str) -> str:
    """Let ``--fixed_locality`` stand for ``--fixed-locality``."""
    return token.replace("_", "-")


_CONTEXT = {
    "help_option_names": ["-h", "--help"],
    "token_normalize_func": _normalise,
    "max_content_width": 110,
}

_DATASET = click.argument("dataset", type=click.Path(path_type=Path))

#: The total time is estimated after this many scenes, and not before this many seconds.
FORECAST_SCENES = 4
FORECAST_SECONDS = 10.0

#: Default folder of `generate` (output), `validate` and `train` (input).
DEFAULT_DATASET = Path("dataset")


def _or_default(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """The folder that was given, or ``dataset`` with a note."""
    if value is not None or ctx.params.get("explain") is not None:
        return value
    if not DEFAULT_DATASET.exists():
        raise click.UsageError(
            f"no dataset given, and the folder {DEFAULT_DATASET} does not exist. Create it with "
            f"`objnerf generate`, or give yours: `objnerf {ctx.info_name} FOLDER`"
        )
    click.echo(f"no dataset given: using ./{DEFAULT_DATASET}", err=True)
    return DEFAULT_DATASET


_UP = click.option(
    "--up",
    type=click.Choice(["auto", "y", "z"]),
    help="Up axis of mesh files; default: the manifest's. auto: z for PLY, STL and OFF, y for other formats.",
)
_DATASET_OR_DEFAULT = click.argument(
    "dataset", type=click.Path(path_type=Path), required=False, callback=_or_default
)


def _scale_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The five numbers of ``objnerf.dataset.SceneScale``; None where not given."""
    for option in (
        click.option("--focal-ratio", type=float, nargs=2, metavar="X Y", help="fx / width and fy / height."),
        click.option("--obj-scale", type=float, help="Half the side of the locality box, world units."),
        click.option(
            "--nss-scale", type=float, help="World units are divided by this before they enter a network."
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
        raise click.BadParameter(f"expected WIDTHxHEIGHT, such as 192x144, found {value!r}")
    return int(width), int(height)


def _parse_size_or_none(
    ctx: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    return None if value is None else _parse_size(ctx, parameter, value)


def _parse_list(ctx: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    """Comma-separated words."""
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
    """Object radiance fields: generate datasets, validate them, train models, evaluate and view them.

    Every verb has its own --help. Exit status: 0 success; 1 the validator found errors, or the work failed;
    2 the command line or its input is invalid.
    """


@main.command(short_help="Plot the cameras of a dataset.")
@_DATASET
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("cameras.html"),
    show_default=True,
    help="The suffix chooses the format: .html (interactive, works offline), .glb, .ply or .png.",
)
@click.option("--scene", type=click.IntRange(min=0), help="Draw only this scene's cameras.")
@click.option(
    "--max-views",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Maximum number of cameras: whole scenes, spread evenly over the dataset.",
)
def poses(dataset: Path, out: Path, scene: int | None, max_views: int) -> None:
    """Plot the cameras of DATASET: frusta, axes, locality box and ground, with z up."""
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
    left_out = f"; {plot.left_out} more not drawn, see --max-views" if plot.left_out else ""
    click.echo(f"{out}: {plot.summary}{left_out}")
    if plot.skipped:
        reasons = "".join(f"\n  {reason}" for _, reason in plot.skipped[:10])
        more = f"\n  and {len(plot.skipped) - 10} more" if len(plot.skipped) > 10 else ""
        raise WorkError(
            f"{len(plot.skipped)} of {len(plot.skipped) + len(plot.cameras)} views could not be drawn:"
            f"{reasons}{more}\nrun `objnerf validate {dataset}` for details"
        )


_RUN = click.argument("run", type=click.Path(path_type=Path))
_REFERENCE = click.option(
    "--recipe",
    metavar="NAME|FILE",
    help="RUN is a folder of uORF's own checkpoints, trained with this recipe.",
)
_DEVICE = click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto (a GPU if there is one), cpu, cuda, cuda:N or mps.",
)


@main.command(short_help="Score a run on held-out scenes.")
@_RUN
@_DATASET
@click.option(
    "--json",
    "json_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the scores to this file.",
)
@click.option(
    "--html",
    "html_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a report with scores and images to this file; works offline.",
)
@click.option(
    "--manipulations", is_flag=True, help="Also score scenes with a moved object and a changed background."
)
@click.option("--scenes", type=click.IntRange(min=1), help="Maximum number of scenes.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the initial slots."
)
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
    """Score RUN on held-out scenes of DATASET: ARI, FG-ARI, NV-ARI, PSNR, SSIM, LPIPS.

    If RUN was trained on DATASET, its held-out scenes are scored, otherwise all scenes. An interrupted
    evaluation continues when the command is run again.
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


@main.command(short_help="Generate a dataset with Blender.")
@click.option(
    "--preset",
    default="room-diverse",
    show_default=True,
    help="room-diverse, room-chair, clevr-567, clevr-567-metal, or a YAML file (an edited copy of one).",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=DEFAULT_DATASET,
    show_default=True,
    help="Output folder.",
)
@click.option(
    "--scenes", type=click.IntRange(min=1), help="Number of scenes; default: the preset's published number."
)
@click.option("--split", type=click.Choice(["train", "test"]), default="train", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@click.option(
    "--shapes",
    type=click.IntRange(min=1),
    help="Number of distinct shapes; default: the preset's, or all of --meshes.",
)
@click.option(
    "--bgs",
    type=click.IntRange(min=1),
    help="Number of distinct floors; default: the preset's, or all of --textures.",
)
@click.option("--views", type=click.IntRange(min=1), help="Views per scene; default: the preset's.")
@click.option(
    "--size",
    callback=_parse_size,
    default="192x144",
    show_default=True,
    metavar="WxH",
    help="Image size in pixels. The field of view is the preset's; 4:3 keeps uORF's focal ratio.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    help="Samples per pixel, before denoising; default: the preset's.",
)
@click.option(
    "--passes",
    callback=_parse_list,
    default="depth,mask",
    show_default=True,
    metavar="LIST",
    help="Any of depth, mask, normal, albedo, amodal.",
)
@click.option(
    "--assets", type=click.Path(path_type=Path), help="Asset manifest to use instead of the built-in one."
)
@click.option("--shapenet-root", type=click.Path(path_type=Path), help="Folder of ShapeNetCore v1 or v2.")
@click.option("--meshes", type=click.Path(path_type=Path), help="Folder of mesh files: GLB, OBJ, FBX, ….")
@click.option("--textures", type=click.Path(path_type=Path), help="Folder of floor textures.")
@_UP
@click.option("--mix", is_flag=True, help="Use procedural shapes too, as many as from files.")
@click.option(
    "--recolour/--no-recolour",
    default=None,
    help="Replace the colours of mesh files by sampled ones; default: the preset's (room-chair: yes).",
)
@click.option(
    "--real-scale",
    is_flag=True,
    help="Keep the objects' real sizes; default: a range of sizes for each category.",
)
@click.option(
    "--unit",
    type=click.Choice(["m", "cm", "mm", "in", "ft"]),
    help="Unit of mesh files, for --real-scale; default: the manifest's, m.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Blender processes; default: one per core.")
@click.option(
    "--shard",
    callback=_parse_shard,
    default="1/1",
    metavar="I/N",
    help="Generate every Nth scene, starting with the Ith (1 to N); for job arrays.",
)
@click.option(
    "--manipulations",
    is_flag=True,
    help="Also render the manipulation test: one object moved; the background changed.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="ray: the cluster at --address, or a new one on this machine.",
)
@click.option("--address", help="Address of the Ray cluster: host:port, or auto.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "optix", "hip", "metal"]),
    default="cpu",
    show_default=True,
    help="Device that Cycles renders on. Only cpu gives bit-identical files.",
)
@click.option(
    "--remake",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Render one scene again from its scenes/*.json, which replaces most other options.",
)
@click.option(
    "--poses",
    type=click.Path(path_type=Path),
    metavar="POSES.json",
    help="With --remake: render from these cameras, a JSON list of 4x4 camera-to-world matrices.",
)
@click.option(
    "--plan-only", is_flag=True, help="Write only the scene plans, to plans/ in --out; render nothing."
)
@click.option("--overwrite", is_flag=True, help="Replace a different generated dataset in --out.")
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
    engine: Literal["local", "ray"],
    address: str | None,
    device: str,
    remake: Path | None,
    poses: Path | None,
    plan_only: bool,
    overwrite: bool,
) -> None:
    """Generate a dataset with Blender: posed images, masks, depth.

    An interrupted run continues when the command is run again.
    """
    from generation.jobs import (
        AssetFolders,
        Workers,
        generate_dataset,
        plan_dataset,
        read_plan,
        render_plan,
    )
    from generation.plan.request import build_request
    from objnerf.console import progress_bar
    from objnerf.dataset.index import scan_dataset

    if unit is not None and not real_scale:
        raise click.UsageError("--unit has no effect without --real-scale")
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
        click.echo(f"{out}: scene {plan.scene} rendered from {remake}, {len(plan.views)} views")
        return
    if poses is not None:
        raise click.UsageError("--poses needs --remake FILE, the scene to render from these poses")
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
    try:
        with progress_bar("planning" if plan_only else "rendering", "scenes") as progress:
            if plan_only:
                report = plan_dataset(request, out, folders, shard=shard, progress=progress)
            else:
                report = generate_dataset(
                    request,
                    out,
                    folders,
                    workers=Workers(count=workers, device=device, engine=engine, address=address),
                    shard=shard,
                    overwrite=overwrite,
                    progress=_forecast(progress, out),
                )
    except KeyboardInterrupt:
        if not plan_only and out.is_dir() and (made := len(scan_dataset(out).scenes)):
            click.echo(f"{out}: {made} of {request.scenes} scenes are complete")
            click.echo(f"next: objnerf validate {out}")
        raise
    click.echo(f"{out}: {report.statistics()}")
    report.raise_failures()
    if not plan_only:
        click.echo(f"next: objnerf validate {out}")


def _forecast(progress: "Progress", out: Path) -> "Progress":
    """Say what is written where, once it begins, and one estimate of the remaining time."""
    from time import monotonic

    from objnerf.console import format_seconds

    begun = monotonic()
    first: int | None = None
    said = False

    def report(done: int, total: int, note: str) -> None:
        nonlocal first, said
        if first is None:
            # Not before: what cannot be used is an error before anything is written.
            first = done
            click.echo(
                f"writing {total} scene{'s'[: total > 1]} to {out} (--scenes N for fewer). Ctrl-C stops; "
                "finished scenes are usable, and the same command continues",
                err=True,
            )
        passed, made = monotonic() - begun, done - first
        if not said and made >= FORECAST_SCENES and passed >= FORECAST_SECONDS:
            said = True
            left = passed / made * (total - done)
            click.echo(
                f"{made} scenes took {format_seconds(passed)}; the other {total - done} will take about "
                f"{format_seconds(left)} on this machine",
                err=True,
            )
        progress(done, total, note)

    return report


@main.group("assets", short_help="List, check, draw and download assets.")
def assets_group() -> None:
    """Shapes and textures for `generate`: list, check, draw and download them."""


def _asset_sources(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options for the manifest and the asset folders."""
    for option in (
        click.option("--textures", type=click.Path(path_type=Path), help="Folder of floor textures."),
        click.option(
            "--meshes", type=click.Path(path_type=Path), help="Folder of mesh files: GLB, OBJ, FBX, …."
        ),
        click.option(
            "--shapenet-root", type=click.Path(path_type=Path), help="Folder of ShapeNetCore v1 or v2."
        ),
        click.option(
            "--assets",
            type=click.Path(path_type=Path),
            help="Asset manifest to use instead of the built-in one.",
        ),
    ):
        command = option(command)
    return command


@assets_group.command("list")
@_asset_sources
def assets_list(
    assets: Path | None, shapenet_root: Path | None, meshes: Path | None, textures: Path | None
) -> None:
    """List the shapes, meshes and textures of the manifest."""
    from generation.assets.catalogue import Catalogue
    from generation.assets.inventory import describe

    click.echo(describe(Catalogue.load(assets, shapenet_root, meshes, textures)))


@assets_group.command("check", short_help="Load every asset; report those that cannot be used.")
@_asset_sources
@_UP
def assets_check(
    assets: Path | None,
    shapenet_root: Path | None,
    meshes: Path | None,
    textures: Path | None,
    up: Literal["auto", "y", "z"] | None,
) -> None:
    """Load every asset; report those that cannot be used, and properties that are not rendered."""
    from generation.assets.catalogue import Catalogue
    from objnerf.console import progress_bar
    from objnerf.errors import WorkError

    catalogue = Catalogue.load(assets, shapenet_root, meshes, textures, up=up)
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
        click.echo(f"{source}: {sound} of {len(of_source)} assets are usable")
    if bad:
        raise WorkError(f"{len(bad)} of {len(results)} assets cannot be used; `generate` skips them")


@assets_group.command("sheet")
@_asset_sources
@_UP
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("assets.png"),
    show_default=True,
    help="Output image: .png or .jpg.",
)
@click.option(
    "--source", default="furniture", show_default=True, help="Source or shape family of the manifest."
)
@click.option("--shapes", type=click.IntRange(min=0), default=60, show_default=True)
@click.option("--bgs", type=click.IntRange(min=0), default=50, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def assets_sheet(
    assets: Path | None,
    shapenet_root: Path | None,
    meshes: Path | None,
    textures: Path | None,
    up: Literal["auto", "y", "z"] | None,
    out: Path,
    source: str,
    shapes: int,
    bgs: int,
    seed: int,
) -> None:
    """Draw shapes, floors and walls on a contact sheet."""
    from generation.assets.asset_sheets import draw_sheet
    from generation.assets.catalogue import Catalogue
    from objnerf.console import progress_bar
    from objnerf.dataset.files import atomic_path
    from objnerf.errors import InputError

    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise InputError(f"--out {out}: expected a name that ends in .png or .jpg")
    catalogue = Catalogue.load(assets, shapenet_root, meshes, textures, up=up)
    with progress_bar("drawing", "images") as progress:
        sheet = draw_sheet(catalogue, source, shapes, bgs, seed, progress=lambda d, n: progress(d, n, ""))
    with atomic_path(out) as path:
        sheet.save(path, format="PNG" if out.suffix.lower() == ".png" else "JPEG")
    click.echo(f"{out}: {sheet.width} × {sheet.height} pixels")


@assets_group.command("fetch")
@click.argument("names", nargs=-1)
@click.option(
    "--assets", type=click.Path(path_type=Path), help="Asset manifest to use instead of the built-in one."
)
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("assets"),
    show_default=True,
    help="Output folder; files go to its textures/ and meshes/.",
)
def assets_fetch(names: tuple[str, ...], assets: Path | None, folder: Path) -> None:
    """Download the assets NAMES of the manifest, or all of them."""
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


@main.command(short_help="Train a model on a dataset.")
@_DATASET_OR_DEFAULT
@click.option(
    "--recipe", "source", metavar="NAME|FILE", help="A built-in recipe, or a YAML file. [default: tiny]"
)
@click.option("--out", type=click.Path(path_type=Path), help="Run folder. [default: runs/DATASET-RECIPE]")
@_scale_options
@click.option(
    "--fixed-locality/--azimuth-locality",
    default=None,
    help="Locality box and object fields in world axes, not in the input view's azimuth frame.",
)
@click.option("--num-slots", type=int, help="Number of slots, including the background.")
@click.option("--lr", type=float, help="Peak learning rate, reached after warm-up.")
@click.option("--attn-decay-steps", type=int, help="Half-life of the learning rate, in steps.")
@click.option("--warmup-steps", type=int, help="Length of the learning rate warm-up, in steps.")
@click.option("--seed", type=int, help="Random seed.")
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY.SUB=VALUE",
    help="Set any key of the recipe, e.g. batch.scenes=4; repeatable.",
)
@click.option("--max-steps", type=click.IntRange(min=1), help="Stop when the run has this many steps.")
@click.option(
    "--max-minutes", type=click.FloatRange(min=0, min_open=True), help="Stop after this many minutes."
)
@_DEVICE
@click.option("--resume", is_flag=True, help="Continue the run in --out from its last checkpoint.")
@click.option(
    "--validate/--no-validate",
    "checks",
    default=True,
    help="Run the quick checks of `objnerf validate` first. [default: on]",
)
@click.option("--print-config", is_flag=True, help="Print the resolved recipe as YAML and exit.")
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
    """Train a model on DATASET; everything goes to a run folder.

    Order of precedence: command-line options, the recipe, the dataset's dataset.yaml, uORF's values. torchrun
    trains on several GPUs.
    """
    from objnerf.console import format_seconds, messages_shown, progress_bar
    from objnerf.dataset import open_dataset
    from objnerf.training.recipe_files import dump_yaml, option_overrides, resolve_recipe

    recipe, out = resolve_recipe(dataset, source, out, option_overrides(options, assignments), resume=resume)
    if print_config:
        click.echo(dump_yaml(recipe), nl=False)
        return
    if checks and os.environ.get("RANK", "0") == "0":
        scale = recipe.scale.model_dump(exclude={"own_intrinsics"})
        if recipe.scale.own_intrinsics and open_dataset(dataset).has_own_intrinsics:
            del scale["focal_ratio"]  # as an option it would override the views' own intrinsics
        _refuse_unsound(dataset, num_slots=recipe.model.num_slots, **scale)

    from objnerf.training.loop import RunOptions
    from objnerf.training.loop import train as train_model
    from objnerf.training.processes import stopped_by_signal

    main_process = os.environ.get("RANK", "0") == "0"
    with stopped_by_signal() as stop, messages_shown(main_process):
        outcome = train_model(
            dataset,
            out,
            recipe,
            RunOptions(
                device=device,
                resume=resume,
                max_steps=max_steps,
                max_minutes=max_minutes,
                command=sys.argv,
                bar=progress_bar,
                stop=stop,
            ),
        )
    quality = "" if outcome.psnr is None else f", PSNR {outcome.psnr:.1f} dB on held-out views"
    if main_process:
        click.echo(
            f"{out}: {outcome.step} steps, {format_seconds(outcome.seconds)}{quality} ({outcome.reason})"
        )
        if outcome.nothing_held_out is not None:
            click.echo(
                f"note: no PSNR on novel views, since no scene is held out: {outcome.nothing_held_out}"
            )
        click.echo(
            f"next: objnerf evaluate {out} {dataset} · objnerf render {out} {dataset} --slots · "
            f"objnerf export {out} {dataset} · objnerf view {out}"
        )
    if outcome.reason == "stopped":
        click.secho(
            f"interrupted; `objnerf train {dataset} --out {out} --resume` continues", fg="yellow", err=True
        )
        ctx.exit(130)


@main.command("validate", short_help="Check a dataset; report mistakes and their fixes.")
@click.option("--explain", metavar="ID", is_eager=True, help="Print the documentation of a check and exit.")
@_DATASET_OR_DEFAULT
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the findings as JSON to this file.",
)
@click.option(
    "--html",
    "html_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a report with images, cameras and histograms to this file; works offline.",
)
@click.option("--strict", is_flag=True, help="Exit with status 1 on warnings, too.")
@click.option(
    "--only",
    default="",
    callback=_parse_list,
    help="Run only these checks (comma-separated IDs; POSE stands for all POSE-… checks).",
)
@click.option("--skip", default="", callback=_parse_list, help="Skip these checks.")
@_scale_options
@click.option(
    "--num-slots", type=click.IntRange(min=1), help="Number of slots of the model, including the background."
)
@click.option("--sample", type=click.IntRange(min=1), help="Read the images of only this many scenes.")
@click.option("--photo", is_flag=True, help="Check poses against image feature matches (extra: photo).")
@click.option(
    "--fix",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write a corrected copy of the dataset to this folder.",
)
@click.option(
    "--limit", "limits", multiple=True, metavar="NAME=VALUE", help="Change a threshold; repeatable."
)
@click.option(
    "--workers", type=click.IntRange(min=1), help="Processes that read images; default: one per core."
)
@click.pass_context
def validate_(
    ctx: click.Context,
    dataset: Path | None,
    json_file: Path | None,
    html_file: Path | None,
    strict: bool,
    explain: str | None,
    limits: tuple[str, ...],
    workers: int | None,
    **options: Any,
) -> None:
    """Check DATASET; report what is wrong, the likely cause, and the fix.

    Settings that are not given are read from the dataset's dataset.yaml, else uORF's values hold. Exit
    status: 0 no errors, 1 errors found, 2 the dataset cannot be validated.
    """
    import validate

    if explain is not None:
        click.echo(validate.explain(explain), nl=False)
        return
    assert dataset is not None
    asked = validate.Options(
        limits=validate.parse_limits(limits), workers=workers or validate.cores(), **options
    )
    status = validate.command(dataset, asked, json_file, html_file, strict=strict)
    if status == 0:
        click.echo(f"next: objnerf train {options['fix'] or dataset}", err=True)
    ctx.exit(status)


def _refuse_unsound(dataset: Path, **settings: Any) -> None:
    """Run the validator's quick checks; raise its report if there are errors."""
    import validate
    from objnerf.errors import InputError

    report = validate.run(dataset, validate.Options(quick=True, **settings))
    if not report.ok:
        raise InputError(
            f"{dataset} has errors, so no training was started; --no-validate skips this check\n"
            f"{validate.render_text(report)}"
        )
    for finding in report.warnings:
        click.secho(f"warning: {finding.id}: {finding.message}", fg="yellow", err=True)


@main.command(short_help="Render novel views, orbits or single slots.")
@_RUN
@_DATASET
@click.option("--scene", type=click.IntRange(min=0), help="Scene ID. [default: the first held-out scene]")
@click.option(
    "--orbit",
    type=click.IntRange(min=2),
    metavar="N",
    help="Render from N cameras on a circle instead of the scene's views.",
)
@click.option("--slots", is_flag=True, help="Also render each slot separately.")
@click.option(
    "--size",
    callback=_parse_size_or_none,
    metavar="WxH",
    help="Image size in pixels. [default: the recipe's]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="A folder for PNGs, or a file: .png (contact sheet), .gif, .mp4. [default: RUN/renders/scene_ID]",
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
    """Reconstruct a scene of DATASET from its first view and render it: novel views, orbits, single slots."""
    from objnerf.console import progress_bar
    from objnerf.evaluation import renders

    opened = renders.load_scene(run, dataset, scene, size=size, orbit=orbit, device=device, recipe=recipe)
    out = out or run / "renders" / f"scene_{opened.scene.id:04d}"
    renders.check_out(out, moving=orbit is not None)
    shown = [0, *opened.visible_slots()] if slots else []
    with progress_bar("rendering", "views") as progress:
        written = renders.write_renders(opened, out, slots=shown, progress=progress)
    click.echo(renders.summary_of(written))


@main.command(short_help="Move, copy or delete objects; replace the background.")
@_RUN
@_DATASET
@click.option("--scene", type=click.IntRange(min=0), help="Scene ID. [default: the first held-out scene]")
@click.option(
    "--move",
    type=(int, float, float),
    multiple=True,
    metavar="SLOT DX DY",
    help="Move an object; world units.",
)
@click.option(
    "--copy",
    type=(int, float, float),
    multiple=True,
    metavar="SLOT DX DY",
    help="Add a copy of an object, moved by DX DY.",
)
@click.option("--delete", type=int, multiple=True, metavar="SLOT", help="Remove an object.")
@click.option(
    "--background-from", type=click.IntRange(min=0), metavar="SCENE", help="Use the background of this scene."
)
@click.option(
    "--orbit",
    type=click.IntRange(min=2),
    metavar="N",
    help="Render from N cameras on a circle instead of the scene's views.",
)
@click.option(
    "--size",
    callback=_parse_size_or_none,
    metavar="WxH",
    help="Image size in pixels. [default: the recipe's]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="A folder for PNGs, or a file: .png (contact sheet), .gif, .mp4. [default: RUN/edits/scene_ID.png]",
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
    """Edit a scene and render it before and after: move, copy or delete objects, replace the background.

    Objects are identified by their slots; `objnerf render RUN DATASET --slots` shows them. Edits are applied
    in the order moves, copies, deletions.
    """
    from objnerf.console import progress_bar
    from objnerf.evaluation import edits, renders

    opened = renders.load_scene(run, dataset, scene, size=size, orbit=orbit, device=device, recipe=recipe)
    out = out or run / "edits" / f"scene_{opened.scene.id:04d}.png"
    renders.check_out(out, moving=orbit is not None)
    if not (move or copy or delete or background_from is not None):
        raise click.UsageError(
            f"no edit given; use --move, --copy, --delete or --background-from. {opened.describe_slots()}"
        )
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
        written = renders.write_edit(opened, changed, out, progress=progress)
    click.echo(renders.summary_of(written))


@main.command(short_help="Export the objects of a scene as meshes.")
@_RUN
@_DATASET
@click.option("--scene", type=click.IntRange(min=0), help="Scene ID. [default: the first held-out scene]")
@click.option(
    "--slot",
    type=int,
    multiple=True,
    metavar="SLOT",
    help="Export only this object; repeatable. [default: all visible]",
)
@click.option("--ground", is_flag=True, help="Export the ground, too, as a coloured slab.")
@click.option(
    "--resolution",
    type=click.IntRange(min=16, max=512),
    default=96,
    show_default=True,
    help="Grid points along each side of the locality box.",
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
    """Export the objects of a scene as closed, coloured meshes, in world coordinates.

    The file is binary glTF with one node per object: object_1, object_2, ….
    """
    from objnerf.console import progress_bar
    from objnerf.errors import WorkError
    from objnerf.evaluation import edits, meshes, renders

    if out is not None and out.suffix.lower() != ".glb":
        raise click.UsageError(f"--out {out}: expected a file that ends in .glb")
    opened = renders.load_scene(run, dataset, scene, device=device, recipe=recipe)
    out = out or run / "meshes" / f"scene_{opened.scene.id:04d}.glb"
    chosen = [edits.check_slot(opened.code, number) for number in slot] or list(opened.visible_slots())
    with progress_bar("sampling the fields", "layers") as progress:
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
        click.echo(f"not exported, no surface: {', '.join(without)}")
    click.echo(out)


@main.command(short_help="Check the installation.")
def doctor() -> None:
    """Check this machine: Python, Blender, torch, GPU, optional libraries; say which verbs lack what."""
    from objnerf.evaluation.doctor import examine

    for finding in examine():
        mark = {"ok": ("ok", "green"), "missing": ("--", "yellow"), "broken": ("!!", "red")}[finding.state]
        click.echo(f"{click.style(mark[0], fg=mark[1])}  {finding.name:<22} {finding.detail}")


@main.command(short_help="Run all steps on the built-in assets, and write a report.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs/demo"),
    show_default=True,
    help="Output folder.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=2),
    default=11.0,
    show_default=True,
    help="Total time; training gets what the other steps leave.",
)
@click.option(
    "--scenes", type=click.IntRange(min=8), default=64, show_default=True, help="Scenes to generate."
)
@click.option("--preset", default="clevr-567", show_default=True, help="Preset of the scenes; see generate.")
@click.option(
    "--picture",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the results as one PNG, as in the README.",
)
def demo(out: Path, minutes: float, scenes: int, preset: str, picture: Path | None) -> None:
    """Run everything on the built-in assets: generate, validate, train, evaluate, and write a report.

    An interrupted demo continues when the command is run again.
    """
    import validate as validator
    from generation.jobs import generate_dataset
    from generation.plan.request import build_request
    from objnerf.console import messages_shown, progress_bar
    from objnerf.dataset import open_dataset
    from objnerf.errors import WorkError
    from objnerf.evaluation.clock import DemoClock

    dataset, run = out / "dataset", out / "training"
    clock = DemoClock(out / "demo.json", minutes)
    held_out = max(2, scenes // 6)

    _announce(1, f"generating {scenes} scenes with Blender", clock.left)
    with clock.step("generate"), progress_bar("rendering", "scenes") as progress:
        # Fewer shapes and floors than usual: there are few rooms to learn them from.
        shapes, floors = (60, 6) if preset == "room-diverse" else (None, None)
        request = build_request(
            preset, scenes=scenes, size=(128, 96), samples=16, shapes=shapes, backgrounds=floors
        )
        made = generate_dataset(request, dataset, progress=progress)
    made.raise_failures()

    _announce(2, "validating the dataset", clock.left)
    with clock.step("validate"):
        verdict = validator.run(dataset)
    click.echo(validator.render_text(verdict))
    if not verdict.ok:
        raise WorkError(
            f"the validator finds errors in {dataset}, which is a bug in objnerf; please report it"
        )

    # torch takes seconds to load: not before it is needed.
    import numpy as np

    from objnerf.dataset.files import write_image, write_text
    from objnerf.evaluation import evaluate as evaluation
    from objnerf.evaluation.demo import Step, demo_page, demo_summary
    from objnerf.evaluation.gallery import edit_pictures, gallery_sheet, scene_gallery, turntable
    from objnerf.evaluation.report import write_json
    from objnerf.training.checkpoints import checkpoint_path
    from objnerf.training.loop import RunOptions
    from objnerf.training.loop import train as train_model
    from objnerf.training.processes import stopped_by_signal
    from objnerf.training.recipe_files import resolve_recipe

    _announce(3, "training a small model", clock.left)
    trained = clock.seconds.get("train", 0.0) / 60 if checkpoint_path(run, "last").is_file() else 0.0
    left = clock.training_minutes() - trained
    if left > 0.1:
        begun = (run / "config.yaml").is_file()
        # A slot for each object that the preset may place, and one for the background.
        slots = request.preset.objects.count[1] + 1
        asked = [("held_out.scenes", held_out), ("model.num_slots", max(6, slots))]
        recipe, _ = resolve_recipe(dataset, None if begun else "tiny", run, asked, resume=begun)
        with clock.step("train"), stopped_by_signal() as stop, messages_shown():
            outcome = train_model(
                dataset,
                run,
                recipe,
                RunOptions(resume=begun, max_minutes=left, command=sys.argv, bar=progress_bar, stop=stop),
            )
        if outcome.reason == "stopped":
            raise KeyboardInterrupt
    else:
        click.echo(f"already trained for {trained:.1f} minutes")

    _announce(4, "evaluating the model on held-out scenes", clock.left)
    with clock.step("evaluate"):
        opened = evaluation.open_run(run, "cpu")
        found = open_dataset(dataset)
        with progress_bar("evaluating", "scenes") as progress:
            result = evaluation.evaluate_run(opened, found, progress=progress)
    click.echo(result.text())

    _announce(5, "writing the report", clock.left)
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
        checked = validator.as_json_object(verdict)
        page = demo_page(found, checked, run, result, galleries, steps, edits=edited, turning=turning)
        write_text(out / "report.html", page)
        write_json(out / "report.json", demo_summary(checked, run, result, steps))
    click.secho(f"{out / 'report.html'}: open it in a browser", bold=True)


def _announce(step: int, text: str, left: str) -> None:
    """Print the heading of one step of the demo."""
    click.secho(f"[{step}/5] {text}", bold=True, err=True, nl=False)
    click.secho(f"  ({left})", dim=True, err=True)


@main.command(short_help="Convert from and to other projects' formats.")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("destination", type=click.Path(path_type=Path))
@click.option("--from", "source_format", metavar="FORMAT", help="Format of SOURCE; detected when not given.")
@click.option(
    "--to",
    "target_format",
    metavar="FORMAT",
    help="Format of DESTINATION; objnerf when not given and SOURCE has another format.",
)
@click.option("--undistort", is_flag=True, help="Resample the images to one centred pinhole camera.")
@click.option("--max-size", type=click.IntRange(8), help="Downscale images to this longer side, pixels.")
@click.option(
    "--level/--no-level", default=None, help="Rotate the world so that the cameras' up direction is z."
)
@click.option(
    "--centre/--no-centre", default=None, help="Move the point that the cameras look at to the origin."
)
@click.option("--scale/--no-scale", default=None, help="Scale the world to the default near, far and box.")
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

    The world of a capture (COLMAP, a phone's transforms.json) is levelled, centred and scaled where it needs
    it; a world with metric units or a known ground stays as it is. --no-level, --no-centre and --no-scale
    skip a step; --level, --centre and --scale force it.

    FORMAT is one of objnerf (our own), nerfstudio, instant-ngp (transforms.json), colmap, colmap-binary,
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
        click.echo(f"not written, {done.target_format} cannot hold it: {item}")
    if done.target_format == "objnerf":
        # For a capture the images are the only ground truth.
        photo = " --photo" if pictures["undistort"] else ""
        click.echo(f"next: objnerf validate {destination}{photo}")


@main.command(short_help="Describe a dataset for publication.")
@_DATASET
@click.option("--out", type=click.Path(path_type=Path), help="Output folder. [default: DATASET]")
@click.option("--name", help="Name of the dataset. [default: the folder's name]")
@click.option("--licence", metavar="SPDX", help="Licence of the dataset as a whole, e.g. CC-BY-4.0.")
@click.option("--url", help="URL where the dataset is published.")
@click.option("--author", "authors", multiple=True, help="Author of the dataset; repeatable.")
@click.option(
    "--overwrite", is_flag=True, help="Replace a README.md or croissant.json that objnerf did not write."
)
def card(dataset: Path, out: Path | None, overwrite: bool, **publication: Any) -> None:
    """Describe DATASET for publication: README.md for hubs, croissant.json, checksums, a contact sheet.

    Facts are read from the files, dataset.yaml and scenes/*.json; unknown facts are marked as unknown.
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


@main.command(short_help="View a dataset or a run in the browser.")
@click.argument("folder", metavar="RUN|DATASET", type=click.Path(path_type=Path))
@click.option(
    "--dataset",
    type=click.Path(path_type=Path),
    help="Dataset whose scenes a run is shown on. [default: its training set]",
)
@click.option("--scene", type=click.IntRange(min=0), help="Scene shown first.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; 0.0.0.0 for all network interfaces.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
@_REFERENCE
@_DEVICE
def view(folder: Path, dataset: Path | None, scene: int | None, **settings: Any) -> None:
    """View a dataset (cameras, images, points) or a run (objects to drag and hide) in the browser."""
    from objnerf.viewer import open_viewer

    viewer = open_viewer(folder, dataset=dataset, scene=scene, **settings)
    click.echo(f"open {viewer.url} in a browser; Ctrl-C stops the viewer")
    try:
        viewer.server.sleep_forever()
    except KeyboardInterrupt:
        viewer.stop()


if __name__ == "__main__":
    main()

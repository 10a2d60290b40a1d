"""The ``objnerf`` command: one thin function a verb.

Everything heavy (torch, bpy, plotly) is imported inside the verb that needs it, so that help is instant.
"""

import sys
from pathlib import Path
from typing import Any

import click

from objnerf import __version__
from objnerf.errors import ObjnerfError


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
    from objnerf.pictures.cameras import WITH_THUMBNAILS, check_suffix, write_cameras
    from objnerf.pictures.rig import read_rig

    check_suffix(out)
    thumbnails = 40 if out.suffix.lower() in WITH_THUMBNAILS else 0
    rig = read_rig(
        open_dataset(dataset), scene=scene, max_views=max_views, thumbnails=thumbnails, skip_broken=True
    )
    write_cameras(rig, out)
    left_out = f"; {rig.left_out} more left out, see --max-views" if rig.left_out else ""
    click.echo(f"{out}: {rig.summary}{left_out}")
    if rig.skipped:
        reasons = "".join(f"\n  {reason}" for _, reason in rig.skipped[:10])
        more = f"\n  and {len(rig.skipped) - 10} more" if len(rig.skipped) > 10 else ""
        raise WorkError(
            f"{len(rig.skipped)} of {len(rig.skipped) + len(rig.cameras)} views could not be drawn:"
            f"{reasons}{more}\nrun `objnerf validate {dataset}` to learn more"
        )


_RUN = click.argument("run", type=click.Path(path_type=Path))
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
@_DEVICE
def evaluate(
    run: Path,
    dataset: Path,
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

    opened = evaluation.open_run(run, device)
    found = open_dataset(dataset)
    with progress_bar("evaluating", "scenes") as progress:
        result = evaluation.evaluate_run(
            opened, found, limit=scenes, manipulations=manipulations, seed=seed, progress=progress
        )
    if json_path is not None:
        write_json(json_path, result.as_dict())
    if html_path is not None:
        settings = evaluation.render_settings(opened.config.recipe, seed=seed)
        shown = [scores.scene for scores in result.scenes[:GALLERY_SCENES]]
        write_page(
            html_path, result, [scene_gallery(opened.model, found.scenes[id], settings) for id in shown]
        )
    click.echo(result.text())


if __name__ == "__main__":
    main()

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


if __name__ == "__main__":
    main()

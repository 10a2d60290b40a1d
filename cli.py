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


if __name__ == "__main__":
    main()

"""What every command shares: `--json`, `--debug`, and errors that end in a message and their exit code."""

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import wraps
from inspect import Parameter, signature
from typing import Annotated, Any

import typer

from atft_gat_fan.errors import AtftError

INTERRUPTED = 130

JsonFlag = Annotated[bool, typer.Option("--json", help="Write the result to stdout as JSON.")]
DebugFlag = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Hydra's grammar: config=FILE first lays a file over the configuration, group=option chooses one.",
        show_default=False,
    ),
]


def command(app: typer.Typer, *, hidden: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a command of `app`. Its first parameter is the `Output`, the others are the command's."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def run(json: bool, debug: bool, **arguments: Any) -> None:
            with errors_reported(debug):
                from atft_gat_fan.cli.output import Output

                output = Output(as_json=json, debug=debug, stdout=sys.stdout)
                with redirect_stdout(sys.stderr):  # a chatty library must not spoil the result
                    function(output, **arguments)

        own = list(signature(function).parameters.values())[1:]
        shared = [
            Parameter("json", Parameter.KEYWORD_ONLY, default=False, annotation=JsonFlag),
            Parameter("debug", Parameter.KEYWORD_ONLY, default=False, annotation=DebugFlag),
        ]
        parameters = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in own] + shared
        run.__signature__ = signature(function).replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        app.command(hidden=hidden)(run)
        return function

    return register


@contextmanager
def errors_reported(debug: bool) -> Iterator[None]:
    """Turn what a command raises into a message on stderr and an exit code; with `debug`, show the traceback first."""
    try:
        yield
    except (typer.Exit, typer.Abort, typer.TyperException, BrokenPipeError):
        raise  # typer's own: usage errors and a closed pipe
    except KeyboardInterrupt as error:
        _say("interrupted", error, debug)
        raise typer.Exit(INTERRUPTED) from error
    except AtftError as error:
        _say(str(error), error, debug)
        raise typer.Exit(error.exit_code) from error
    except Exception as error:  # the last stop: users see messages, never tracebacks
        hint = "" if debug else "; this was not foreseen, --debug shows where it happened"
        _say(f"{type(error).__name__}: {error}{hint}", error, debug)
        raise typer.Exit(1) from error


def _say(message: str, error: BaseException, debug: bool) -> None:
    from rich.console import Console
    from rich.text import Text

    if debug:
        traceback.print_exception(error)
    Console(stderr=True).print(Text.assemble(("error", "bold red"), ": ", message), soft_wrap=True)

"""The `atft` tool. Commands import what they need when they run, so that `--help` is instant."""

from collections.abc import Sequence

import typer

from atft_gat_fan.cli import (
    compare,
    data,
    doctor,
    explain,
    export,
    monitor,
    results,
    search,
    train,
    validate,
    walkforward,
)

app = typer.Typer(
    name="atft",
    help="Rank the stocks of a market by their expected return over the next days: train, evaluate, predict.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
train.register(app)
results.register(app)
validate.register(app)
walkforward.register(app)
search.register(app)
monitor.register(app)
compare.register(app)
explain.register(app)
export.register(app)
doctor.register(app)
app.add_typer(data.app, name="data")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command, by default that of the command line, and exit with its code."""
    app(args=arguments, prog_name="atft")

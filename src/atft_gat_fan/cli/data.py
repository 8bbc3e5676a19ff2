"""`atft data`: convert a panel into a store, check either, and fetch panels."""

from typing import TYPE_CHECKING, Annotated

import typer

from atft_gat_fan.cli import fetch
from atft_gat_fan.cli.command import Overrides, command

if TYPE_CHECKING:
    from atft_gat_fan.cli.output import Output

app = typer.Typer(help="Convert a panel into a store; check a panel or a store; fetch a panel.", no_args_is_help=True)
app.add_typer(fetch.app, name="fetch")


@command(app)
def build(
    output: "Output",
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC", help="Parquet file or folder, CSV, address of one, sample or synthetic.", show_default=False
        ),
    ],
    out: Annotated[
        str, typer.Option("--out", metavar="STORE", help="Folder of the store, or its address.", show_default=False)
    ],
    overrides: Overrides = None,
) -> None:
    """Convert a panel into a store: features, labels, and checksums, ready to be memory-mapped."""
    from atft_gat_fan.cli.output import facts_table
    from atft_gat_fan.runs.data import build as run_build

    facts = run_build(source, out, overrides or [], output.console)
    output.result(facts, text=facts_table(facts))


@command(app)
def check(
    output: "Output",
    path: Annotated[
        str,
        typer.Argument(metavar="SRC_OR_STORE", help="A panel to validate or a store to verify.", show_default=False),
    ],
    overrides: Overrides = None,
) -> None:
    """Validate a panel, every problem of it, or verify every byte of a store."""
    from atft_gat_fan.cli.output import facts_table
    from atft_gat_fan.runs.data import check as run_check

    facts = run_check(path, overrides or [], output.console)
    output.result(facts, text=facts_table(facts))

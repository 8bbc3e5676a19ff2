"""`atft export`: a trained model as a file for other programs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from atft_gat_fan.cli.command import command

if TYPE_CHECKING:
    from atft_gat_fan.cli.output import Output


def register(app: typer.Typer) -> None:
    command(app)(export)


def export(
    output: "Output",
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.", show_default=False)],
    form: Annotated[
        Literal["onnx", "torch"] | None,
        typer.Option("--format", help="ONNX, or a torch.export program (.pt2); by default what FILE ends in, or ONNX."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="File to write; by default in export/ of the run.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="SRC", help="Days to compare on; by default of what the run was trained on."),
    ] = None,
) -> None:
    """ONNX or torch.export, compared with the model on real days before it is written; leaves FILE and FILE.json."""
    from atft_gat_fan.cli.output import facts_table
    from atft_gat_fan.runs.export import export_run

    facts = export_run(run, form, out, data, output.console)
    output.result(facts, text=facts_table(facts))

"""Write a trained model as a file for other programs, once it is shown to give the same scores."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from atft_gat_fan.data.durable_files import replace_durably
from atft_gat_fan.errors import DataError, GateError, Problem, StorageError
from atft_gat_fan.inference.bundle import Bundle, apply_numerics
from atft_gat_fan.inference.export import export, exported_inputs
from atft_gat_fan.inference.export_check import TOLERANCE, Parity, parity, runner
from atft_gat_fan.inference.export_description import SUFFIXES, Format, describe, left_out
from atft_gat_fan.runs.members import load_members
from atft_gat_fan.runs.model_data import ModelData, open_model_data
from atft_gat_fan.runs.process import prepare_process
from atft_gat_fan.runs.run_files import write_json
from atft_gat_fan.runs.stages import Stages
from atft_gat_fan.signals import StopSignals

CHECKED_DAYS = 3
"""Compared with the model, spread over the data: universes of different sizes, where there are such."""
FEWEST_STOCKS = 2
"""Of the example that is traced: exporters take a size of 1 for a constant."""


def export_run(
    run: Path, form: Format | None, out: Path | None, source: str | None, console: Console
) -> dict[str, Any]:
    """Write `out` (default: `export/model.onnx` or `.pt2` in the run) and its description `<out>.json` beside it.

    Without `form` the suffix of `out` decides, and it is ONNX without either.
    The file is run on days of `source` (default: the data that the model was trained on) before it takes its name, and
    must agree with the model. Raises GateError where it does not, ConfigError where a package is missing, StorageError
    without a trained model, and what reading data raises. Nothing is written then.
    """
    member = load_members([run])[0]
    bundle = member.bundle
    prepare_process(bundle.numerics["threads"])
    apply_numerics(bundle, console.print)
    if form is None:
        form = "torch" if out is not None and out.suffix == SUFFIXES["torch"] else "onnx"
    out = out or run / "export" / f"model{SUFFIXES[form]}"
    if bundle.blend is not None:
        console.print(f"{run} blends LightGBM in: {left_out(bundle.blend)['why']}", style="yellow", highlight=False)
    with StopSignals() as signals, Stages(console, signals) as stages:
        data = open_model_data(member, source, stages)
        days = _checked_days(data)
        normalizer = bundle.normalizer.aligned_to(data.store.feature_names)
        stages(f"export to {form}", 0.0)
        example = exported_inputs(bundle.model, normalizer, data.batches.canonical(int(days[-1])))
        content = export(bundle, example, form)
        stages("compare with the model", 0.0)
        run_file = runner(content, form)
        found = None if run_file is None else parity(run_file, bundle.model, normalizer, data.batches, days)
    _require_parity(found, form)
    _write(out, content, {**describe(bundle, form), "parity": _parity_facts(found)})
    return _facts(out, len(content), bundle, found)


def _checked_days(data: ModelData) -> NDArray[np.int64]:
    """Spread over the days that have enough stocks, the newest of them last."""
    days = data.days_up_to(None, len(data.store.days))
    wide = [day for day in days.tolist() if len(data.batches.stocks(day)) >= FEWEST_STOCKS]
    if not wide:
        raise DataError(
            Problem(f"expected a day with at least {FEWEST_STOCKS} stocks to compare on, found none"),
            source=data.source,
        )
    places = np.unique(np.linspace(0, len(wide) - 1, min(CHECKED_DAYS, len(wide))).round().astype(int))
    chosen: NDArray[np.int64] = np.array(wide)[places]
    return chosen


def _require_parity(found: list[Parity] | None, form: Format) -> None:
    for day in found or ():
        if not day.holds:
            raise GateError(
                f"expected {form} scores within {TOLERANCE:g} of the model's on {day.date}, relative to their root "
                f"mean square, found {day.difference:.1e} over {day.compared} stocks; nothing was written. Try the "
                "other --format, and report it"
            )


def _parity_facts(found: list[Parity] | None) -> dict[str, Any] | None:
    """None: nothing that runs the file is installed here."""
    return None if found is None else {"tolerance": TOLERANCE, "days": [asdict(day) for day in found]}


def _write(out: Path, content: bytes, description: dict[str, Any]) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        replace_durably(out, content)
    except OSError as error:
        raise StorageError(f"{out}: cannot write: {error.strerror}; free space or choose another --out") from error
    write_json(out.with_name(f"{out.name}.json"), description)


def _facts(out: Path, nbytes: int, bundle: Bundle, found: list[Parity] | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "out": str(out),
        "description": f"{out}.json",
        "bytes": nbytes,
        "model": bundle.fingerprint,
        "compared": found is not None,
    }
    if found is None:
        return {
            **facts,
            "why": "onnxruntime is not installed: pip install 'atft-gat-fan[onnx]' to have the file compared",
        }
    return {
        **facts,
        "days": [day.date for day in found],
        "stocks": [day.stocks for day in found],
        "near_ties_left_out": sum(day.near_ties for day in found),
        "largest_relative_difference": max(day.difference for day in found),
    }

"""What a trained model looks at: over the days of a panel, on one day stock by stock, and for one stock in full."""

from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from atft_gat_fan.errors import DataError, Problem, StorageError
from atft_gat_fan.inference.bundle import Bundle, apply_numerics
from atft_gat_fan.inference.explain import DayExplanation, Explanation, explain_days
from atft_gat_fan.inference.explain_report import build_page
from atft_gat_fan.inference.explanation_files import (
    Explained,
    Names,
    neighbour_table,
    stock_table,
    summary,
    universe_table,
)
from atft_gat_fan.inference.permutation import PermutationImportance, permutation_importance
from atft_gat_fan.inference.score_table import write_table
from atft_gat_fan.inference.stock_explanation import StockExplanation, explain_stock
from atft_gat_fan.runs.members import load_members
from atft_gat_fan.runs.model_data import ModelData, open_model_data
from atft_gat_fan.runs.process import prepare_process
from atft_gat_fan.runs.run_files import write_json, write_text
from atft_gat_fan.runs.stages import Stages
from atft_gat_fan.signals import StopSignals

FOLDER = "explanation"
UNIVERSE, STOCKS, NEIGHBOURS = "explanation.parquet", "stocks.parquet", "neighbours.parquet"
SUMMARY, PAGE = "explanation.json", "explain.html"
SEED = 0
"""Of what is exchanged: the same command gives the same numbers, whatever model is asked."""


@dataclass(frozen=True)
class Request:
    """What is asked: `days` days up to `day` (default: the newest of the data), and the stock `code` on that day.

    `source` None is the data that the model was trained on. `permutation_days` 0: no permutation importance; else of
    the `permutation_features` variables of largest weight, on that many days spread over the period.
    """

    run: Path
    source: str | None = None
    day: date | None = None
    code: str | None = None
    days: int = 252
    permutation_days: int = 0
    permutation_features: int = 20
    out: Path | None = None
    command: str = ""


def explain(request: Request, console: Console) -> dict[str, Any]:
    """Write the explanation's tables, summary and page into `request.out`, by default `explanation/` in the run.

    Of the data no day after `request.day` is used, save for the returns that permutation importance is judged by.
    Raises StorageError without a trained model, DataError for a day or a stock that is not in the data.
    """
    member = load_members([request.run])[0]
    bundle = member.bundle
    prepare_process(bundle.numerics["threads"])  # as `predict`: its bits come out again
    apply_numerics(bundle, console.print)
    with StopSignals() as signals, Stages(console, signals) as stages:
        data = open_model_data(member, request.source, stages)
        days = data.days_up_to(request.day, request.days)
        position = None if request.code is None else _position(data, int(days[-1]), request.code)
        if data.batches.graph is not None:
            data.batches.graph.prepare(days)
        over_time, day = explain_days(bundle.model, data.batches, days, progress=lambda share: stages("explain", share))
        permutation = _permutation(request, bundle, data, days, over_time, stages)
        about = None if position is None else _about(bundle, data, int(days[-1]), position)
    explained = _explained(request, bundle, data, over_time, day, permutation, position, about)
    folder = request.out or request.run / FOLDER
    _write(folder, explained, request.command)
    return {
        "folder": str(folder),
        "page": str(folder / PAGE),
        "date": str(explained.date),
        "days": len(over_time.days),
        "stocks": len(day.stocks),
        "model": bundle.fingerprint,
    }


def _position(data: ModelData, day: int, code: str) -> int:
    """Of a stock among those of the day. Raises DataError naming near codes, or the days that it is there."""
    codes = [data.store.codes[stock] for stock in data.batches.stocks(day)]
    if code in codes:
        return codes.index(code)
    near = get_close_matches(code, codes, n=3) or codes[:3]
    raise DataError(
        Problem(
            f"expected a stock that is present on {data.store.days[day]}, found {code!r}"
            + ("" if code in data.store.codes else ", which is on no day of the data"),
            mend=f"one of its {len(codes)} stocks, near: {', '.join(near)}" if codes else "choose a day with stocks",
        ),
        source=data.source,
    )


def _permutation(
    request: Request, bundle: Bundle, data: ModelData, days: NDArray[np.int64], over_time: Explanation, stages: Stages
) -> PermutationImportance | None:
    if not request.permutation_days:
        return None
    weights = over_time.variable_weights.mean.mean(axis=0)
    heaviest = np.argsort(-weights, kind="stable")[: request.permutation_features]
    present = np.array([day for day in days.tolist() if len(data.batches.stocks(day))])
    places = np.unique(np.linspace(0, len(present) - 1, min(request.permutation_days, len(present))).round())
    return permutation_importance(
        bundle.model,
        data.batches,
        present[places.astype(int)],
        heaviest.tolist(),
        seed=SEED,
        progress=lambda share: stages("exchange features between stocks", share),
    )


def _about(bundle: Bundle, data: ModelData, day: int, position: int) -> StockExplanation:
    device = torch.device("cpu")
    return explain_stock(bundle.model, data.batches.to_device(data.batches.canonical(day), device), position)


def _explained(
    request: Request,
    bundle: Bundle,
    data: ModelData,
    over_time: Explanation,
    day: DayExplanation,
    permutation: PermutationImportance | None,
    position: int | None,
    about: StockExplanation | None,
) -> Explained:
    names = Names(bundle.normalizer.feature_names, bundle.spec.horizons, bundle.spec.window, data.store.codes)
    return Explained(
        run=request.run.resolve().name,
        model=bundle.fingerprint,
        source=data.source,
        names=names,
        over_time=over_time,
        day=day,
        permutation=permutation,
        stock=position,
        about=about,
        blend=bundle.blend,
    )


def _write(folder: Path, explained: Explained, command: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot make the folder: {error.strerror}; choose another --out") from error
    footer = {"model": explained.model}
    write_table(universe_table(explained), folder / UNIVERSE, footer)
    write_table(stock_table(explained), folder / STOCKS, footer)
    write_table(neighbour_table(explained), folder / NEIGHBOURS, footer)
    write_json(folder / SUMMARY, summary(explained))
    write_text(folder / PAGE, build_page(explained, command))

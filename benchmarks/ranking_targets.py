"""What the ranking must reach on the NASDAQ panel of 2003 to 2017, beside what was measured."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from atft_gat_fan.evaluation.evaluate import MODEL
from atft_gat_fan.reporting.numbers import between, fixed
from benchmarks.measuring import Figure, at_least, at_most
from benchmarks.ranking_plan import OUT, PANEL, Request, command_of, without_places
from benchmarks.ranking_results import BLEND, LIGHTGBM, Json

SHOWN = ("1d", "5d")
"""Horizons that have rows whether or not there is a bar."""
BARS: dict[str, dict[tuple[str, str], tuple[float, float | None]]] = {
    "B": {("all", "1d"): (0.0455, 0.050), ("all", "5d"): (0.0386, 0.043), ("liquid", "1d"): (0.0155, 0.020)},
    "valid": {},
    "test": {("all", "1d"): (0.045, 0.047), ("skip1", "1d"): (0.009, None), ("liquid", "1d"): (0.015, 0.020)},
}
"""RankIC of the recipe's ensemble by fold, cut and horizon: the bar, and the one beyond.

They were set beforehand, from small prototypes. LightGBM as it is trained here is above the bars of fold B: whether the
recipe ranks better is what the paired differences say.
"""
BLEND_ABOVE = 0.002
"""LightGBM, on fold B, with the interval above 0."""
SECONDS = 300.0
"""Of one seed's training, alone on two cores."""


def has_bars(request: Request) -> bool:
    """Whether the bars are of this panel and these days."""
    return request.preset and request.panel.stem == PANEL


def figures(request: Request, values: Json) -> list[Figure]:
    """A row a bar, with the stretch in words and the rivals' figures; the paired differences from LightGBM; seconds."""
    return list(_figures(request, values))


def bar(request: Request, cut: str, horizon: str) -> float | None:
    """The least RankIC wanted; None where there is no bar."""
    found = BARS[request.fold].get((cut, horizon)) if has_bars(request) else None
    return None if found is None else found[0]


def _figures(request: Request, values: Json) -> Iterator[Figure]:
    command = _command(request)
    models = values["models"]
    bars = BARS[request.fold] if has_bars(request) else {}
    for cut in models[MODEL]["rank_ic"]:
        for horizon, found in models[MODEL]["rank_ic"][cut].items():
            if found["mean"] is None or ((cut, horizon) not in bars and horizon not in SHOWN):
                continue
            least, stretch = bars.get((cut, horizon), (None, None))
            others = [
                f"{name} {fixed(each['rank_ic'][cut][horizon]['mean'])}"
                for name, each in models.items()
                if name != MODEL
            ]
            beyond = [] if stretch is None else [f"stretch {stretch:g}"]
            detail = "; ".join([between(found["low"], found["high"], fixed), *others, *beyond])
            target = None if least is None else at_least(least)
            yield Figure.of(f"RankIC@{horizon}, {cut}", found["mean"], command, target, detail=detail)
    for model, title in ((MODEL, "recipe"), (BLEND, "blend")):
        for cut, by_horizon in values["pairs"].get(f"{model}-{LIGHTGBM}", {}).items():
            for horizon in (horizon for horizon in SHOWN if horizon in by_horizon):
                what = f"{title} minus LightGBM, RankIC@{horizon}, {cut}"
                wanted = bool(bars) and request.fold == "B" and (model, cut, horizon) == (BLEND, "all", "1d")
                yield _above_lightgbm(what, by_horizon[horizon], command, wanted=wanted)
    seconds = max(each["seconds"] for each in models[MODEL]["training"])
    target = at_most(SECONDS) if bars and request.workers == 1 else None
    together = "one at a time" if request.workers == 1 else f"{request.workers} at once"
    yield Figure.of("seconds of one seed's training, the longest", seconds, command, target, detail=together)


def _command(request: Request) -> str:
    """Without the places of this machine: the table is kept."""
    recipe, overrides = without_places(request.recipe), without_places(request.overrides)
    return command_of(replace(request, panel=Path(request.panel.name), out=OUT, recipe=recipe, overrides=overrides))


def _above_lightgbm(what: str, found: Json, command: str, *, wanted: bool) -> Figure:
    mean, low, high = (found[key] for key in ("mean", "low", "high"))
    if mean is None or low is None:
        return Figure.skipped(what, "too few days", command)
    measured = f"{mean:+.4f} ({low:+.4f} … {high:+.4f})"
    if not wanted:
        return Figure(what, measured, command)
    reached = "yes" if mean >= BLEND_ABOVE and low > 0 else "no"
    return Figure(what, measured, command, f"≥ {BLEND_ABOVE:g}, interval above 0", reached)

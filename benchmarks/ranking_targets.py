"""What the ranking must reach on the NASDAQ panel of 2003 to 2017, beside what was measured."""

from collections.abc import Iterator

from atft_gat_fan.evaluation.evaluate import MODEL
from atft_gat_fan.reporting.numbers import between, fixed
from benchmarks.measuring import Figure, at_least, at_most
from benchmarks.ranking_plan import Request
from benchmarks.ranking_results import BLEND, LIGHTGBM, Json

COMMAND = "python -m benchmarks.ranking"
PANEL = "nasdaq_2003_2017"
"""Stem of the file's name, as its README calls it."""
BARS: dict[str, dict[tuple[str, str], tuple[float, float | None]]] = {
    "B": {("all", "1d"): (0.0455, 0.050), ("all", "5d"): (0.0386, 0.043), ("liquid", "1d"): (0.0155, 0.020)},
    "valid": {},
    "test": {("all", "1d"): (0.045, 0.047), ("skip1", "1d"): (0.009, None), ("liquid", "1d"): (0.015, 0.020)},
}
"""RankIC of the recipe's ensemble by fold, cut and horizon: the bar (on fold B LightGBM's own), and the one beyond."""
BLEND_ABOVE = 0.002
"""LightGBM, on fold B, with the interval above 0."""
SECONDS = 300.0
"""Of one seed's training on two cores."""


def has_bars(request: Request) -> bool:
    """Whether the bars are of this panel and these days."""
    return request.preset and request.panel.stem == PANEL


def figures(request: Request, values: Json) -> list[Figure]:
    """A row a bar, with the stretch in words, and the rivals' figures for information."""
    return list(_figures(request, values))


def bar(request: Request, cut: str, horizon: str) -> float | None:
    """The least RankIC wanted; None where there is no bar."""
    found = BARS[request.fold].get((cut, horizon)) if has_bars(request) else None
    return None if found is None else found[0]


def _figures(request: Request, values: Json) -> Iterator[Figure]:
    command = f"{COMMAND} --fold {request.fold}"
    models = values["models"]
    bars = BARS[request.fold] if has_bars(request) else {}
    for cut in models[MODEL]["rank_ic"]:
        for horizon, found in models[MODEL]["rank_ic"][cut].items():
            if found["mean"] is None or ((cut, horizon) not in bars and horizon not in ("1d", "5d")):
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
    blend = values["pairs"].get(f"{BLEND}-{LIGHTGBM}")
    if blend is not None and "1d" in blend["all"]:
        yield _blend(blend["all"]["1d"], command, wanted=has_bars(request) and request.fold == "B")
    seconds = max(each["seconds"] for each in models[MODEL]["training"])
    yield Figure.of("seconds of one seed's training, the longest", seconds, command, at_most(SECONDS) if bars else None)


def _blend(found: Json, command: str, *, wanted: bool) -> Figure:
    what, (mean, low, high) = "blend minus LightGBM, RankIC@1d", (found[key] for key in ("mean", "low", "high"))
    if mean is None or low is None:
        return Figure.skipped(what, "too few days", command)
    measured = f"{mean:+.4f} ({low:+.4f} … {high:+.4f})"
    if not wanted:
        return Figure(what, measured, command)
    reached = "yes" if mean >= BLEND_ABOVE and low > 0 else "no"
    return Figure(what, measured, command, f"≥ {BLEND_ABOVE:g}, interval above 0", reached)

"""`search.html`: one self-contained page on what a search tried, what was best, and how much of that was luck."""

import numpy as np

from atft_gat_fan.reporting.figures import Line, horizontal_bars, line_chart, shorten
from atft_gat_fan.reporting.numbers import fixed, percent, probability
from atft_gat_fan.reporting.page import Chart, Fact, Table, render
from atft_gat_fan.reporting.theme import ACCENT_SOFT, BAD, GREYS
from atft_gat_fan.validation.search_result import SearchResult, SearchTrial

TEMPLATE = "search.html.j2"
LEVEL = 0.05
SHOWN = 15
"""Trials in the table of the best."""
CURVES = 40
"""Trainings whose epochs are drawn."""


def build_search_report(result: SearchResult) -> str:
    """The page as HTML text. No scripts, no addresses; the same result gives the same text."""
    counts = {state: sum(each.state == state for each in result.trials) for state in ("complete", "pruned", "failed")}
    return render(
        TEMPLATE,
        data=result.data,
        headline=_headline(result),
        caveats=f"{result.test[0].upper()}{result.test[1:]}.",
        tone="good" if _beats_luck(result) else "",
        tiles=_tiles(result, counts),
        charts=[_history(result), _epochs(result), _importance(result)],
        best=_best_table(result),
        failed=[f"{each.number:04d} {' '.join(each.arguments)}: {each.why}" for each in result.trials if each.why],
        facts_of_search=_facts(result),
        command=result.command,
        best_config=result.best_config,
    )


def _headline(result: SearchResult) -> str:
    best = result.ranked[0] if result.ranked else None
    if best is None or result.luck is None:
        return "No training came to its end."
    first = f"{_name(best)}: RankIC {fixed(best.rank_ic, sign=True)} on the validation days"
    p, tried = result.luck.p, result.luck.tried
    if p is None:
        return f"{first}; too little was tried, or too few days, to tell it from luck."
    verdict = "more than" if _beats_luck(result) else "no more than"
    return f"{first}, {verdict} the luck of trying {tried} would show (deflated p {probability(p)})."


def _beats_luck(result: SearchResult) -> bool:
    return result.luck is not None and result.luck.p is not None and result.luck.p <= LEVEL


def _tiles(result: SearchResult, counts: dict[str, int]) -> list[Fact]:
    luck = result.luck
    detail = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    tiles = [Fact("Configurations tried", str(len(result.trials)), detail)]
    if luck is not None:
        tiles += [
            Fact("ICIR of the best", fixed(luck.icir, 3), "a day"),
            Fact(
                "ICIR that luck would show", fixed(luck.expected_maximum, 3), f"the best of {luck.tried} useless ones"
            ),
            Fact("Deflated p", probability(luck.p), f"as if nothing else was tried: {probability(luck.p_undeflated)}"),
        ]
    return tiles


def _history(result: SearchResult) -> Chart:
    known = [each for each in result.trials if each.rank_ic is not None]
    complete = [each for each in known if each.state == "complete"]
    pruned = [each for each in known if each.state == "pruned"]
    title = "Validation RankIC of each configuration, in the order of trying"
    if not complete:
        return Chart(title, note="Nothing was finished.")
    numbers = _numbers(complete)
    lines = [
        Line("best so far", numbers, np.maximum.accumulate(_values(complete))),
        Line("", numbers, _values(complete), colour=ACCENT_SOFT, dash="", marker="o"),
    ]
    if pruned:
        lines.append(Line("", _numbers(pruned), _values(pruned), colour=BAD, dash="", marker="x"))
    note = "● trained to the end, × given up early (its last epoch)." if pruned else ""
    label = f"{title}: best {fixed(float(_values(complete).max()), sign=True)}"
    return Chart(title, note, line_chart(lines, label=label, y_label="RankIC", x_label="trial", zero=True))


def _epochs(result: SearchResult) -> Chart:
    title = "Smoothed validation RankIC by epoch"
    shown = [each for each in result.trials if len(each.by_epoch) > 1][-CURVES:]
    if not shown:
        return Chart(title, note="No training had more than one epoch.", wide=False)
    best = result.best
    ordered = sorted(shown, key=lambda each: each.number != best)  # ours on top
    lines = [_curve(each, each.number == best) for each in ordered]
    svg = line_chart(lines, label=title, width=505, height=280, y_label="RankIC", x_label="epoch", zero=True)
    note = "The best in colour; lines that end early were given up."
    return Chart(title, note, svg, wide=False)


def _curve(trial: SearchTrial, best: bool) -> Line:
    x, y = np.arange(1, len(trial.by_epoch) + 1), np.array(trial.by_epoch)
    return Line("best", x, y, width=2.0) if best else Line("", x, y, colour=GREYS[3], width=1.0)


def _importance(result: SearchResult) -> Chart:
    title = "What made the difference"
    if not result.importance:
        note = "Too few trainings were finished, or only one key was varied, to say which key mattered."
        return Chart(title, note=note, wide=False)
    ranked = sorted(result.importance.items(), key=lambda each: -each[1])
    names, shares = [name for name, _ in ranked], np.array([share for _, share in ranked])
    label = f"{title}: {', '.join(f'{name} {percent(share)}' for name, share in ranked)}"
    svg = horizontal_bars(names, shares, label=label, x_label="share of the importance")
    return Chart(title, "Share of each key in what tells good configurations from others (PED-ANOVA).", svg, wide=False)


def _best_table(result: SearchResult) -> Table:
    rows = tuple(
        (
            f"{each.number:04d}",
            fixed(each.rank_ic, sign=True),
            fixed(each.icir, 3),
            str(len(each.by_epoch)),
            "–" if each.seconds is None else f"{each.seconds:,.0f} s",
            " ".join(each.arguments),
        )
        for each in result.ranked[:SHOWN]
    )
    columns = ("trial", "RankIC", "ICIR", "epochs", "time", "configuration")
    return Table("The best configurations", "Validation days, mean over the horizons.", columns, rows)


def _facts(result: SearchResult) -> list[Fact]:
    first, last, count = result.days
    luck = result.luck
    return [
        Fact("Data", result.data),
        Fact("Validation days", f"{count:,}, {first} to {last}"),
        Fact("Horizons", ", ".join(f"{horizon}d" for horizon in result.horizons)),
        *(Fact("Searched over", shorten(each, 120)) for each in result.space),
        *([] if luck is None else [Fact("Variance of the ICIR across trials", _small(luck.variance))]),
        *([] if luck is None else [Fact("Effective days", fixed(luck.effective_days, 0))]),
    ]


def _small(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"


def _name(trial: SearchTrial) -> str:
    return " ".join(trial.arguments)


def _numbers(trials: list[SearchTrial]) -> np.ndarray:
    return np.array([each.number for each in trials])


def _values(trials: list[SearchTrial]) -> np.ndarray:
    return np.array([each.rank_ic for each in trials], np.float64)

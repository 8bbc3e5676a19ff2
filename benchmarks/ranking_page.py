"""`ranking.html`: who ranks better, in pictures first, from the values of `ranking.json`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np

from atft_gat_fan.evaluation.charts import scorer_lines
from atft_gat_fan.evaluation.evaluate import MODEL
from atft_gat_fan.evaluation.verdict import Finding, Tone
from atft_gat_fan.metrics.portfolio import cumulative
from atft_gat_fan.reporting import figures
from atft_gat_fan.reporting.comparisons import Band, Estimate, Mark, forest_plot, span_of
from atft_gat_fan.reporting.numbers import between, fixed, percent, probability
from atft_gat_fan.reporting.page import Chart, Fact, Row, Table, render
from atft_gat_fan.reporting.theme import FULL_WIDTH, HALF_WIDTH
from benchmarks.measuring import COLUMNS, Figure
from benchmarks.ranking_plan import Plan, command_of
from benchmarks.ranking_results import BLEND, GRU, LIGHTGBM, Json, Result
from benchmarks.ranking_targets import bar

TITLES = {MODEL: "recipe", LIGHTGBM: "LightGBM", GRU: "GRU", BLEND: "recipe + LightGBM"}
CUT_TITLES = {"all": "all stocks", "skip1": "first day skipped", "liquid": "liquid half", "illiquid": "illiquid half"}
LEVEL = 0.05


@dataclass(frozen=True)
class Part:
    """A section of the page."""

    title: str
    note: str
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    facts: Sequence[Fact] = ()


def build_page(plan: Plan, result: Result, bars: Sequence[Figure], openings: Sequence[Json]) -> str:
    """The page as HTML text, without scripts or addresses. `openings` of the test, the newest last."""
    values = result.values
    shown = _shown(values)
    tone, headline = _headline(values, shown[0])
    return render(
        "sections.html.j2",
        title=f"Who ranks better, fold {plan.request.fold}",
        subtitle=f"{plan.request.panel.name}, evaluated {values['first_day']} to {values['last_day']}: "
        f"{values['days']:,} trading days, {values['stocks']:,.0f} stocks on an average day.",
        tone=tone,
        headline=headline,
        tiles=_tiles(plan, values, shown),
        findings=list(_findings(values, shown[0])),
        sections=[
            _levels(plan, result, shown),
            *([_pairs(values, shown)] if values["pairs"] else []),
            _horizons(values),
            _years_and_seeds(values, shown),
            _trust(plan, values, bars, openings),
            _trainings(plan, values),
        ],
        ours=TITLES[MODEL],
        command=command_of(plan.request),
    )


def mark(low: float | None, high: float | None) -> Mark:
    """Full where the interval leaves 0 out."""
    if low is None or high is None:
        return "open"
    return "good" if low > 0 else "bad" if high < 0 else "open"


def _shown(values: Json) -> tuple[str, str]:
    """The two horizons of the pictures: the shortest, and a week (else the longest)."""
    horizons = list(values["models"][MODEL]["rank_ic"]["all"])
    return horizons[0], "5d" if "5d" in horizons else horizons[-1]


def _headline(values: Json, horizon: str) -> tuple[Tone, str]:
    ours = values["models"][MODEL]["rank_ic"]["all"][horizon]
    told = f"The recipe's RankIC@{horizon} is {fixed(ours['mean'])} ({between(ours['low'], ours['high'], fixed)})"
    against = values["pairs"].get(f"{MODEL}-{LIGHTGBM}")
    if against is None:
        return ("good" if (ours["low"] or 0) > 0 else "plain"), f"{told}."
    gap, theirs = against["all"][horizon], values["models"][LIGHTGBM]["rank_ic"]["all"][horizon]
    told += f", LightGBM's {fixed(theirs['mean'])}"
    if gap["p"] is None or gap["p"] > LEVEL:
        return "plain", f"{told}: no clear difference."
    better = gap["mean"] > 0
    return ("good" if better else "bad"), f"{told}: the recipe ranks {'better' if better else 'worse'}."


def _tiles(plan: Plan, values: Json, shown: tuple[str, str]) -> list[Fact]:
    ours = values["models"][MODEL]
    tiles = []
    for cut, horizon in (("all", shown[0]), ("all", shown[1]), ("liquid", shown[0]), ("skip1", shown[0])):
        if cut in ours["rank_ic"]:
            found = ours["rank_ic"][cut][horizon]
            name = f"RankIC@{horizon}" + ("" if cut == "all" else f", {CUT_TITLES[cut]}")
            tiles.append(Fact(name, fixed(found["mean"]), between(found["low"], found["high"], fixed)))
    tiles.append(Fact(f"ICIR@{shown[0]}", fixed(ours["icir"]["all"][shown[0]], 2), "a day, not annualised"))
    longest = max(each["seconds"] for each in ours["training"])
    tiles.append(Fact("one seed's training", f"{longest:,.0f} s", f"the longest of {plan.request.seeds}"))
    return tiles


def _findings(values: Json, horizon: str) -> Iterator[Finding]:
    words = {"good": "above", "bad": "below", "open": "no clear difference from"}
    for pair, found in values["pairs"].items():
        one, other = pair.split("-")
        for cut in ("all", "liquid"):
            if cut in found:
                gap = found[cut][horizon]
                kind = mark(gap["low"], gap["high"])
                tone: Tone = "plain" if kind == "open" else "good" if kind == "good" else "bad"
                text = (
                    f"{CUT_TITLES[cut]}: {words[kind]} {TITLES[other]}, {fixed(gap['mean'], sign=True)} "
                    f"({_signed(gap)}), p {probability(gap['p'])}"
                )
                yield Finding(tone, TITLES[one], text)


def _levels(plan: Plan, result: Result, shown: tuple[str, str]) -> Part:
    models = result.values["models"]
    charts = []
    for cut, horizon in [
        ("all", shown[0]),
        ("all", shown[1]),
        *((cut, shown[0]) for cut in CUT_TITLES if cut != "all"),
    ]:
        if cut in models[MODEL]["rank_ic"]:
            rows = [_level(model, each, cut, horizon) for model, each in models.items()]
            least = bar(plan.request, cut, horizon)
            bands = [] if least is None else [Band(least, least)]
            title = f"RankIC@{horizon}, {CUT_TITLES[cut]}"
            charts.append(_forest(title, rows, "mean daily RankIC", bands))
    sums = {model: cumulative(daily["all"][:, 0]) for model, daily in result.daily.items()}
    ends = ", ".join(f"{TITLES[model]} {fixed(float(path[-1]), 1, sign=True)}" for model, path in sums.items())
    lines = [
        figures.Line(TITLES[name], line.x, line.y, line.colour, line.dash, line.width)
        for name, line in zip([MODEL, *_baseline_order(sums)], scorer_lines(result.days, sums), strict=True)
    ]
    cumulated = Chart(
        f"Cumulative RankIC@{shown[0]}",
        f"A steady slope is a steady skill. After {len(result.days)} days: {ends}.",
        figures.line_chart(lines, label=f"Cumulative RankIC at {shown[0]} of each model", width=FULL_WIDTH),
    )
    note = (
        "Ensembles by mean of ranks; bars under a marker are its single seeds, lines 95 % intervals of the stationary "
        "bootstrap. A dashed line is the least that is wanted. What is left in the liquid half and without the first "
        "day can be traded; most of one-day RankIC elsewhere is bid-ask bounce."
    )
    return Part("How each model ranks", note, [charts[0], charts[1], cumulated, *charts[2:]])


def _baseline_order(values: dict[str, Any]) -> list[str]:
    """That of `scorer_lines`."""
    return [name for name in reversed(list(values)) if name != MODEL]


def _level(model: str, values: Json, cut: str, horizon: str) -> Estimate:
    found = values["rank_ic"][cut][horizon]
    seeds = tuple(each[cut][horizon] for each in values["by_seed"].values() if each[cut][horizon] is not None)
    return _estimate(TITLES[model], found, fixed(found["mean"]), seeds)


def _pairs(values: Json, shown: tuple[str, str]) -> Part:
    charts = []
    for horizon in dict.fromkeys(shown):
        rows = [
            _estimate(
                f"{_pair_title(pair)}, {_short(cut)}",
                found[cut][horizon],
                fixed(found[cut][horizon]["mean"], sign=True),
            )
            for pair, found in values["pairs"].items()
            for cut in found
        ]
        charts.append(_forest(f"ΔRankIC@{horizon}, paired by day", rows, "difference of the mean daily RankIC", []))
    rows_of_table = tuple(
        (
            f"{_pair_title(pair)}, {_short(cut)}, {horizon}",
            fixed(gap["mean"], sign=True),
            _signed(gap),
            probability(gap["p"]),
        )
        for pair, found in values["pairs"].items()
        for cut, horizons in found.items()
        for horizon, gap in horizons.items()
        if horizon in shown
    )
    note = (
        "The RankIC of a day minus the other's on the same day and stocks: what moves both, the market of that day, "
        "cancels. Intervals and p speak of these trained ensembles on these days, not of other seeds, and are not "
        "corrected for the number of comparisons."
    )
    table = Table("Paired differences", "", ("", "ΔRankIC", "95 % interval", "p"), rows_of_table)
    return Part("Against each other", note, charts, [table])


def _horizons(values: Json) -> Part:
    models = values["models"]
    horizons = tuple(models[MODEL]["rank_ic"]["all"])
    tables = [
        Table(
            f"RankIC, {CUT_TITLES[cut]}",
            "",
            ("", *horizons),
            tuple(
                (TITLES[model], *(fixed(each["rank_ic"][cut][h]["mean"]) for h in horizons))
                for model, each in models.items()
            ),
        )
        for cut in models[MODEL]["rank_ic"]
    ]
    icirs = tuple(
        (TITLES[model], *(fixed(each["icir"]["all"][h], 3) for h in horizons)) for model, each in models.items()
    )
    tables.append(
        Table("ICIR, all stocks", "Mean over standard deviation of the daily RankIC.", ("", *horizons), icirs)
    )
    if earned := _earned(values["metrics"]):
        tables.append(earned)
    return Part("Every horizon", "Scores are compared with raw forward returns.", tables=tables)


def _earned(metrics: Json) -> Table | None:
    each = {MODEL: metrics.get("portfolio")} | {
        name: found.get("portfolio") for name, found in metrics["baselines"].items()
    }
    known = {name: found for name, found in each.items() if found}
    if not known:
        return None
    cost = known[MODEL]["cost_bps"] if MODEL in known else 0.0
    rows = tuple(
        (
            TITLES[name],
            percent(found["mean_return_gross"], 3, sign=True),
            percent(found["mean_return_net"], 3, sign=True),
            fixed(found["sharpe_net"], 2),
            percent(found["turnover"]),
            percent(found["max_drawdown_net"]),
        )
        for name, found in known.items()
    )
    note = f"Long the highest group, short the lowest, rebalanced every day; {cost:g} basis points a side."
    columns = ("", "a day, gross", "a day, net", "Sharpe, net", "turnover", "drawdown, net")
    return Table("What the one-day ranking earns", note, columns, rows)


def _years_and_seeds(values: Json, shown: tuple[str, str]) -> Part:
    models = values["models"]
    years = tuple(models[MODEL]["by_year"])
    by_year = [
        Table(
            f"RankIC@{shown[0]} by year, {CUT_TITLES[cut]}",
            "",
            ("", *years),
            tuple(
                (TITLES[model], *(fixed(each["by_year"][year][cut][shown[0]]) for year in years))
                for model, each in models.items()
            ),
        )
        for cut in ("all", "liquid")
        if cut in models[MODEL]["rank_ic"]
    ]
    rows = tuple(row for model, each in models.items() for row in _seed_rows(model, each, shown))
    columns = ("", f"@{shown[0]}", f"@{shown[1]}", f"liquid @{shown[0]}", "seconds")
    note = "The ensemble, the mean of its members with their standard deviation, and each by itself."
    seeds = Table("Ensembles and their seeds, RankIC", note, columns, rows)
    return Part("Year by year, seed by seed", "Is it one lucky year, or one lucky seed?", tables=[*by_year, seeds])


def _seed_rows(model: str, values: Json, shown: tuple[str, str]) -> Iterator[Row]:
    wanted = [("all", shown[0]), ("all", shown[1]), ("liquid", shown[0])]
    ensemble = (values["rank_ic"].get(cut, {}).get(horizon, {}).get("mean") for cut, horizon in wanted)
    total = sum(each["seconds"] for each in values["training"])
    yield (TITLES[model], *(fixed(value) for value in ensemble), f"{total:,.0f}" if values["training"] else "–")
    members = values["by_seed"]
    if len(members) > 1:
        columns = [[each.get(cut, {}).get(h) for each in members.values()] for cut, h in wanted]
        yield ("· mean ± deviation of its seeds", *(_spread(column) for column in columns), "")
    for (seed, each), training in zip(members.items(), values["training"], strict=True):
        figures_of = (fixed(each.get(cut, {}).get(horizon)) for cut, horizon in wanted)
        yield (f"· seed {seed}", *figures_of, f"{training['seconds']:,.0f}")


def _spread(column: Sequence[float | None]) -> str:
    known = [value for value in column if value is not None]
    return f"{fixed(float(np.mean(known)))} ± {fixed(float(np.std(known, ddof=1)))}" if len(known) > 1 else "–"


def _trust(plan: Plan, values: Json, bars: Sequence[Figure], openings: Sequence[Json]) -> Part:
    names = {"model": "the recipe's RankIC", f"{MODEL}-{LIGHTGBM}": "the recipe minus LightGBM"}
    rows = tuple(
        (
            names[name],
            fixed(found["icir"], 3),
            str(found["num_tried"]),
            fixed(found["expected_maximum"], 3),
            probability(found["p_undeflated"]),
            probability(found["p"]),
        )
        for name, found in values["deflated"].items()
    )
    columns = ("", "ICIR", "recipes tried", "luck's best ICIR", "p as if alone", "p deflated")
    note = (
        "The best of many useless recipes looks good, too: its expected ICIR is what the one above has to beat (Bailey "
        "and Lopez de Prado 2014). Recipes tried are those logged for this panel; a dash: too few to tell their spread."
    )
    tables = [Table("After so many tries", note, columns, rows)]
    reached = tuple((each.what, each.measured, each.target, each.reached) for each in bars)
    tables.append(Table("What was to be reached", "", tuple(COLUMNS[:-1]), reached))
    if openings:
        tables.append(_opened(openings))
    about = "Recipes are chosen on the folds B and valid; the test is opened once for one that is finished."
    return Part("How far to trust it", about, tables=tables)


def _opened(openings: Sequence[Json]) -> Table:
    rows = tuple(
        (
            line["date"],
            line["recipe"],
            line["why"],
            *(fixed(line["rank_ic"].get(model, {}).get("all", {}).get("1d")) for model in TITLES),
        )
        for line in openings
    )
    columns = ("opened", "recipe", "why", *(f"{title} @1d" for title in TITLES.values()))
    return Table("Openings of the test", "All of them, the newest last.", columns, rows)


def _trainings(plan: Plan, values: Json) -> Part:
    split, days = plan.split, plan.store.days
    facts = [
        Fact("Recipe", f"{plan.digest}: {' '.join([*plan.request.recipe, *plan.request.overrides])}"),
        Fact("Trained", f"{days[split.train[0]]} to {days[split.train[-1]]} ({len(split.train):,} days)"),
        Fact("Validated", f"{days[split.valid[0]]} to {days[split.valid[-1]]} ({len(split.valid):,} days)"),
        Fact("Purged between the parts", f"{split.purge} days"),
        Fact("Features", f"{len(plan.store.feature_names)}"),
        Fact("Label", plan.config.labels.transform),
        Fact("Loss", plan.config.loss.type),
    ]
    for model, each in values["models"].items():
        if each["training"]:
            sizes = {training.get("parameters") for training in each["training"]} - {None}
            size = f", {max(sizes):,} parameters" if sizes else ""
            facts.append(Fact(TITLES[model], f"{len(each['training'])} seeds{size}"))
    note = "Same features, same training days, same label for all; LightGBM's seconds count its scoring, too."
    return Part("Data and trainings", note, facts=facts)


def _estimate(name: str, found: Json, note: str, parts: tuple[float, ...] = ()) -> Estimate:
    value, low, high = (nan if found[key] is None else found[key] for key in ("mean", "low", "high"))
    return Estimate(name, value, low, high, mark(found["low"], found["high"]), note, parts)


def _forest(title: str, rows: Sequence[Estimate], x_label: str, bands: Sequence[Band]) -> Chart:
    told = "; ".join(f"{row.name} {row.note}" for row in rows)
    limits = span_of(rows, bands)
    svg = forest_plot(rows, label=f"{title}: {told}", x_label=x_label, limits=limits, bands=bands, width=HALF_WIDTH)
    return Chart(title, svg=svg, wide=False)


def _pair_title(pair: str) -> str:
    one, other = pair.split("-")
    short = {MODEL: "recipe", LIGHTGBM: "LightGBM", GRU: "GRU", BLEND: "blend"}
    return f"{short[one]}−{short[other]}"


def _short(cut: str) -> str:
    return {"all": "all", "skip1": "skip-1", "liquid": "liquid", "illiquid": "illiquid"}[cut]


def _signed(gap: Json) -> str:
    return between(gap["low"], gap["high"], lambda value: fixed(value, sign=True))

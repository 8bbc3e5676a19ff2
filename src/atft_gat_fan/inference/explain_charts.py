"""The figures of `explain.html`."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from atft_gat_fan.inference.explain import GRAPH_FACTS, Links
from atft_gat_fan.inference.explanation_files import Explained
from atft_gat_fan.reporting import figures
from atft_gat_fan.reporting.comparisons import Estimate, forest_plot, span_of
from atft_gat_fan.reporting.heat_maps import heat_map
from atft_gat_fan.reporting.numbers import compact, fixed, percent
from atft_gat_fan.reporting.page import Chart
from atft_gat_fan.reporting.theme import ACCENT, GREYS, HALF_WIDTH

TOP_VARIABLES = 20
TOP_STOCK_VARIABLES = 15
CORRELATION_GROUPS = 5
FEWEST_EDGES = 20

FloatArray = NDArray[np.float64]


def variable_charts(explained: Explained) -> list[Chart]:
    """What the universe's stock-days are made of: the heaviest variables, over time."""
    weights = explained.over_time.variable_weights.mean
    order = np.argsort(-weights.mean(axis=0), kind="stable")[:TOP_VARIABLES]
    names, total = explained.names.features, weights.shape[1]
    of = f"the {len(order)} heaviest of {total} variables" if total > len(order) else f"all {total} variables"
    return [
        Chart(
            "Selection weight of variables over time",
            f"Mean over the stocks of each day, {of}, with their means at the right; an even share is "
            f"{compact(1 / total)}. The stronger the colour, the larger. Weights tell where the network looks, not "
            "what it needs.",
            heat_map(
                [names[place] for place in order],
                explained.over_time.days,
                weights[:, order].T,
                label="Selection weights of variables over time",
            ),
        )
    ]


def permutation_chart(explained: Explained) -> Chart:
    """By how much the ranking suffers when a feature is exchanged between the stocks of a day."""
    title, found = "What the ranking depends on", explained.permutation
    if found is None:
        return Chart(
            title, "Not measured: with --permutation, features are exchanged between stocks and the days scored again."
        )
    names, horizon = explained.names.features, explained.names.horizon_names[0]
    if found.num_labelled < 2:
        # Returns of the newest days are not known yet; how far the ranks move is.
        order = np.argsort(-found.rank_change[:, 0], kind="stable")
        return Chart(
            f"{title}: mean move of the ranks at {horizon}",
            f"Mean absolute move of a stock's rank (0 to 1) when the feature's windows are exchanged between stocks, "
            f"over {found.num_days} days, whose returns are not known yet.",
            figures.horizontal_bars(
                [names[found.features[place]] for place in order],
                found.rank_change[order, 0],
                label="Mean move of the ranks",
            ),
            wide=False,
        )
    order = np.argsort(-found.drop[:, 0], kind="stable")
    rows = [
        Estimate(
            names[found.features[place]],
            float(drop := found.drop[place, 0]),
            float(drop - 1.96 * found.drop_error[place, 0]),
            float(drop + 1.96 * found.drop_error[place, 0]),
            "good" if drop > 1.96 * found.drop_error[place, 0] else "open",
            f"ranks move {fixed(float(found.rank_change[place, 0]), 3)}",
        )
        for place in order
    ]
    return Chart(
        f"{title}: fall of RankIC@{horizon}",
        f"RankIC is {fixed(float(found.rank_ic[0]))} on the {found.num_labelled} of {found.num_days} sampled days "
        "whose returns are known; shown is by how much it falls when the feature's windows are exchanged between the "
        "stocks of a day, with 95 % intervals. Features that stand in for each other hide each other.",
        forest_plot(
            rows,
            label="Fall of RankIC by exchanged feature",
            x_label="fall of RankIC",
            limits=span_of(rows),
            width=860,
        ),
    )


def attends(explained: Explained) -> bool:
    """Whether the network has a temporal attention: without one, all weight is told to be on the last day."""
    return bool((explained.over_time.attention.mean[:, :-1] > 0).any())


def attention_charts(explained: Explained) -> list[Chart]:
    attention, names = explained.over_time.attention.mean, explained.names
    means = attention.mean(axis=0)
    if not attends(explained):
        return [Chart("Attention by lag", "The network has no temporal attention (model.attention.enabled).")]
    lags = np.arange(names.window)[::-1]
    return [
        Chart(
            "Attention by lag",
            f"Mean over all stocks and days, by trading days before the predicted one; the last five days hold "
            f"{percent(float(means[lags < 5].sum()))}.",
            figures.bar_chart(
                names.lags, means, label="Mean attention by lag", x_label="lag, trading days", height=250
            ),
            wide=False,
        ),
        Chart(
            "Attention by lag over time",
            "A row a lag, from the predicted day (0) down to the oldest; mean over the stocks of each day. Colours go "
            "from the smallest value shown to the largest.",
            heat_map(
                names.lags[::-1],
                explained.over_time.days,
                attention[:, ::-1].T,
                label="Attention by lag over time",
                width=HALF_WIDTH,
                row_height=12,
            ),
            wide=False,
        ),
    ]


def frequency_charts(explained: Explained) -> list[Chart]:
    """What frequency adaptive normalisation takes out of the windows of the latent channels."""
    over_time = explained.over_time
    if over_time.taken is None or over_time.removed is None or over_time.energy is None:
        return [Chart("Removed spectrum", "The network has no frequency adaptive normalisation (model.fan.enabled).")]
    taken, removed, energy = (part.mean.mean(axis=0) for part in (over_time.taken, over_time.removed, over_time.energy))
    share = over_time.removed.mean.sum(axis=1)
    favourite = int(taken.argmax())
    line = figures.Line("", over_time.days, share, ACCENT, width=1.2)
    return [
        Chart(
            "Frequencies taken out",
            f"Share of windows and latent channels out of which each period is taken; most often "
            f"{_period(favourite, explained.names.window)} ({percent(float(taken[favourite]))}).",
            figures.bar_chart(
                [_short_period(k, explained.names.window) for k in range(len(taken))],
                taken,
                label="Share of channels by frequency taken out",
                x_label="period, trading days",
                height=250,
            ),
            wide=False,
        ),
        Chart(
            "Energy by frequency",
            f"Share of a window's energy (sum of squares) at each period; {percent(float(removed.sum()))} of all is "
            f"taken out, {percent(float(removed[0]))} as the level and {percent(float(removed[1:].sum()))} as waves.",
            figures.bar_chart(
                [_short_period(k, explained.names.window) for k in range(len(energy))],
                energy,
                label="Share of energy by frequency",
                x_label="period, trading days",
                height=250,
            ),
            wide=False,
        ),
        Chart(
            "Share of the energy taken out, over time",
            "Mean over the stocks of each day. What is taken out comes back by a gate of its own: nothing is lost.",
            figures.line_chart([line], label="Share of energy taken out over time", height=200, zero=False),
        ),
    ]


def graph_charts(explained: Explained) -> list[Chart]:
    graph = explained.over_time.graph
    if graph is None or explained.day.links is None:
        return [Chart("Neighbours", "The network has no graph attention (model.gat.enabled).")]
    facts = dict(zip(GRAPH_FACTS, graph.mean.T, strict=True))
    days = explained.over_time.days
    lines = [
        figures.Line("effective", days, facts["effective_neighbours"], ACCENT, width=1.6),
        figures.Line("listed, with itself", days, facts["degree"] + 1, GREYS[1], (0, (6, 2.5)), width=1.2),
    ]
    own = figures.Line("", days, facts["self_weight"], ACCENT, width=1.2)
    return [
        Chart(
            "Neighbours over time",
            "Mean number of stocks a stock may listen to, itself included, and the number it effectively does (1 over "
            "the sum of squared weights): together where all are heard alike.",
            figures.line_chart(lines, label="Listed and effective neighbours over time", height=220),
        ),
        Chart(
            "Weight on itself over time",
            "Mean learned weight of a stock on itself.",
            figures.line_chart([own], label="Weight on itself over time", width=HALF_WIDTH, height=230, zero=False),
            wide=False,
        ),
        _weight_by_correlation(explained.day.links, str(explained.date)),
    ]


def _weight_by_correlation(links: Links, date: str) -> Chart:
    """Whether the network listens more to those who correlate more."""
    title = f"Learned weight by correlation, {date}"
    others = links.mask[:, 1:]
    strength, weight = np.abs(links.correlation[:, 1:][others]), links.weight[:, 1:][others]
    if len(weight) < FEWEST_EDGES:
        return Chart(title, f"Only {len(weight)} edges between two stocks.", wide=False)
    groups = np.array_split(np.argsort(strength, kind="stable"), CORRELATION_GROUPS)
    return Chart(
        title,
        f"Mean weight of the {len(weight):,} edges between two stocks in {CORRELATION_GROUPS} groups of rising "
        "absolute correlation, which made the edges; the weights are learned.",
        figures.bar_chart(
            [compact(float(strength[group].mean())) for group in groups],
            np.array([weight[group].mean() for group in groups]),
            label="Mean learned weight by correlation",
            x_label="mean absolute correlation",
            height=230,
        ),
        wide=False,
    )


def stock_charts(explained: Explained) -> list[Chart]:
    """One stock on the explained day."""
    assert explained.stock is not None
    assert explained.about is not None
    names, about, position = explained.names, explained.about, explained.stock
    horizon = names.horizon_names[0]
    effects = about.occlusion[:, 0]
    order = np.argsort(-np.abs(effects), kind="stable")[:TOP_STOCK_VARIABLES]
    own, universe = explained.day.variable_weights[position], explained.day.variable_weights.mean(axis=0)
    heaviest = np.argsort(-own, kind="stable")[:TOP_STOCK_VARIABLES]
    attention, everyone = explained.day.attention[position], explained.day.attention.mean(axis=0)
    lags = -np.arange(names.window)[::-1]
    charts = [
        Chart(
            f"Score at {horizon} less the score without the feature",
            f"Each feature in turn is set to its training mean on all {names.window} days, as if it were missing. "
            "Right: it raises the score. At the right end its value on the day, in training standard deviations.",
            _effects(names.features, effects, about.values, order),
            wide=False,
        ),
        Chart(
            "Selection weights beside the universe's",
            "Square: this stock; tick: the mean of the day's stocks.",
            _weights(names.features, own, universe, heaviest),
            wide=False,
        ),
    ]
    if not attends(explained):
        return charts
    return [
        *charts,
        Chart(
            "Attention by lag",
            "In colour this stock, in grey the mean of the day's stocks, by trading days before the predicted one.",
            figures.line_chart(
                [
                    figures.Line("stock", lags, attention, ACCENT, width=1.8),
                    figures.Line("all", lags, everyone, GREYS[1], (0, (6, 2.5)), width=1.2),
                ],
                label="Attention of the stock by lag",
                x_label="trading days from the predicted one",
                height=220,
            ),
        ),
    ]


def _effects(features: Sequence[str], effects: FloatArray, values: FloatArray, order: NDArray[np.int64]) -> str:
    rows = [
        Estimate(
            features[place],
            float(effects[place]),
            mark="good" if effects[place] > 0 else "bad",
            note=f"{fixed(float(values[place]), 1, sign=True)}",
        )
        for place in order
    ]
    return forest_plot(rows, label="Effect of each feature on the score", x_label="score units", limits=span_of(rows))


def _weights(features: Sequence[str], own: FloatArray, universe: FloatArray, order: NDArray[np.int64]) -> str:
    rows = [
        Estimate(features[place], float(own[place]), parts=(float(universe[place]),), note=compact(float(own[place])))
        for place in order
    ]
    return forest_plot(rows, label="Selection weights of the stock", x_label="selection weight", limits=span_of(rows))


def _period(k: int, window: int) -> str:
    return "the level" if k == 0 else f"a period of {compact(window / k)} days"


def _short_period(k: int, window: int) -> str:
    return "level" if k == 0 else compact(window / k)

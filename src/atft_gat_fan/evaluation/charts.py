"""The figures of a run's report: what it predicts and what that earns, and what it looks at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from atft_gat_fan.evaluation.evaluate import MODEL, Evaluation, name_of
from atft_gat_fan.evaluation.verdict import basis_points, title_of
from atft_gat_fan.metrics.portfolio import BASIS_POINT, cumulative, drawdown
from atft_gat_fan.metrics.rank_ic import mean
from atft_gat_fan.reporting import figures
from atft_gat_fan.reporting.heat_maps import heat_map
from atft_gat_fan.reporting.numbers import compact, fixed, percent
from atft_gat_fan.reporting.page import Chart
from atft_gat_fan.reporting.theme import ACCENT, ACCENT_SOFT, DASHES, GREYS, HALF_WIDTH
from atft_gat_fan.statistics.hac import automatic_lags, newey_west

ROLLING_DAYS = 63
"""A quarter of trading days."""
TOP_VARIABLES = 20

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class VariablesOverTime:
    """Mean selection weights over stretches of days, each named by its first."""

    days: NDArray[np.datetime64]
    weights: Float[FloatArray, "days features"]
    """In the order of the features; finite."""


def ranking_charts(evaluation: Evaluation) -> list[Chart]:
    """RankIC of the first horizon over time: summed up, averaged over a quarter, and by month."""
    days, horizon = evaluation.days, name_of(evaluation.horizons[0])
    daily = {name: series.rank_ic[:, 0] for name, series in evaluation.series.items()}
    ours = daily[MODEL]
    known = np.isfinite(ours)
    if known.sum() < 2:
        return [Chart("RankIC over time", "Fewer than two days have known returns, so there is no path to draw.")]
    sums = {name: cumulative(values) for name, values in daily.items()}
    window = min(ROLLING_DAYS, max(5, len(days) // 3))
    rolling = {name: _rolling_mean(values, window) for name, values in daily.items()}
    positive = float((ours[known] > 0).mean())
    ends = ", ".join(f"{title_of(name)} {fixed(values[-1], 1, sign=True)}" for name, values in sums.items())
    return [
        Chart(
            f"Cumulative RankIC@{horizon}",
            f"A steady slope is a steady skill; after {len(days)} days: {ends}.",
            figures.line_chart(scorer_lines(days, sums), label=f"Cumulative RankIC at {horizon} of all scorers"),
        ),
        Chart(
            f"RankIC@{horizon}, mean of the last {window} days",
            f"Above zero the order was right. The model's daily RankIC is positive on {percent(positive)} of the days.",
            figures.line_chart(
                scorer_lines(days, rolling), label=f"Rolling mean RankIC over {window} days", height=230
            ),
        ),
        Chart(
            f"The model's mean RankIC@{horizon} by month",
            _month_note(days, ours),
            figures.month_grid(days, ours, label=f"Mean RankIC at {horizon} of each month"),
        ),
    ]


def portfolio_charts(evaluation: Evaluation) -> list[Chart]:
    """What the order earns: score groups, turnover, and the long-short book with its drawdown."""
    series, book = evaluation.series[MODEL], evaluation.metrics["portfolio"]
    if series.long_short is None or series.quantile_returns is None:
        return [Chart("Long–short book", f"Not drawn: {evaluation.metrics['portfolio_reason']}.")]
    if not np.isfinite(series.long_short.gross).any() or not np.isfinite(series.quantile_returns).any():
        return [Chart("Long–short book", "Too few stocks a day for a long and a short group.")]
    days, gross, net = evaluation.days, series.long_short.gross, series.long_short.net
    lines = [
        figures.Line("net", days, cumulative(net), ACCENT, width=1.8),
        figures.Line("gross", days, cumulative(gross), ACCENT_SOFT, width=1.4),
    ]
    turnover = figures.Line("", days[1:], series.long_short.turnover[1:], ACCENT, width=1.0)
    return [
        _quantile_chart(series.quantile_returns),
        Chart(
            "Turnover a day",
            f"Value bought and sold over one leg's capital; mean {fixed(book['turnover'], 2)}, "
            "4 replaces the whole book.",
            figures.line_chart([turnover], label="Turnover of the long-short book", width=HALF_WIDTH, height=260),
            wide=False,
        ),
        Chart(
            "Long–short book, cumulative and not compounded",
            f"Net of {book['cost_bps']:g} bp a side: {fixed(cumulative(net)[-1], 3, sign=True)} over {len(days)} days, "
            f"Sharpe {fixed(book['sharpe_net'], 2)} (gross {fixed(book['sharpe_gross'], 2)}), "
            f"deepest drawdown {fixed(book['max_drawdown_net'], 3)}, a gain on {percent(book['hit_rate'])} of days. "
            "Fractions of one leg's capital.",
            figures.paths_with_drawdown(days, lines, drawdown(net), label="Cumulative long-short return and drawdown"),
        ),
    ]


def importance_chart(weights: Mapping[str, float]) -> Chart:
    """Mean selection weight of the most used variables."""
    title = "What the model looks at"
    if not weights:
        return Chart(title, "Selection weights were not recorded.", wide=False)
    ranked = sorted(weights.items(), key=lambda item: (-item[1], item[0]))[:TOP_VARIABLES]
    even = 1 / len(weights)
    return Chart(
        title,
        f"Mean selection weight of {'the top ' if len(weights) > len(ranked) else ''}{len(ranked)} of {len(weights)} "
        f"variables; dashed: {compact(even)}, an even share.",
        figures.horizontal_bars(
            [name for name, _ in ranked],
            np.array([weight for _, weight in ranked]),
            label="Mean selection weight of variables",
            reference=even,
        ),
        wide=False,
    )


def variables_over_time_chart(names: Sequence[str], found: VariablesOverTime | None) -> Chart:
    """The same variables as `importance_chart`, from stretch to stretch of the days."""
    title = "What the model looks at, over time"
    if found is None or len(found.days) < 2 or found.weights.shape[1] != len(names):
        return Chart(title, "Selection weights were not recorded over time; atft evaluate records them.")
    means = dict(zip(names, found.weights.mean(axis=0).tolist(), strict=True))
    ranked = sorted(range(len(names)), key=lambda place: (-means[names[place]], names[place]))[:TOP_VARIABLES]
    return Chart(
        title,
        "Mean selection weight week by week, with its mean at the right; the stronger the colour, the larger. "
        "Neighbours and single stocks: atft explain.",
        heat_map(
            [names[place] for place in ranked],
            found.days,
            found.weights[:, ranked].T,
            label="Selection weights of variables over time",
        ),
    )


def attention_chart(attention: Float[NDArray[np.floating], " window"] | None) -> Chart:
    """Mean attention on each day of the window, by its distance from the predicted day; empty: there is none."""
    title = "How far back it looks"
    if attention is None:
        return Chart(title, "Attention was not recorded.", wide=False)
    if not len(attention):
        return Chart(title, "The network has no temporal attention (model.attention.enabled).", wide=False)
    lags = np.arange(len(attention))[::-1]
    recent = float(attention[lags < 5].sum() / attention.sum())
    return Chart(
        title,
        f"Mean attention by lag in trading days (0: the predicted day); the last five days hold {percent(recent)}.",
        figures.bar_chart(
            [str(lag) for lag in lags],
            np.asarray(attention),
            label="Mean attention by lag",
            x_label="lag, trading days",
            height=230,
        ),
        wide=False,
    )


def dispersion_chart(evaluation: Evaluation) -> Chart:
    """Cross-sectional standard deviation of the model's scores over time."""
    horizon, spread = name_of(evaluation.horizons[0]), evaluation.series[MODEL].dispersion[:, 0]
    title = f"Spread of the scores at {horizon}"
    if np.isfinite(spread).sum() < 2:
        return Chart(title, "No day has two scores.", wide=False)
    line = figures.Line("", evaluation.days, spread, ACCENT, width=1.0)
    return Chart(
        title,
        "Standard deviation over stocks, day by day, in score units. A line falling to zero would be a collapse.",
        figures.line_chart([line], label="Dispersion of scores over time", width=HALF_WIDTH, height=230),
        wide=False,
    )


def scorer_lines(days: NDArray[np.datetime64], values: Mapping[str, FloatArray]) -> list[figures.Line]:
    """The model in the accent colour, baselines in greys that also differ in dash."""
    baselines = sorted((name for name in values if name != MODEL), key=list(values).index, reverse=True)
    lines = [figures.Line(title_of(MODEL), days, values[MODEL], ACCENT, width=2.0)]
    for i, name in enumerate(baselines):
        grey, dash = GREYS[i % len(GREYS)], DASHES[i % len(DASHES)]
        lines.append(figures.Line(title_of(name), days, values[name], grey, dash, width=1.2))
    return lines


def _rolling_mean(values: FloatArray, window: int) -> FloatArray:
    """Mean of the known values of the last `window` days, NaN until the first window is full."""
    known = np.isfinite(values)
    kernel = np.ones(window)
    total = np.convolve(np.where(known, values, 0.0), kernel)[: len(values)]
    count = np.convolve(known.astype(float), kernel)[: len(values)]
    means: FloatArray = np.divide(total, count, out=np.full(len(values), np.nan), where=count >= window // 2)
    means[: window - 1] = np.nan
    return means


def _month_note(days: NDArray[np.datetime64], values: FloatArray) -> str:
    months = days.astype("datetime64[M]")
    means = [mean(values[months == month]) for month in np.unique(months)]
    known = [value for value in means if np.isfinite(value)]
    return (
        f"{sum(value > 0 for value in known)} of {len(known)} months are positive; the stronger the colour, the larger."
    )


def _quantile_chart(groups: Float[FloatArray, "days quantiles"]) -> Chart:
    results = [newey_west(column, automatic_lags(len(column))) for column in groups.T]
    means = np.array([result.mean for result in results]) / BASIS_POINT
    errors = 1.96 * np.array([result.standard_error for result in results]) / BASIS_POINT
    spread = (means[-1] - means[0]) * BASIS_POINT
    return Chart(
        f"Next-day return of {len(means)} score groups",
        f"Lowest scores left, highest right, bp a day with 95 % intervals; "
        f"highest minus lowest {basis_points(spread)} bp.",
        figures.bar_chart(
            [str(i) for i in range(1, len(means) + 1)],
            means,
            errors=np.where(np.isfinite(errors), errors, 0.0),
            label="Mean next-day return of score groups",
            y_label="bp a day",
        ),
        wide=False,
    )

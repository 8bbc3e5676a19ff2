"""The numbers of one split in plain words: does it rank, against what, and what should make one doubt it?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from atft_gat_fan.reporting.numbers import fixed, percent

Tone = Literal["good", "plain", "bad"]

COLLAPSE_LIMIT = 0.05
"""Share of days without spread above which the verdict speaks of collapse."""
BOUNCE_LIMIT = 0.5
"""Below this share of RankIC left without the first day (or in the liquid half), the verdict warns."""

TITLES = {
    "reversal": "reversal",
    "momentum": "momentum",
    "ridge": "ridge",
    "lightgbm": "LightGBM",
    "model": "ATFT-GAT-FAN",
}
"""Names of scorers in prose."""


@dataclass(frozen=True)
class Finding:
    """One line of the verdict."""

    tone: Tone
    name: str
    text: str


@dataclass(frozen=True)
class Verdict:
    """`headline` is one sentence, `caveats` what takes the joy out of a good one; `findings` are the reasons."""

    tone: Tone
    headline: str
    caveats: tuple[str, ...]
    findings: tuple[Finding, ...]


def judge(metrics: Mapping[str, Any]) -> Verdict:
    """Verdict on one split of `metrics.json` at its first horizon."""
    horizon = next(iter(metrics["rank_ic"]))
    findings = [_ranking(metrics, horizon), _collapse(metrics, horizon)]
    findings += [_against(name, metrics, horizon) for name in metrics["baselines"]]
    doubts = {
        "Most of it is gone once the first day is left out.": _skip1(metrics, horizon),
        "Most of it is in illiquid stocks.": _liquid(metrics, horizon),
        "Traded every day, it does not pay for its costs.": _costs(metrics),
    }
    findings += doubts.values()
    if len(metrics["rank_ic"]) > 1:
        findings.append(_other_horizons(metrics, horizon))
    collapsed = findings[1].tone == "bad"
    tone: Tone = "bad" if collapsed else findings[0].tone
    caveats = tuple(words for words, doubt in doubts.items() if doubt.tone == "bad") if tone == "good" else ()
    return Verdict(tone, _headline(metrics, horizon, collapsed), caveats, tuple(findings))


def title_of(name: str) -> str:
    """A scorer's name in prose; unknown names as they are."""
    return TITLES.get(name, name)


def _headline(metrics: Mapping[str, Any], horizon: str, collapsed: bool) -> str:
    low, high = metrics["rank_ic_interval"][horizon]
    if collapsed:
        return "The model has collapsed: on many days it gives every stock the same score."
    if low is None:
        return "Too few days to say whether it ranks stocks."
    if high < 0:
        return "It ranks stocks the wrong way round."
    if low <= 0:
        return "No evidence that it ranks stocks: its RankIC could be chance."
    by_verdict: dict[str, list[str]] = {"beats": [], "ties": [], "loses": []}
    for name, comparison in metrics.get("versus", {}).items():
        verdict = comparison[horizon]["verdict"]
        if verdict is not None:
            by_verdict[verdict].append(title_of(name))
    if by_verdict["loses"]:
        return f"It ranks stocks, but loses to {_listed(by_verdict['loses'])}."
    beats, ties = by_verdict["beats"], by_verdict["ties"]
    if ties:
        beaten = f" and beats {_listed(beats)}" if beats else ""
        return f"It ranks stocks{beaten}; no clear difference from {_listed(ties)}."
    if len(beats) > 1:
        return f"It ranks stocks, and beats all {len(beats)} baselines."
    return f"It ranks stocks, and beats {beats[0]}." if beats else "It ranks stocks."


def _ranking(metrics: Mapping[str, Any], horizon: str) -> Finding:
    value, t = metrics["rank_ic"][horizon], metrics["rank_ic_t"][horizon]
    low, high = metrics["rank_ic_interval"][horizon]
    name = f"Ranking, {horizon}"
    if value is None:
        return Finding("plain", name, "No day has enough known returns to rank.")
    if low is None:
        return Finding("plain", name, f"RankIC {fixed(value)}; too few days for an interval.")
    text = (
        f"RankIC {fixed(value)}, 95 % interval {fixed(low)} to {fixed(high)}, "
        f"t = {fixed(t, 1)} over {metrics['days']} days."
    )
    if low > 0:
        return Finding("good", name, text)
    if high < 0:
        return Finding("bad", name, f"{text} The order is reversed.")
    return Finding("plain", name, f"{text} The interval includes zero.")


def _collapse(metrics: Mapping[str, Any], horizon: str) -> Finding:
    shares = {name: share for name, share in metrics["collapse_share"].items() if share is not None}
    worst = max(shares, key=lambda name: shares[name], default=horizon)
    share = shares.get(worst, 0.0)
    if share > COLLAPSE_LIMIT:
        text = (
            f"On {percent(share)} of the days all stocks have the same score at {worst}; such days count as RankIC 0."
        )
        return Finding("bad", "Spread of scores", text)
    if share > 0:
        return Finding("plain", "Spread of scores", f"No spread on {percent(share, 1)} of the days at {worst}.")
    return Finding("good", "Spread of scores", "Stocks are told apart on every day at every horizon.")


def _against(name: str, metrics: Mapping[str, Any], horizon: str) -> Finding:
    heading = f"Against {title_of(name)}"
    reason = metrics["baselines"][name].get("unavailable")
    if reason is not None:
        return Finding("plain", heading, f"Not available: {reason}.")
    comparison = metrics["versus"][name][horizon]
    theirs = fixed(metrics["baselines"][name]["rank_ic"][horizon])
    if comparison["verdict"] is None:
        return Finding("plain", heading, f"Its RankIC is {theirs}; too few days to compare.")
    gap = fixed(comparison["mean"], sign=True)
    interval = f"{fixed(comparison['low'], sign=True)} to {fixed(comparison['high'], sign=True)}"
    tone, word = {"beats": ("good", "better"), "ties": ("plain", "no clear difference"), "loses": ("bad", "worse")}[
        comparison["verdict"]
    ]
    # Paired: both are scored on the same days, so what moves both cancels.
    text = f"{gap} RankIC (95 % paired interval {interval}): {word}. Its own RankIC is {theirs}."
    return Finding(tone, heading, text)  # type: ignore[arg-type]


def _skip1(metrics: Mapping[str, Any], horizon: str) -> Finding:
    value, whole = metrics["rank_ic_skip1"][horizon], metrics["rank_ic"][horizon]
    if value is None:
        return Finding("plain", "First day left out", "Too few days to leave the first one out.")
    text = f"Skip-1 RankIC is {fixed(value)}"
    if not _is_positive(whole):
        return Finding("plain", "First day left out", f"{text}.")
    if value < BOUNCE_LIMIT * whole:
        return Finding("bad", "First day left out", f"{text}: most of the ranking is gone, as with bid–ask bounce.")
    return Finding("good", "First day left out", f"{text}: it is not bid–ask bounce alone.")


def _liquid(metrics: Mapping[str, Any], horizon: str) -> Finding:
    name = "In liquid stocks"
    if metrics["rank_ic_liquid"] is None:
        return Finding("plain", name, f"Unknown: {metrics['rank_ic_liquid_reason']}.")
    value, whole = metrics["rank_ic_liquid"][horizon], metrics["rank_ic"][horizon]
    if value is None:
        return Finding("plain", name, "Too few liquid stocks a day.")
    text = f"In the upper half by dollar volume RankIC is {fixed(value)}"
    if not _is_positive(whole):
        return Finding("plain", name, f"{text}.")
    if value < BOUNCE_LIMIT * whole:
        return Finding("bad", name, f"{text}: most of the ranking is in illiquid names.")
    return Finding("good", name, f"{text}: it holds where one can trade.")


def _costs(metrics: Mapping[str, Any]) -> Finding:
    book = metrics["portfolio"]
    if book is None:
        return Finding("plain", "After costs", f"Unknown: {metrics['portfolio_reason']}.")
    if book["mean_return_net"] is None:
        return Finding("plain", "After costs", "Too few stocks a day for a long and a short group.")
    text = (
        f"Long–short by {book['groups']} groups earns {basis_points(book['mean_return_gross'])} bp a day gross and "
        f"{basis_points(book['mean_return_net'])} bp net at {book['cost_bps']:g} bp a side, "
        f"trading {fixed(book['turnover'], 2)} of one leg's capital a day."
    )
    low = book["mean_return_net_interval"][0]
    if book["mean_return_gross"] <= 0:
        return Finding("bad", "After costs", f"{text} It loses even before costs.")
    if book["mean_return_net"] <= 0:
        return Finding("bad", "After costs", f"{text} Costs take it all.")
    if low is None or low <= 0:
        return Finding("plain", "After costs", f"{text} The net gain could be chance.")
    return Finding("good", "After costs", text)


def _other_horizons(metrics: Mapping[str, Any], first: str) -> Finding:
    lows = {name: bounds[0] for name, bounds in metrics["rank_ic_interval"].items() if name != first}
    ranked = [name for name, low in lows.items() if low is not None and low > 0]
    if len(ranked) == len(lows):
        return Finding("good", "Other horizons", f"It also ranks at {_listed(list(lows))}.")
    missing = _listed([name for name in lows if name not in ranked])
    if not ranked:
        return Finding("plain", "Other horizons", f"The intervals at {missing} include zero or lie below it.")
    return Finding("plain", "Other horizons", f"It also ranks at {_listed(ranked)}; not shown at {missing}.")


def basis_points(value: float | None) -> str:
    """A daily return in basis points (1 bp = 0.0001), signed."""
    return fixed(None if value is None else value * 1e4, 1, sign=True)


def _is_positive(value: float | None) -> bool:
    return value is not None and value > 0


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

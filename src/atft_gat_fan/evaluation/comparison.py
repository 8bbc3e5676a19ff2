"""Runs side by side: each against the first, on the test days and stocks that both were judged on.

The daily RankIC of one run minus that of the other on the same day: what moves both, the market of that day, cancels.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy.typing import NDArray

from atft_gat_fan.evaluation.differing import Differing, differing
from atft_gat_fan.evaluation.evaluate import name_of, number
from atft_gat_fan.metrics.rank_ic import daily_rank_ic, mean
from atft_gat_fan.statistics.multiplicity import holm
from atft_gat_fan.statistics.paired import paired_interval

LEVEL = 0.05
"""Of the tests, and 1 - that of the intervals."""
SAME_METRIC = 1e-9
"""How far the RankIC of stored scores on today's data may be from the one that was stored with them."""
SAME_RETURN = 1e-5
"""Relative: returns of one panel kept in two formats differ by rounding, adjusted for other splits by more."""

Json = Mapping[str, Any]


@dataclass(frozen=True)
class JudgedDays:
    """What a run's test days were judged by: T days, N stocks, H horizons.

    `scores` [T, N, H], NaN where a stock was not scored; `labels` [T, N, H] raw forward returns (fractions), NaN =
    unknown; `present` [T, N].
    """

    days: Shaped[NDArray[np.datetime64], " days"]
    codes: tuple[str, ...]
    horizons: tuple[int, ...]
    scores: Float[NDArray[np.floating], "days stocks horizons"]
    labels: Float[NDArray[np.floating], "days stocks horizons"]
    present: Bool[NDArray[np.bool_], "days stocks"]

    def rank_ic(self, horizon: int) -> Float[NDArray[np.float64], " days"]:
        """RankIC of each day, NaN = unknown."""
        h = self.horizons.index(horizon)
        return daily_rank_ic(self.scores[..., h], self.labels[..., h], self.present)

    @property
    def judged(self) -> Bool[NDArray[np.bool_], "days stocks"]:
        """Stocks that are present and have a score."""
        scored: NDArray[np.bool_] = self.present & np.isfinite(self.scores).all(axis=2)
        return scored


@dataclass(frozen=True)
class ComparedRun:
    """One finished run.

    `test` and `train` are sections of its metrics.json, `config` its configuration without places, `plan` its
    plan.json. `judged` None: its days cannot be had any more, and `missing` says why.
    """

    name: str
    folder: str
    test: Json
    train: Json
    config: Json
    plan: Json
    judged: JudgedDays | None
    missing: str = ""

    @property
    def horizons(self) -> tuple[int, ...]:
        """In trading days."""
        return tuple(int(name.removesuffix("d")) for name in self.test["rank_ic"])


@dataclass(frozen=True)
class DeltaRankIC:
    """Mean of a run's daily RankIC minus the first run's; `p` of no difference, Holm-corrected over the runs.

    None where there are too few days.
    """

    mean: float | None
    low: float | None
    high: float | None
    p: float | None
    p_raw: float | None
    days: int


@dataclass(frozen=True)
class Pair:
    """A run against the first. `reason` says why nothing is compared; `notes` what to bear in mind where it is."""

    run: str
    delta_rank_ic: dict[str, DeltaRankIC]
    reason: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """All of it. The first of `runs` is the one that the others are held against."""

    runs: tuple[ComparedRun, ...]
    pairs: tuple[Pair, ...]
    plan: tuple[Differing, ...]
    config: tuple[Differing, ...]

    @property
    def reference(self) -> ComparedRun:
        return self.runs[0]

    @property
    def horizons(self) -> tuple[int, ...]:
        """Those of any run, ascending."""
        return tuple(sorted({horizon for run in self.runs for horizon in run.horizons}))

    @property
    def horizon(self) -> int:
        """The one of figures and verdict: the shortest that all runs have, else the first run's shortest."""
        common = set(self.reference.horizons).intersection(*(run.horizons for run in self.runs))
        return min(common or self.reference.horizons)

    def to_json(self) -> dict[str, Any]:
        """As `atft compare --json` prints it."""
        return {
            "reference": self.reference.name,
            "level": LEVEL,
            "runs": {
                run.name: {
                    "folder": run.folder,
                    "test": dict(run.test),
                    "train": dict(run.train),
                    "days_unavailable": run.missing or None,
                }
                for run in self.runs
            },
            "paired": {
                pair.run: {
                    "delta_rank_ic": {name: asdict(delta) for name, delta in pair.delta_rank_ic.items()},
                    "reason": pair.reason or None,
                    "notes": list(pair.notes),
                }
                for pair in self.pairs
            },
            "plan": self._by_run(self.plan),
            "config": self._by_run(self.config),
        }

    def _by_run(self, differing: Sequence[Differing]) -> dict[str, dict[str, Any]]:
        names = [run.name for run in self.runs]
        return {each.key: dict(zip(names, each.values, strict=True)) for each in differing}


def compare(runs: Sequence[ComparedRun], *, seed: int = 0) -> Comparison:
    """Hold each run against the first; `seed` is that of the bootstrap.

    The p-values of a horizon are corrected together, for the number of runs held against the first (Holm). One
    training each: the intervals speak of these trained models, not of what other seeds would give.
    """
    pairs = _corrected([_pair(runs[0], run, seed) for run in runs[1:]])
    return Comparison(
        runs=tuple(runs),
        pairs=tuple(pairs),
        plan=tuple(differing([run.plan for run in runs])),
        config=tuple(differing([run.config for run in runs])),
    )


def stored_otherwise(judged: JudgedDays, test: Json) -> str:
    """How these days differ from those that the `test` section of metrics.json was measured on; empty: they do not."""
    if len(judged.days) != test["days"]:
        return f"{len(judged.days)} test days in the data now, {test['days']} when it was evaluated"
    for horizon in judged.horizons:
        now, then = number(mean(judged.rank_ic(horizon))), test["rank_ic"].get(name_of(horizon))
        if (now is None) != (then is None) or (now is not None and abs(now - then) > SAME_METRIC):
            return f"its scores have RankIC@{name_of(horizon)} {now} on the data as they are now, {then} when evaluated"
    return ""


def _pair(reference: ComparedRun, run: ComparedRun, seed: int) -> Pair:
    for each in (reference, run):
        if each.judged is None:
            return Pair(run.name, {}, reason=f"the days of {each.name} cannot be had: {each.missing}")
    assert reference.judged is not None
    assert run.judged is not None
    horizons = [horizon for horizon in reference.horizons if horizon in run.horizons]
    if not horizons:
        return Pair(run.name, {}, reason="they have no horizon in common")
    ours, theirs = _on_common_days(reference.judged, run.judged)
    reason = _not_alike(ours, theirs, horizons)
    if reason:
        return Pair(run.name, {}, reason=reason)
    deltas = {}
    for horizon in horizons:
        daily = theirs.rank_ic(horizon) - ours.rank_ic(horizon)
        found = paired_interval(daily[None], horizon, seed, level=1 - LEVEL)
        low, high, p = (number(value) for value in (found.low, found.high, found.p))
        deltas[name_of(horizon)] = DeltaRankIC(number(found.mean), low, high, p, p, found.num_days)
    return Pair(run.name, deltas, notes=tuple(_notes(reference, run, len(ours.days))))


def _corrected(pairs: Sequence[Pair]) -> Iterator[Pair]:
    names = dict.fromkeys(name for pair in pairs for name in pair.delta_rank_ic)
    adjusted: dict[tuple[str, str], float] = {}
    for name in names:
        tested = [pair for pair in pairs if name in pair.delta_rank_ic]
        raw = [pair.delta_rank_ic[name].p_raw for pair in tested]
        corrected = holm(np.array([math.nan if p is None else p for p in raw]))
        adjusted |= {(pair.run, name): float(p) for pair, p in zip(tested, corrected, strict=True)}
    for pair in pairs:
        deltas = {
            name: DeltaRankIC(d.mean, d.low, d.high, number(adjusted[pair.run, name]), d.p_raw, d.days)
            for name, d in pair.delta_rank_ic.items()
        }
        yield Pair(pair.run, deltas, pair.reason, pair.notes)


def _on_common_days(one: JudgedDays, other: JudgedDays) -> tuple[JudgedDays, JudgedDays]:
    common = np.intersect1d(one.days, other.days)
    return _chosen(one, np.isin(one.days, common)), _chosen(other, np.isin(other.days, common))


def _chosen(judged: JudgedDays, days: Bool[NDArray[np.bool_], " days"]) -> JudgedDays:
    return JudgedDays(
        judged.days[days],
        judged.codes,
        judged.horizons,
        judged.scores[days],
        judged.labels[days],
        judged.present[days],
    )


def _not_alike(one: JudgedDays, other: JudgedDays, horizons: Sequence[int]) -> str:
    """Why a difference on these days would be one of what is ranked, not of who ranks; empty: it would not."""
    if not len(one.days):
        return "they have no test day in common"
    codes = sorted({*one.codes, *other.codes})
    ours, theirs = (_placed(each.judged, each.codes, codes, False) for each in (one, other))
    unequal = (ours != theirs).any(axis=1)
    if unequal.any():
        first = int(unequal.argmax())
        return (
            f"other stocks were ranked on {int(unequal.sum())} of the {len(one.days)} common test days, first on "
            f"{one.days[first]} ({int(ours[first].sum())} and {int(theirs[first].sum())} stocks)"
        )
    for horizon in horizons:
        a, b = (
            np.where(ours, _placed(each.labels[..., each.horizons.index(horizon)], each.codes, codes, math.nan), 0.0)
            for each in (one, other)
        )
        unequal = ~np.isclose(a, b, rtol=SAME_RETURN, atol=1e-7, equal_nan=True).all(axis=1)
        if unequal.any():
            return (
                f"the realised returns of {name_of(horizon)} are not the same on {int(unequal.sum())} of the "
                f"{len(one.days)} common test days, first on {one.days[int(unequal.argmax())]}"
            )
    return ""


def _placed(values: NDArray[Any], codes: Sequence[str], among: Sequence[str], fill: float | bool) -> NDArray[Any]:
    """Columns of `values` [days, codes] at the places of their codes `among` more; `fill` elsewhere."""
    placed = np.full((len(values), len(among)), fill, dtype=values.dtype)
    placed[:, np.searchsorted(np.array(among, dtype=object), np.array(codes, dtype=object))] = values
    return placed


def _notes(reference: ComparedRun, run: ComparedRun, common: int) -> Iterator[str]:
    of_each = [len(each.judged.days) for each in (reference, run) if each.judged is not None]
    if max(of_each) > common:
        yield (
            f"compared on the {common} days that both were tested on, of {of_each[0]} of {reference.name} and "
            f"{of_each[1]} of {run.name}"
        )
    only = {"only it has": set(run.horizons) - set(reference.horizons)}
    only[f"only {reference.name} has"] = set(reference.horizons) - set(run.horizons)
    for who, horizons in only.items():
        if horizons:
            yield f"{who} {', '.join(name_of(h) for h in sorted(horizons))}"

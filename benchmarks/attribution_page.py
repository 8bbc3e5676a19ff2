"""`attribution.html`: what each part of the network added, in pictures first."""

from collections.abc import Iterator, Mapping, Sequence

from atft_gat_fan.evaluation.verdict import Finding, Tone
from atft_gat_fan.reporting.numbers import between, fixed, probability
from atft_gat_fan.reporting.page import Chart, Fact, Row, Table, render
from atft_gat_fan.validation.arms import ALL
from atft_gat_fan.validation.charts import delta_chart
from atft_gat_fan.validation.result import DeltaRankIC, ImprovementResult, ValidationResult, Verdict
from benchmarks.ranking_page import Part

TONES: Mapping[Verdict, Tone] = {"helps": "good", "neutral": "plain", "hurts": "bad", "underpowered": "plain"}
Group = Mapping[str, ImprovementResult]


def build_page(result: ValidationResult, names: Sequence[str]) -> str:
    """The page as HTML text, without scripts or addresses. `names` of the parts, in order."""
    added, contributed = result.improvements, result.contributions
    horizons = [f"{horizon}d" for horizon in result.set_up.horizons]
    shown = tuple(dict.fromkeys((horizons[0], "5d" if "5d" in horizons else horizons[-1])))
    helped = [each.title for name, each in added.items() if name in names and each.verdict == "helps"]
    hurt = [each.title for name, each in added.items() if name in names and each.verdict == "hurts"]
    told = [f"{word}: {', '.join(titles)}" for word, titles in (("helps", helped), ("hurts", hurt)) if titles]
    return render(
        "sections.html.j2",
        title="What each part of the network adds",
        subtitle=f"{result.set_up.data}; {result.days:,} test days, {len(result.seeds)} seeds a network.",
        tone="good" if helped else "plain",
        headline=f"Over the same-day network at {shown[0]}, "
        + ("; ".join(told) if told else "no part is shown to change the RankIC")
        + ".",
        tiles=_tiles(result, shown),
        findings=[
            Finding(TONES[each.verdict], each.title, f"{each.verdict}: {each.reason}") for each in added.values()
        ],
        sections=[
            Part(
                "Added to the same-day network",
                "Each part alone, and all of them, minus the network that sees the day alone; ticks are single seeds. "
                "Shaded: differences too small to matter.",
                _charts(added, shown, result.set_up.level),
                [_table(added, horizons)],
            ),
            Part(
                "Left out of the whole",
                "All parts minus all but this one: above zero, the others do not make up for it."
                if contributed
                else "It was not measured: fewer than three parts were compared.",
                _charts(contributed, shown, result.set_up.level),
                [_table(contributed, horizons)] if contributed else [],
            ),
            Part("How it was measured", " ".join(result.rules), facts=list(_facts(result))),
        ],
        ours=added[ALL].title if ALL in added else "",
        command=result.set_up.command,
    )


def _tiles(result: ValidationResult, shown: Sequence[str]) -> list[Fact]:
    baseline = result.baseline
    tiles = [
        Fact(f"same-day network, RankIC@{h}", fixed(baseline.rank_ic[h]), between(*baseline.rank_ic_interval[h], fixed))
        for h in shown
    ]
    if ALL in result.improvements:
        delta = result.improvements[ALL].delta_rank_ic[shown[0]]
        tiles.append(Fact(f"all parts, ΔRankIC@{shown[0]}", fixed(delta.mean, sign=True), _interval(delta)))
    return tiles


def _charts(group: Group, shown: Sequence[str], level: float) -> list[Chart]:
    """The first horizon is the one that the verdicts are of."""
    if not group:
        return []
    return [delta_chart(f"ΔRankIC@{h}", group, h, level=None if h == shown[0] else level) for h in shown]


def _table(group: Group, horizons: Sequence[str]) -> Table:
    columns = ("", "ΔRankIC", "95 % interval", "p, Holm", "p of ±margin", "least found", "verdict")
    rows = tuple(_row(each, horizon, horizons[0]) for horizon in horizons for each in group.values())
    note = "Least found: the smallest true difference that these days and seeds would have shown, at 80 % power."
    return Table("All horizons", note, columns, rows)


def _row(each: ImprovementResult, horizon: str, first: str) -> Row:
    delta = each.delta_rank_ic[horizon]
    return (
        f"{each.title}, {horizon}",
        fixed(delta.mean, sign=True),
        _interval(delta),
        probability(delta.p),
        probability(delta.p_equivalence),
        fixed(delta.minimum_detectable),
        each.verdict if horizon == first else "",
    )


def _interval(delta: DeltaRankIC) -> str:
    return between(delta.low, delta.high, lambda value: fixed(value, sign=True))


def _facts(result: ValidationResult) -> Iterator[Fact]:
    set_up = result.set_up
    yield Fact("Seeds", ", ".join(map(str, result.seeds)))
    yield Fact("Test days", "; ".join(set_up.folds))
    yield Fact("Loss and label", f"{result.baseline.loss}, {result.baseline.label_transform}")
    yield Fact("All trainings together", f"{set_up.seconds / 60:,.0f} min on {set_up.machine}")
    for each in (*result.improvements.values(), *result.contributions.values()):
        yield Fact(each.title, " ".join(each.overrides))
    for failed in set_up.failed_trials:
        yield Fact("Failed", failed)
    for sentence in result.cannot_conclude:
        yield Fact("Not said by this", sentence)

"""A validation in plain words: do the improvements help, does each, and were the memo's promises kept?"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from atft_gat_fan.reporting.numbers import THIN_SPACE, between, fixed, percent
from atft_gat_fan.validation.result import ImprovementResult, TargetResult, ValidationResult, Verdict

ALL = "all"
"""Key of the arm with every improvement on."""
NUMBERED = re.compile(r" \(\d+(\.\d+)*\)$")
Tone = Literal["good", "plain", "bad", "open"]
TONES: Mapping[Verdict, Tone] = {"helps": "good", "neutral": "plain", "hurts": "bad", "underpowered": "open"}
ANSWERS: Mapping[Verdict, str] = {
    "helps": "{who} {rank} stocks better than the baseline.",
    "neutral": "{who} {rank} stocks no better and no worse than the baseline.",
    "hurts": "{who} {rank} stocks worse than the baseline.",
    "underpowered": "This run cannot tell whether {who} {rank} stocks better than the baseline.",
}
ALONE: Mapping[Verdict, str] = {
    "helps": "Helps alone",
    "hurts": "Hurts alone",
    "neutral": "Makes no difference alone",
    "underpowered": "Not decided",
}


@dataclass(frozen=True)
class Tile:
    """A promise of the memo: what was measured, in large, and beneath it what was promised and whether it was kept."""

    title: str
    value: str
    interval: str
    promise: str
    outcome: str
    tone: Tone


@dataclass(frozen=True)
class Finding:
    """One improvement with its verdict, and the rule that gave it."""

    tone: Tone
    title: str
    verdict: Verdict
    reason: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Headline:
    """`answer` is one sentence, `alone` the verdicts in groups, `caveats` what failed or was missed."""

    tone: Tone
    answer: str
    alone: tuple[str, ...]
    caveats: tuple[str, ...]
    tiles: tuple[Tile, ...]
    findings: tuple[Finding, ...]


def summarise(result: ValidationResult) -> Headline:
    """The card at the top of the page. It says nothing that `result` has not measured."""
    improvements = result.improvements
    judged = subject(improvements)
    alone = {name: each for name, each in improvements.items() if name != ALL}
    return Headline(
        tone="open" if judged is None else TONES[judged.verdict],
        answer=_answer(judged, improvements),
        alone=tuple(_groups(alone)) if len(improvements) > 1 else (),
        caveats=tuple(_caveats(result)),
        tiles=tuple(_tile(target, result.set_up.level) for target in result.targets.values()),
        findings=tuple(
            Finding(TONES[each.verdict], short(each.title), each.verdict, each.reason, each.notes)
            for each in improvements.values()
        ),
    )


def subject(improvements: Mapping[str, ImprovementResult]) -> ImprovementResult | None:
    """What the headline and the promises are about: all together, or the one improvement that was compared."""
    only = next(iter(improvements.values())) if len(improvements) == 1 else None
    return improvements.get(ALL, only)


def short(title: str) -> str:
    """A title without the memo's number, begun with a capital: `online normalisation (4.7)`, `Online normalisation`."""
    bare = NUMBERED.sub("", title)
    return bare[:1].upper() + bare[1:]


def confidence(level: float) -> str:
    """What intervals hold at this level of the tests: `95 %`."""
    return f"{100 * (1 - level):g}{THIN_SPACE}%"


def measured(target: TargetResult, value: float) -> str:
    """A value in the unit of its target."""
    return fixed(value, sign=True) if target.unit == "rank_ic" else percent(value, 1, sign=True)


def promised(target: TargetResult) -> str:
    """The memo's words, with percent signs that stay on their number's line."""
    return target.promise.replace(" %", f"{THIN_SPACE}%")


def outcome(target: TargetResult) -> str:
    """Whether a promise was kept, in two words at most."""
    if target.measured is None:
        return "not measured"
    return "not decided" if target.reached is None else "reached" if target.reached else "missed"


def _answer(judged: ImprovementResult | None, improvements: Mapping[str, ImprovementResult]) -> str:
    if judged is not None:
        who, rank = ("all improvements together", "rank") if ALL in improvements else (short(judged.title), "ranks")
        answer = ANSWERS[judged.verdict].format(who=who, rank=rank)
        return answer[:1].upper() + answer[1:]
    if not improvements:
        return "Nothing was compared with the baseline."
    return f"{len(improvements)} improvements were compared with the baseline, but not all of them together."


def _groups(alone: Mapping[str, ImprovementResult]) -> Iterable[str]:
    for verdict, words in ALONE.items():
        titles = [short(each.title) for each in alone.values() if each.verdict == verdict]
        if titles:
            yield f"{words}: {', '.join(titles)}."


def _caveats(result: ValidationResult) -> Iterable[str]:
    for gate in result.gates:
        if not gate.held:
            found = "nothing was measured" if gate.measured is None else f"measured {fixed(gate.measured, sign=True)}"
            yield f"Gate {gate.expression} failed: {found}."
    missed = [f"{short(t.title)} {promised(t)}" for t in result.targets.values() if outcome(t) == "missed"]
    if missed:
        yield f"Promises missed: {'; '.join(missed)}."
    failed = len(result.set_up.failed_trials)
    if failed:
        yield f"Without a result, and so not in it: {failed} training{'s' if failed > 1 else ''}."


def _tile(target: TargetResult, level: float) -> Tile:
    tones: dict[bool | None, Tone] = {True: "good", False: "bad", None: "open"}
    interval = between(target.low, target.high, lambda value: measured(target, value))
    return Tile(
        title=short(target.title),
        value="–" if target.measured is None else measured(target, target.measured),
        interval=""
        if target.measured is None
        else "no interval"
        if interval == "–"
        else f"{confidence(level)}: {interval}",
        promise=f"promised {promised(target)}",
        outcome=outcome(target),
        tone="open" if target.measured is None else tones[target.reached],
    )

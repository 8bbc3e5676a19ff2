"""Does each improvement help in the world made for it, and change nothing in the world without it?

    python -m benchmarks.worlds [--quick] [--only WORLD ...] [--out FOLDER]

Each world of the synthetic market and its null twin go through the validation of `atft validate`: trainings with and
without one improvement, paired by seed, on 450 to 1,500 test days of 100 stocks with six seeds. That takes hours. It
can be ended and started again: trainings that are finished stay in FOLDER, with validation.html of each world.
`--quick` is a smoke check on one seed and a few steps, whose answers mean nothing.

Expected is, in a world, that it helps: p <= 0.05 after Holm's correction over the worlds. Of the twin, that it is
neutral: two one-sided tests put the difference inside ±0.003. Online normalisation need only not hurt (the interval
stays above -0.003), and small initial weights need to diverge less on the stress grid (McNemar, in Holm's family).
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from atft_gat_fan.config.schema import ValidationConfig
from atft_gat_fan.data.sources.synthetic import oracle_rank_ic, synthetic_oracle
from atft_gat_fan.errors import AtftError
from atft_gat_fan.metrics.rank_ic import daily_rank_ic
from atft_gat_fan.runs.pace import duration
from atft_gat_fan.runs.validate import Prepared, Request, base_config, prepare, validate
from atft_gat_fan.statistics.multiplicity import holm
from atft_gat_fan.validation.arms import ALL
from atft_gat_fan.validation.result import DeltaRankIC, DivergenceResult, ValidationResult
from atft_gat_fan.validation.verdicts import judge
from benchmarks.measuring import ROOT, Figure, arguments, at_least, publish
from benchmarks.world_questions import NAMES, Question, arguments_of, arms_of, questions_of

COMMAND = "python -m benchmarks.worlds"
HORIZON = "1d"
SHARE_WANTED = 0.75
LEVEL, MARGIN = ValidationConfig().level, ValidationConfig().margin


@dataclass(frozen=True)
class Answer:
    """What a world, or its twin, said. `p` is corrected for the other answers that count as evidence."""

    question: Question
    twin: bool
    baseline: float | None
    """RankIC@1d of the baseline."""
    delta: DeltaRankIC
    divergence: DivergenceResult
    p: float | None

    @property
    def expected(self) -> str:
        return "neutral" if self.twin else self.question.expected

    @property
    def verdict(self) -> str:
        if self.expected == "diverges less":
            return "diverges less" if self.met else "not shown to diverge less"
        return judge(replace(self.delta, p=self.p), HORIZON, LEVEL)[0]

    @property
    def met(self) -> bool | None:
        """None where nothing is expected."""
        delta, divergence = self.delta, self.divergence
        if self.expected == "shown":
            return None
        if self.expected == "neutral":
            return delta.p_equivalence is not None and delta.p_equivalence <= LEVEL
        if self.expected == "harmless":
            return delta.low is not None and delta.low >= -MARGIN
        better = divergence.variant < divergence.baseline if self.expected == "diverges less" else (delta.mean or 0) > 0
        return better and self.p is not None and self.p <= LEVEL

    @property
    def figure(self) -> Figure:
        where = f"null twin of {self.question.name}" if self.twin else self.question.name
        reached = {None: "", True: "yes", False: "no"}[self.met]
        expected = "" if self.expected == "shown" else self.expected
        return Figure(f"{where}: {self.question.arm.title}", self._measured, COMMAND, expected, reached)

    @property
    def _measured(self) -> str:
        if self.expected == "diverges less":
            found, shown = self.divergence, _shown(self.p, ".3f")
            return f"{found.variant} for {found.baseline} of {found.pairs} diverged, p = {shown}: {self.verdict}"
        delta = self.delta
        mean, low, high = (_shown(value, "+.4f") for value in (delta.mean, delta.low, delta.high))
        p, same = _shown(self.p, ".3f"), _shown(delta.p_equivalence, ".3f")
        equivalent = f", p of ±{MARGIN:g} = {same}" if self.twin else ""
        return f"{mean} ({low} … {high}) on {_shown(self.baseline, '.4f')}, p = {p}{equivalent}: {self.verdict}"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="WORLD", help=", ".join(NAMES))
    parser.add_argument("--out", type=Path, help="where trainings are kept; by default runs/worlds, or worlds-quick")
    parsed = parser.parse_args()
    out: Path = parsed.out or ROOT / "runs" / ("worlds-quick" if parsed.quick else "worlds")
    try:
        figures = measure(parsed.only, out, quick=parsed.quick)
    except AtftError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    publish("worlds", figures, quick=parsed.quick or set(parsed.only) != set(NAMES))


def measure(names: Sequence[str], out: Path, *, quick: bool) -> list[Figure]:
    """The answers of these worlds and their twins, and in `full` the share of the best possible RankIC."""
    console = Console(stderr=True)
    answers: list[Answer] = []
    shares = []
    for name in names:
        for twin in (False, True):
            console.print(f"== {'null twin of ' if twin else ''}{name}", highlight=False)
            prepared = plan(name, out, twin=twin, quick=quick)
            console.print(f"about {duration(prepared.seconds_left)} to go", highlight=False)
            result = validate(prepared, console)
            answers += answers_of(name, result, twin=twin)
            if name == "full" and not twin:
                shares.append(share_of_oracle(prepared, result))
    return [*(answer.figure for answer in corrected(answers)), *shares]


def plan(name: str, out: Path, *, twin: bool, quick: bool) -> Prepared:
    """The validation of a world or its twin, in a folder of its own below `out`."""
    folder = out / name / ("twin" if twin else "world")
    places = [f"run.dir={folder}", f"data.cache={out / 'cache'}"]
    request = Request([*arguments_of(name, twin=twin, quick=quick), *places], command=f"{COMMAND} --only {name}")
    return prepare(request, Console(quiet=True), arms_of(name, base_config(request)))


def answers_of(name: str, result: ValidationResult, *, twin: bool) -> list[Answer]:
    answers = []
    for question in questions_of(name):
        found = result.improvements[question.arm.name]
        delta = found.delta_rank_ic[HORIZON]
        p = found.divergence.p if question.expected == "diverges less" and not twin else delta.p_raw
        answers.append(Answer(question, twin, result.baseline.rank_ic[HORIZON], delta, found.divergence, p))
    return answers


def corrected(answers: Sequence[Answer]) -> list[Answer]:
    """p by Holm over the worlds where something is to be shown; of the others it stays as it is."""
    family = [answer.expected in ("helps", "diverges less") for answer in answers]
    raw = [
        answer.p if counts and answer.p is not None else np.nan for answer, counts in zip(answers, family, strict=True)
    ]
    adjusted = holm(np.array(raw, dtype=np.float64)).tolist()
    return [replace(answer, p=p) if np.isfinite(p) else answer for answer, p in zip(answers, adjusted, strict=True)]


def share_of_oracle(prepared: Prepared, result: ValidationResult) -> Figure:
    """RankIC@1d with all improvements over that of the planted score on the same test days."""
    what = "full: RankIC@1d of all together / the oracle's on the same days"
    delta, baseline = result.improvements[ALL].delta_rank_ic[HORIZON].mean, result.baseline.rank_ic[HORIZON]
    if delta is None or baseline is None:
        return Figure.skipped(what, "no training was finished", COMMAND, at_least(SHARE_WANTED))
    reached, oracle = baseline + delta, oracle_on_test_days(prepared)
    detail = f"{reached:.4f} and {oracle:.4f}; closed form {oracle_rank_ic(prepared.config.data.synthetic):.4f}"
    return Figure.of(what, reached / oracle, COMMAND, at_least(SHARE_WANTED), detail=detail)


def oracle_on_test_days(prepared: Prepared) -> float:
    """Mean daily RankIC@1d of the planted score."""
    store = prepared.assembly.store
    frame = synthetic_oracle(prepared.config.data.synthetic).pivot(on="code", index="date", values="oracle_1d")
    scores = frame.sort("date").select(map(str, store.codes)).to_numpy()
    first, last = prepared.folds[0].test_start, prepared.folds[-1].test_end
    days = np.flatnonzero((store.days >= np.datetime64(first)) & (store.days <= np.datetime64(last)))
    tested = slice(int(days[0]), int(days[-1]) + 1)
    horizon = store.horizons.index(int(HORIZON.removesuffix("d")))
    labels = store.column("labels", tested)[..., horizon]
    return float(np.nanmean(daily_rank_ic(scores[tested], labels, store.column("present", tested))))


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


if __name__ == "__main__":
    main()

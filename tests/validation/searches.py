"""Results of searches with known skill, for tests of what is made of them."""

import numpy as np

from atft_gat_fan.validation.outcome import TrialOutcome
from atft_gat_fan.validation.search_result import SearchResult, SearchTrial, icirs, judge_luck, score


def make_outcome(rng: np.random.Generator, skill: float = 0.0, days: int = 300) -> TrialOutcome:
    dates = tuple(str(np.datetime64("2020-01-01") + day) for day in range(days))
    daily = {h: tuple((skill + rng.normal(0, 0.1, days)).tolist()) for h in (1, 5)}
    return TrialOutcome(days=dates, daily_rank_ic=daily, seconds=12.5)


def make_result(skills: list[float], *, num_pruned: int = 0, num_failed: int = 0) -> SearchResult:
    rng = np.random.default_rng(0)
    outcomes = {number: make_outcome(rng, skill) for number, skill in enumerate(skills)}
    trials = [
        SearchTrial(
            number,
            "complete",
            (f"optimizer.lr={1e-3 * (number + 1)!r}", "model.hidden_size=32"),
            score(outcome),
            None,
            tuple(score(outcome) * epoch / 3 for epoch in (1, 2, 3)),
            12.5,
            f"search/trials/{number:04d}",
        )
        for number, outcome in outcomes.items()
    ]
    for _ in range(num_pruned):
        number = len(trials)
        trials.append(SearchTrial(number, "pruned", ("optimizer.lr=0.1",), -0.03, None, (-0.02, -0.03), None, "x"))
    for _ in range(num_failed):
        number = len(trials)
        trials.append(
            SearchTrial(number, "failed", ("optimizer.lr=9",), None, None, (), None, "x", "exit code 70: nan")
        )
    of_each = icirs(trials, outcomes)
    trials = [SearchTrial(**{**vars(t), "icir": icir}) for t, icir in zip(trials, of_each, strict=True)]
    best = max(outcomes, key=lambda number: score(outcomes[number])) if outcomes else None
    luck = None if best is None else judge_luck(outcomes[best], of_each, (1, 5))
    return SearchResult(
        command="atft search 'optimizer.lr=tag(log,interval(1e-4,1e-2))'",
        data="panel.parquet, 12 stocks, 2010-01-04 to 2021-01-01",
        space=("optimizer.lr=tag(log,interval(1e-4,1e-2))", "model.hidden_size=choice(16,32)"),
        days=("2020-01-01", "2020-10-26", 300),
        horizons=(1, 5),
        trials=tuple(trials),
        best=best,
        luck=luck,
        importance={"optimizer.lr": 0.8, "model.hidden_size": 0.2} if len(skills) > 3 else {},
        best_config=None if best is None else "search/best.yaml",
    )

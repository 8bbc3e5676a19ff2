"""A validation as it could have been measured, for the tests of its page."""

from dataclasses import replace
from typing import Any

from atft_gat_fan.validation.result import (
    BaselineResult,
    DeltaRankIC,
    DivergenceResult,
    GateResult,
    ImprovementResult,
    RatioResult,
    SetUp,
    TargetResult,
    ValidationResult,
    Verdict,
)

SEEDS = (1, 2, 3, 4, 5)
TITLES = {
    "output_head_small_init": "small-init head (4.1)",
    "gat_temperature": "GAT temperature (4.3)",
    "freq_dropout_p": "FreqDropout (4.2)",
    "use_ema": "EMA teacher (4.5)",
    "huber_loss": "multi-horizon Huber loss (4.4)",
    "online_normalization": "online normalisation (4.7)",
    "all": "all of them",
}
MEANS = (0.0004, 0.0017, -0.0011, 0.0052, 0.0121, -0.0079, 0.0138)
VERDICTS: tuple[Verdict, ...] = ("neutral", "underpowered", "underpowered", "helps", "helps", "hurts", "helps")


def delta(mean: float, verdict: Verdict, horizon: int = 1) -> DeltaRankIC:
    half = 0.0019 if verdict == "neutral" else 0.0046 if verdict == "underpowered" else 0.0031
    half *= 1 + 0.06 * horizon
    return DeltaRankIC(
        mean=mean,
        low=mean - half,
        high=mean + half,
        p=0.0004 if verdict in {"helps", "hurts"} else 0.61,
        p_raw=0.0001 if verdict in {"helps", "hurts"} else 0.31,
        diebold_mariano_t=mean / half * 2,
        diebold_mariano_p=0.02,
        p_equivalence=0.012 if verdict == "neutral" else 0.44,
        margin=0.003,
        minimum_detectable=half * 1.43,
        needed_days=None if verdict == "neutral" else 1840,
        needed_seeds=None if verdict == "neutral" else 12,
        by_seed=tuple(mean + half * offset for offset in (-0.9, -0.3, 0.1, 0.4, 0.7)),
    )


def improvement(title: str, mean: float, verdict: Verdict, **changes: Any) -> ImprovementResult:
    known = ImprovementResult(
        title=title,
        overrides=(f"improvements.{title.split()[0].lower()}=true",),
        delta_rank_ic={f"{h}d": delta(mean * (1 - 0.05 * h), verdict, h) for h in (1, 2, 3, 5, 10)},
        divergence=DivergenceResult(
            pairs=30, baseline=9, variant=3, only_baseline=7, only_variant=1, baseline_rate=0.3, rate=0.1,
            change=-2 / 3, p=0.07, reasons={"baseline": {"spike": 6, "collapse": 3}, "variant": {"non_finite": 3}},
        ),
        time=RatioResult(1.062, 1.041, 1.084, 8, 41.2, 43.7),
        memory=RatioResult(0.981, 0.972, 1.004, 8, 512 * 2**20, 502 * 2**20),
        cuda_memory=None,
        verdict=verdict,
        reason=f"mean {mean:+.4f}; the Holm-corrected p and the interval decide",
    )  # fmt: skip
    return replace(known, **changes)


def example(**changes: Any) -> ValidationResult:
    """Seven arms, five horizons, five seeds; every verdict occurs."""
    improvements = {
        name: improvement(title, mean, verdict)
        for (name, title), mean, verdict in zip(TITLES.items(), MEANS, VERDICTS, strict=True)
    }
    quiet = improvements["gat_temperature"]
    improvements["gat_temperature"] = replace(
        quiet, time=RatioResult(1.13, 1.11, 1.16, 8, 41.2, 46.6), notes=("No decoy edges in this configuration.",)
    )
    everything = improvements["all"]
    calm = replace(
        everything.divergence, variant=1, only_baseline=8, only_variant=0, rate=1 / 30, change=-8 / 9, p=0.008
    )
    saving = RatioResult(0.83, 0.81, 0.85, 8, 512 * 2**20, 425 * 2**20)
    slow = RatioResult(1.142, 1.121, 1.164, 8, 41.2, 47.0)
    improvements["all"] = replace(everything, divergence=calm, memory=saving, time=slow)
    result = ValidationResult(
        improvements=improvements,
        contributions={},
        targets={
            "rank_ic_1d": TargetResult("RankIC@1d", "+0.01 … +0.02", 0.0131, 0.0098, 0.0164, True, "rank_ic"),
            "divergence": TargetResult("diverged trainings", "−50 % or less", -0.8889, None, None, None, "share"),
            "memory": TargetResult("peak memory", "−15 % or less", -0.17, -0.19, -0.15, True, "share"),
            "time": TargetResult("training time", "+10 % at most", 0.142, 0.121, 0.164, False, "share"),
        },
        baseline=BaselineResult(
            loss="mse",
            label_transform="zscore",
            improvements={"use_ema": False, "gat_temperature": 1.0},
            rank_ic={"1d": 0.0312, "5d": 0.0287},
            rank_ic_interval={"1d": (0.0241, 0.0383), "5d": (None, None)},
            seconds=41.2,
            samples_per_second=18_400.0,
            peak_private_bytes=512 * 2**20,
            divergence_rate=0.3,
        ),
        seeds=SEEDS,
        days=612,
        set_up=SetUp(
            command="atft validate --config configs/atft/config.yaml --full-test",
            data="nasdaq.parquet, 2003-01-02 to 2017-12-29",
            stocks=254.3,
            horizons=(1, 2, 3, 5, 10),
            folds=("2015-01-02 to 2016-06-30", "2016-07-01 to 2017-12-29"),
            epochs=6,
            parameters=143_210,
            trials={"rank_ic": 70, "stress": 240, "timing": 16},
            failed_trials=("huber_loss/seed-3/fold-2: killed twice, exit status −9",),
            seconds=7_620.0,
            machine="2 cores, Linux x86_64, Python 3.11, torch 2.13",
            full=True,
        ),
        rules=("helps: Holm p < 0.05 and the mean is above zero.", "neutral: equivalent within ±0.003."),
        can_conclude=("Whether a difference of 0.0044 RankIC@1d is there.",),
        cannot_conclude=("Anything about days after 2017.",),
        gates=(GateResult("rank_ic_1d>=0.02", 0.0131, False), GateResult("time<=0.2", 0.142, True)),
    )
    return replace(result, **changes)

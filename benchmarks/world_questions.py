"""What is asked of each world of the synthetic market: which two configurations, and what their difference should be.

What was tried to choose the settings had seeds below 100; `benchmarks.worlds` answers with seeds from 101 on.
"""

from dataclasses import dataclass
from typing import Literal

from atft_gat_fan.config.schema import Config
from atft_gat_fan.validation.arms import ALL, SWITCHES, Arm, Arms, make_arms

Expected = Literal["helps", "harmless", "diverges less", "shown"]
"""Of the world; its twin is always expected to be neutral. `shown`: measured, and nothing is expected."""

MARKET_SEED, FIRST_SEED = 101, 101
"""Of the market and of the first training, apart from those that anything was tuned with."""
SETTING = (
    "model=small",
    "data.horizons=[1]",  # what the bound is of
    "labels.transform=zscore",
    "optimizer.lr=0.004",
    # The cycle and the spill-over are found only after some 500 steps: patience would end some arms before.
    "early_stopping.enabled=false",
    "train.max_epochs=6",
    "compile=false",
    f"data.synthetic.seed={MARKET_SEED}",
    "validation.overrides=[]",
    "validation.stress.num_seeds=0",
    "validation.timing.rounds=0",
)
FULL = ("data.synthetic.num_stocks=100", "data.synthetic.num_days=3000")
HALF_TESTED = ("split.train_fraction=0.45", "split.valid_fraction=0.05")
"""Many test days are cheaper than many trainings, and they are what small differences need."""
QUICK = ("data.synthetic.num_stocks=30", "data.synthetic.num_days=400", "train.max_steps=20")
FULL_SEEDS, QUICK_SEEDS = 6, 1
STRESSED_SEEDS = 2
"""Where no RankIC is asked."""
DELTA = "loss.huber_delta=0.55"
"""Of day-z-scored labels, and what `auto` would take."""
STRESS = (
    "validation.stress.lr_factors=[1,3,10,30,100]",
    "validation.stress.precisions=[none,bf16]",
    "validation.stress.num_seeds=3",
)
QUICK_STRESS = ("validation.stress.lr_factors=[10]", "validation.stress.num_seeds=1")


@dataclass(frozen=True)
class Question:
    """An arm against the baseline, which has every improvement off. One validation answers those of one name."""

    name: str
    """Of the world, or of what else is asked there."""
    arm: Arm
    expected: Expected = "helps"
    world: str | None = None
    """Where it is not the name."""
    baseline: tuple[str, ...] = ()
    """What the baseline leaves out besides."""
    setting: tuple[str, ...] = ()
    """Of both arms."""
    split: tuple[str, ...] = HALF_TESTED
    """Of both arms; empty: the default's 15 % of test days."""

    @property
    def preset(self) -> str:
        return f"data=synthetic_{self.world or self.name}"


def _switch(name: str) -> Arm:
    """An improvement at its value of config_full.yaml."""
    return Arm(name, SWITCHES[name].title, (f"improvements.{name}={SWITCHES[name].on}",))


def _temperature(value: str) -> Arm:
    return Arm(f"gat_temperature_{value}", f"GAT temperature {value} (4.3)", (f"improvements.gat_temperature={value}",))


_ALL = Arm(ALL, "all of them", tuple(override for name in SWITCHES for override in _switch(name).overrides))
_GAT = Arm("gat", "graph attention", ("model.gat.enabled=true",))
_FAN = Arm("fan", "frequency adaptive normalisation", ("model.fan.enabled=true",))

QUESTIONS = (
    Question("heavy_tails", _switch("huber_loss"), setting=(DELTA,)),
    Question("spill_over", _GAT, baseline=("model.gat.enabled=false",)),
    Question("decoys", _temperature("0.5")),
    Question("decoys", _temperature("2.0"), "shown"),
    Question("periodic", _FAN, baseline=("model.fan.enabled=false",)),
    # By then the baseline's LSTM has found some of the cycle as well.
    Question(
        "periodic_longer",
        _FAN,
        "shown",
        world="periodic",
        baseline=("model.fan.enabled=false",),
        setting=("train.max_epochs=10",),
    ),
    # The line ends where the default split's test begins.
    Question("spurious_line", _switch("freq_dropout_p"), split=()),
    # Labels as they are: day by day z-scored, a stressed day would weigh no more than another.
    Question("regimes", _switch("use_ema"), setting=("labels.transform=raw",)),
    Question("scale_drift", _switch("online_normalization"), "harmless"),
    Question("stress", _switch("output_head_small_init"), "diverges less", world="full"),
    # How near to the best RankIC all come, is asked where there is most to learn from.
    Question("full", _ALL, setting=(DELTA, "train.max_epochs=8"), split=()),
)
NAMES = tuple(dict.fromkeys(question.name for question in QUESTIONS))


def questions_of(name: str) -> tuple[Question, ...]:
    return tuple(question for question in QUESTIONS if question.name == name)


def arguments_of(name: str, *, twin: bool, quick: bool) -> list[str]:
    """The configuration that every arm of a world is laid over, in Hydra's grammar."""
    first = questions_of(name)[0]
    count = QUICK_SEEDS if quick else STRESSED_SEEDS if name == "stress" else FULL_SEEDS
    seeds = [FIRST_SEED + number for number in range(count)]
    stress = (QUICK_STRESS if quick else STRESS) if name == "stress" and not twin else ()
    return [
        first.preset,
        *SETTING,
        *(QUICK if quick else FULL),
        f"validation.seeds=[{','.join(map(str, seeds))}]",
        f"data.synthetic.null_twin={str(twin).lower()}",
        *stress,
        *first.split,
        *first.setting,
    ]


def arms_of(name: str, config: Config) -> Arms:
    """The baseline of a world, and what is compared with it."""
    asked = questions_of(name)
    off = make_arms(config).baseline
    return Arms((*off, *asked[0].baseline), tuple(question.arm for question in asked), (), {})

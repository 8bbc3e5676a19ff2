"""The worlds of the artificial market, each made for one improvement; docs/synthetic_market.md has the equations."""

from dataclasses import dataclass, replace

from atft_gat_fan.config.schema import SyntheticConfig

MARKET_SHARE, GROUP_SHARE, OWN_SHARE = 0.1, 0.5, 0.4
"""Of the variance of an ordinary day's noise: the market, alike for all; the stock's group; its own moves."""
GROUP_SIZE = 10
CARRIERS = 3
"""Stocks of a group whose news spills over, where the others are decoys."""
JUMP_CHANCE, JUMP_SIZE = 0.003, 10.0
"""Own moves that are that many times as large, where tails are heavy."""
REGIME_DAYS, STRESS_DAYS, STRESS_SCALE = 80, 20, 3.0
"""In every 80 days 20 in a row, at a place nobody can foresee, are three times as volatile."""
DRIFT_DOUBLING = 500
"""Days in which the scale of drifting features doubles."""
LEVEL_STEP = 0.15
"""Daily step of the wave's drifting level; the wave itself has unit variance."""
LINE_STRENGTH = 1.5
"""How much stronger than the lasting signal the spurious line is, while it is there."""
LINE_SHARE = 0.85
"""Share of the days with the line: the default split's training and validation days."""


@dataclass(frozen=True)
class World:
    """Which parts a market has.

    `slow`, `spill_over`, `periodic` are the weights of the parts of the score Z; their squares sum to one. The others
    say whether that complication is there.
    """

    slow: float = 1.0
    spill_over: float = 0.0
    periodic: float = 0.0
    decoys: bool = False
    level_drift: bool = False
    spurious_line: bool = False
    heavy_tails: bool = False
    regimes: bool = False
    scale_drift: bool = False
    group_moves: bool = True

    @property
    def group_share(self) -> float:
        return GROUP_SHARE if self.group_moves else 0.0

    @property
    def own_share(self) -> float:
        return OWN_SHARE + GROUP_SHARE - self.group_share


PLAIN = World()
ALONE = World(group_moves=False)
SPILL_OVER = World(slow=0.6, spill_over=0.8)
WORLDS: dict[str, tuple[World, World]] = {
    # The groups' moves are normal, and half of the noise: with them it has no tails that are worth a robust loss.
    "heavy_tails": (replace(ALONE, heavy_tails=True), ALONE),
    "spill_over": (SPILL_OVER, PLAIN),
    "decoys": (replace(SPILL_OVER, decoys=True), SPILL_OVER),
    "periodic": (World(slow=0.6, periodic=0.8, level_drift=True), PLAIN),
    "spurious_line": (World(spurious_line=True), PLAIN),
    "regimes": (World(regimes=True), PLAIN),
    "scale_drift": (World(scale_drift=True), PLAIN),
    "full": (
        World(
            slow=0.6,
            spill_over=0.64,
            periodic=0.48,
            decoys=True,
            level_drift=True,
            spurious_line=True,
            heavy_tails=True,
            regimes=True,
            scale_drift=True,
        ),
        PLAIN,
    ),
}
"""By name: the world, and its null twin."""


def world_of(config: SyntheticConfig) -> World:
    """The parts of the market that `config.world` names, which must not be null."""
    assert config.world is not None
    return WORLDS[config.world][int(config.null_twin)]


def num_groups(num_stocks: int) -> int:
    """Groups of stocks that move together, of about `GROUP_SIZE`."""
    return max(round(num_stocks / GROUP_SIZE), 1)

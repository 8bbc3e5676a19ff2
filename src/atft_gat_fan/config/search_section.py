"""Keys of `atft search`: how many configurations are tried, and how they are chosen."""

from typing import Annotated

from pydantic import Field

from atft_gat_fan.config.section import Length, NonNegative, Section


class SearchConfig(Section):
    """How `atft search` draws configurations and gives bad ones up. Where they run: `trials`."""

    num_trials: Length = 30
    """Configurations to try in all; a greater number goes on with a search that was finished."""
    startup_trials: NonNegative = 10
    """So many are drawn at random before those that went well are heeded (TPE)."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Of what is drawn; `seed` is that of the trainings."""
    pruning: bool = True
    """Stop a training whose best validation RankIC so far (smoothed) is below the median of what those that came to
    their end had after as many epochs."""
    pruning_startup_trials: NonNegative = 5
    """Finished trainings before the first may be stopped."""
    pruning_warmup_epochs: NonNegative = 1
    """Epochs that every training has."""

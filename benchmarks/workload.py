"""A training under given overrides, stepped by hand."""

from collections.abc import Sequence

from atft_gat_fan.config.load import load_config
from atft_gat_fan.runs.assembly import assemble
from atft_gat_fan.runs.process import prepare_process
from atft_gat_fan.runs.stepping import Stepping


class Training(Stepping):
    """The batches and optimizer steps of a training under `overrides` (Hydra's grammar).

    No number of steps is planned, so it is compiled where `compile=true` says so, and not by `auto`.
    """

    def __init__(self, overrides: Sequence[str]) -> None:
        config = load_config(overrides)
        prepare_process(config.run.num_threads)
        super().__init__(assemble(config, lambda stage, share: None), message=print, planned=0)

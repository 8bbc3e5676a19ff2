"""What the training loop is told of a run: the configuration's knobs, and what only its data can say."""

from dataclasses import replace

from atft_gat_fan.runs.assembly import Assembly
from atft_gat_fan.runs.huber_deltas import huber_deltas
from atft_gat_fan.training.settings import TrainSettings


def train_settings(assembly: Assembly) -> TrainSettings:
    """Settings of the assembly's configuration and plan. Raises DataError as `huber_deltas`."""
    settings = TrainSettings.from_config(assembly.config, assembly.plan, huber_deltas(assembly))
    # A checkpoint belongs to its data too: other prices under the same configuration are another run.
    return replace(settings, data=assembly.store.fingerprint[:16], num_stocks=len(assembly.store.codes))

"""Keys of many trainings: where they run, and what each may take there. They change no result."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from atft_gat_fan.config.section import NonNegative, NonNegativeFloat, Positive, PositiveFloat, Section


class TrialsConfig(Section):
    """Where the trainings of `atft validate`, `walkforward`, `train -m` and `search` run, each in a process of its own:
    on this machine, or on the nodes of a Ray cluster that share its folders."""

    executor: Literal["local", "ray"] = "local"
    """`ray` needs the extra of that name."""
    workers: Annotated[Positive, Field(le=1024)] = 1
    """Trainings of `train -m` and `search` at once, at most, each with `run.num_threads` threads (by default they share
    the cores; on Ray, as many as `num_cpus`)."""
    max_retries: Annotated[NonNegative, Field(le=100)] = 2
    """Times that a training is started again, from its checkpoint, after its process was killed or its node lost."""
    address: str | None = None
    """Ray: of the cluster, as `10.0.0.1:6379`; by default the one that runs on this machine, else one is started here
    for as long as the command takes."""
    num_cpus: PositiveFloat = 1.0
    """Ray: cores that a training reserves of its node."""
    num_gpus: NonNegativeFloat = 0.0
    """Ray: GPUs that a training reserves, or a share of one; it sees no others."""
    memory: PositiveFloat | None = None
    """Ray: memory in GiB that a training reserves; by default none."""

    @field_validator("num_cpus", "num_gpus")
    @classmethod
    def _whole_above_one(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError(f"expected a share below 1 or a whole number, as Ray counts, got {value:g}")
        return value

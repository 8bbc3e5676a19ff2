"""Keys of one training on several processes, which `torchrun` starts."""

from typing import Annotated, Literal

from pydantic import Field

from atft_gat_fan.config.section import Section


class DistributedConfig(Section):
    """One training on the processes that torchrun started, the days of each optimizer step divided over them."""

    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """`auto`: on as many processes as torchrun started, alone without it; `ddp`: the same, but alone is an error. Each
    process has all weights. `fsdp`: as `ddp`, but weights, gradients, optimizer and their average are divided over the
    processes between steps."""
    timeout: Annotated[int, Field(ge=1, le=86_400)] = 600
    """Seconds that a process waits for a sign of the others before it ends; longer than any single step or save."""

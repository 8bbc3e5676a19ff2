"""How much of a batch the network computes at a time."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Chunks:
    """Smaller pieces need less memory and more time; the results are the same to rounding, dropout included.

    `stocks` are encoded at a time, up to the graph attention, where all of them meet (None: all at once); each piece is
    computed again in the backward pass, for otherwise nothing would be saved. `by_day` does the same to each day of a
    piece, as `gradient_checkpointing` does. `queries` are the query stocks of the graph attention at a time (None: as
    the specification has it).
    """

    stocks: int | None = None
    by_day: bool = False
    queries: int | None = None

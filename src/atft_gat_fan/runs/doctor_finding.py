"""What a check of this machine comes to."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One line: `problem` keeps the main job from running, `warning` makes it slower, poorer or another.

    `mend` says what to do about it; an optional part that is missing is ok, and `mend` says how to get it.
    """

    name: str
    status: Status
    found: str
    mend: str = ""

"""What a user can get wrong, each with the process exit code it ends in.

Every message says what was expected, what was found, where, and how to mend it.
The command line prints the message alone; `--debug` shows the traceback.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class AtftError(Exception):
    """Base of every error a user can cause; `exit_code` is what the process returns."""

    exit_code: int = 1


class GateError(AtftError):
    """A requested gate (`--gate`, `--fail-on`) did not hold."""

    exit_code = 3


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a source, located as precisely as is known."""

    what: str
    """Expected and found, in one sentence."""
    where: str = ""
    """File, row group, column, date, code: as much as is known."""
    mend: str = ""
    """What the user can do about it."""

    def __str__(self) -> str:
        where = f" [{self.where}]" if self.where else ""
        mend = f" -> {self.mend}" if self.mend else ""
        return f"{self.what}{where}{mend}"


class DataError(AtftError):
    """A panel or a store is not usable. Carries every problem found, not only the first."""

    exit_code = 65

    def __init__(self, problems: str | Problem | Sequence[Problem], source: str = "") -> None:
        if isinstance(problems, str):
            problems = Problem(problems)
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        self.source = source
        super().__init__(self._message())

    def _message(self) -> str:
        head = f"{self.source}: " if self.source else ""
        if len(self.problems) == 1:
            return f"{head}{self.problems[0]}"
        lines = "\n".join(f"  {i}. {problem}" for i, problem in enumerate(self.problems, 1))
        return f"{head}{len(self.problems)} problems\n{lines}"


class MemoryLimitError(AtftError):
    """Work that does not fit in memory."""

    exit_code = 69


class NonFiniteError(AtftError):
    """Loss or gradients stayed NaN or infinite."""

    exit_code = 70


class StorageError(AtftError):
    """A file or folder could not be read, written, locked or trusted."""

    exit_code = 74


class ConfigError(AtftError):
    """A configuration that cannot be used: unknown key, wrong type, values that contradict."""

    exit_code = 78


class InterruptedRunError(AtftError):
    """The run was told to stop by a signal, and saved its state before it did."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # 130 SIGINT, 143 SIGTERM, 75 SIGUSR1


class RankError(AtftError):
    """Another process of a distributed training failed or was lost: its exit code, as far as it is known, is that of
    all."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class TrialError(AtftError):
    """A training in a process of its own failed: its exit code is that of the whole."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code

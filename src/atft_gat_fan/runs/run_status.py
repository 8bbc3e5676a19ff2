"""Whether a folder holds a finished run, read without taking hold of it."""

from pathlib import Path

from atft_gat_fan.runs.run_files import MOST_BYTES
from atft_gat_fan.training.run_folder import STATE, read_state
from atft_gat_fan.untrusted import parse_json, read_plain


def finished_run(folder: Path) -> Path | None:
    """The folder itself where it holds a finished run. Raises StorageError where its state is damaged."""
    state = read_state(folder)
    return folder if state is not None and state.status == "finished" else None


def unfinished(folder: Path) -> str:
    """What a folder holds instead of a finished run; empty: it holds one."""
    try:
        state = parse_json(read_plain(folder / STATE, MOST_BYTES))
    except FileNotFoundError:
        return "no run"
    except (OSError, ValueError) as error:
        return f"a run whose {STATE} cannot be read ({error})"
    status = state.get("status") if isinstance(state, dict) else None
    if status == "finished":
        return ""
    if status == "running":
        return "a run that is going on, or was killed"
    return f"a run that {'was' if status == 'interrupted' else 'has'} {status}" if status else "a damaged run"

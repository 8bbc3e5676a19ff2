"""What is installed and what this machine can do, found out by trying it: nothing is trained, and nothing is left."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from atft_gat_fan.config.load import load_config
from atft_gat_fan.config.schema import Config
from atft_gat_fan.errors import AtftError
from atft_gat_fan.runs import doctor_machine as machine
from atft_gat_fan.runs import doctor_software as software
from atft_gat_fan.runs.doctor_finding import Finding, Status

Check = Callable[[], Finding | Iterable[Finding]]


@dataclass(frozen=True)
class Examination:
    """All findings, in the order of the checks."""

    findings: tuple[Finding, ...]

    @property
    def status(self) -> Status:
        """The worst of all."""
        statuses = {finding.status for finding in self.findings}
        return "problem" if "problem" in statuses else "warning" if "warning" in statuses else "ok"

    @property
    def problems(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.status == "problem")

    def to_json(self) -> dict[str, Any]:
        return {"status": self.status, "checks": [asdict(finding) for finding in self.findings]}


def examine(arguments: Sequence[str] = ()) -> Examination:
    """Check what `atft train ARGUMENTS` would need of this machine. Raises nothing: what cannot be checked is said."""
    configured, config = _configuration(arguments)
    findings = [configured]
    for name, check in _checks(config):
        findings += _found(name, check)
    return Examination(tuple(findings))


def _configuration(arguments: Sequence[str]) -> tuple[Finding, Config]:
    """The configuration in use, or the defaults where it cannot be used."""
    try:
        config = load_config(arguments)
    except AtftError as error:
        return Finding(
            "configuration", "problem", str(error), "correct it; the other checks take the defaults"
        ), Config()
    return Finding("configuration", "ok", f"of {' '.join(arguments) or 'configs/atft/config.yaml'}"), config


def _checks(config: Config) -> Iterator[tuple[str, Check]]:
    trial = machine.begin_compiling()
    yield "Python", software.python
    yield "packages", software.packages
    yield "versions", software.versions
    yield "CPU", machine.torch_cpu
    yield "GPU", machine.devices
    yield "LightGBM", software.lightgbm
    yield "sample data", software.sample_data
    yield "memory", machine.memory
    folders = list(_folders(config))
    temporary = machine.temporary_folder()
    if isinstance(temporary, Finding):
        yield temporary.name, lambda: temporary
    else:
        folders.append(("temporary", temporary, "TMPDIR=DIR"))
    for name, folder, key in folders:
        yield f"disk, {name}", partial(machine.disk, f"disk, {name}", folder, key)
        yield f"files, {name}", partial(machine.file_system, f"files, {name}", folder, key)
    yield "clock", machine.clock
    yield "torch.compile", partial(machine.compiler, trial)
    wanted = {"wandb"} if config.improvements.enable_wandb else set()
    yield "optional parts", partial(software.optional_parts, wanted=frozenset(wanted))


def _folders(config: Config) -> Iterator[tuple[str, Path, str]]:
    """Where is written: what it is called, the folder, and the key that moves it."""
    yield "stores", Path(config.data.cache), "data.cache=DIR"
    if config.run.dir is None:
        yield "runs", Path(config.run.root), "run.root=DIR"
    else:
        yield "runs", Path(config.run.dir), "run.dir=DIR"


def _found(name: str, check: Check) -> list[Finding]:
    try:
        found = check()
        return [found] if isinstance(found, Finding) else list(found)
    except Exception as error:  # noqa: BLE001 - a broken installation can raise anything, and each of it is an answer
        lines = str(error).splitlines() or [""]
        said = f"{type(error).__name__}: {lines[0]}"
        return [Finding(name, "problem", f"could not be checked: {said}", f"install again: {software.INSTALL}")]

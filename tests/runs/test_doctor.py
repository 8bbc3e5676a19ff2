"""Each check of the doctor is broken once, and says so with what mends it."""

import importlib.metadata
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from atft_gat_fan.models.compiler import compiler_problem
from atft_gat_fan.runs import doctor, doctor_machine, doctor_software
from atft_gat_fan.runs.doctor import examine
from atft_gat_fan.runs.doctor_finding import Finding

ROOT = Path(__file__).parents[2]
GIB = doctor_machine.GIBIBYTE
REQUIREMENTS = ["numpy", "torch", "wandb; extra == 'wandb'", "ruff; extra == 'dev'", "onnx; extra == 'onnx'"]


def installed(**versions: str) -> Callable[[str], str | None]:
    return versions.get


def compiled(code: str, seconds: float = 60) -> Finding:
    """As if trying the compiler were this code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doctor_machine, "COMPILE", code)
        return doctor_machine.compiler(doctor_machine.begin_compiling(), seconds)


@pytest.mark.slow
def test_the_compiler_is_tried_where_it_cannot_hurt() -> None:
    assert doctor_machine.compiler(doctor_machine.begin_compiling()).found == (
        "compiled a small function and ran it" if compiler_problem() is None else f"does not work: {compiler_problem()}"
    )


@pytest.mark.parametrize(
    ("finding", "status", "words"),
    [
        (lambda: doctor_software.python((3, 10, 4)), "problem", "install a 64-bit Python 3.11"),
        (lambda: doctor_software.python((3, 12, 0), wide=False), "problem", "32 bits"),
        (lambda: doctor_software.python((3, 12, 0)), "ok", "3.12.0"),
        (lambda: doctor_software.packages(REQUIREMENTS, installed(numpy="1")), "problem", "not installed: torch"),
        (lambda: doctor_software.packages([], installed()), "warning", "pip install -e ."),
        (lambda: doctor_software.packages(REQUIREMENTS, installed(numpy="1", torch="2")), "ok", "the 2 it needs"),
        (
            lambda: doctor_software.versions({"torch": "2.13.0", "numpy": "2.4"}, installed(torch="2.9+cpu")),
            "warning",
            "torch 2.9+cpu (tested with 2.13.0)",
        ),
        (lambda: doctor_software.versions({"torch": "2.13.0"}, installed(torch="2.13.0+cpu")), "ok", "1 pins"),
        (lambda: doctor_software.versions({}, installed()), "warning", "not at hand"),
        (lambda: doctor_machine.torch_cpu(8, "AVX2", 2.0), "warning", "run.num_threads=2"),
        (lambda: doctor_machine.torch_cpu(1, "AVX2", 8.0), "warning", "run.num_threads=8"),
        (lambda: doctor_machine.torch_cpu(2, "DEFAULT", 2.0), "warning", "without AVX2"),
        (lambda: doctor_machine.torch_cpu(2, "AVX512", 2.0), "ok", "2 threads on 2 usable cores"),
        (lambda: compiled("print('no g++')"), "warning", "does not work: no g++"),
        (lambda: compiled("import os; os.abort()"), "warning", "exit code -6: nothing said"),
        (lambda: compiled("raise ImportError('libtorch')"), "warning", "exit code 1: ImportError: libtorch"),
        (lambda: compiled("import time; time.sleep(60)", 0.1), "warning", "took more than 0.1 s"),
        (lambda: compiled("print('')", 60), "ok", "ran it"),
        (lambda: doctor_machine.memory(GIB // 2), "problem", "online_normalization"),
        (lambda: doctor_machine.memory(3 * GIB // 2), "warning", "1.5 GiB"),
        (lambda: doctor_machine.memory(8 * GIB), "ok", "8.0 GiB"),
        (lambda: doctor_machine.disk("disk", Path("x"), "run.root=DIR", GIB // 8), "problem", "run.root=DIR"),
        (lambda: doctor_machine.disk("disk", Path("x"), "run.root=DIR", GIB), "warning", "run.root=DIR"),
        (lambda: doctor_machine.disk("disk", Path("x"), "run.root=DIR", 9 * GIB), "ok", "9.0 GiB free in x"),
        (lambda: doctor_machine.clock(datetime(1970, 1, 1, tzinfo=UTC)), "warning", "before this code was written"),
    ],
)
def test_a_check_says_what_is_wrong_and_how_to_mend_it(finding: Callable[[], Finding], status: str, words: str) -> None:
    found = finding()
    assert found.status == status
    assert words in f"{found.found} -> {found.mend}"
    assert (found.mend != "") == (status != "ok")


def test_optional_parts_are_told_apart_from_what_developers_need() -> None:
    found = list(doctor_software.optional_parts(REQUIREMENTS, installed(wandb="0.3")))
    assert [(each.status, each.found) for each in found] == [
        ("ok", "wandb 0.3"),
        ("ok", "optional, not installed (onnx)"),
    ]
    assert [each.mend for each in found] == ["", "pip install 'atft-gat-fan[onnx]'"]
    (asked,) = doctor_software.optional_parts(REQUIREMENTS[:3], installed(), frozenset({"wandb"}))
    assert (asked.status, asked.found) == ("warning", "asked for, not installed (wandb)")


def test_every_optional_part_has_words_for_what_it_is_for() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert declared.keys() - {"dev"} == doctor_software.PURPOSES.keys()


def test_pins_are_those_of_the_file_and_travel_with_the_package(tmp_path: Path) -> None:
    pins = doctor_software.read_pins()
    assert pins["torch"] == "2.13.0"
    assert doctor_software.read_pins([tmp_path]) == {}
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"]["requirements.txt"] == "atft_gat_fan/requirements.txt"


def test_a_distribution_that_is_not_installed_has_no_requirements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_software, "DISTRIBUTION", "no-such-distribution")
    assert doctor_software.requirements_of_the_package() == []
    assert doctor_software.installed_version("no-such-distribution") is None
    assert doctor_software.installed_version("numpy") == importlib.metadata.version("numpy")


def test_lightgbm_trains_or_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor_software.lightgbm().status == "ok"
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    broken = doctor_software.lightgbm()
    assert (broken.status, "libgomp1" in broken.mend) == ("warning", True)


def test_sample_data_that_are_missing_keep_the_demo_away(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor_software.sample_data().status == "ok"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert doctor_software.sample_data().status == "problem"


@pytest.mark.parametrize(
    ("breaking", "step"),
    [
        ("tempfile.TemporaryDirectory", "make a folder"),
        ("os.fsync", "write, fsync and rename a file"),
        ("fcntl.flock", "lock a file"),
        ("mmap.mmap", "map a file into memory"),
    ],
)
def test_a_file_system_that_cannot_is_named_with_the_key_to_leave_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, breaking: str, step: str
) -> None:
    assert doctor_machine.file_system("files", tmp_path, "data.cache=DIR").status == "ok"

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(breaking, refuse)
    broken = doctor_machine.file_system("files", tmp_path, "data.cache=DIR")
    assert broken.status == "problem"
    assert broken.found == f"cannot {step} in {tmp_path}: Operation not supported"
    assert "data.cache=DIR" in broken.mend
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_yet_is_judged_by_where_it_will_be(tmp_path: Path) -> None:
    finding = doctor_machine.file_system("files", tmp_path / "a" / "b", "run.root=DIR")
    assert (finding.status, list(tmp_path.iterdir())) == ("ok", [])
    (tmp_path / "file").write_bytes(b"")
    assert doctor_machine.existing(tmp_path / "file" / "x") == tmp_path


def test_no_temporary_folder_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    found = doctor_machine.temporary_folder()
    assert isinstance(found, Finding)
    assert (found.status, "TMPDIR" in found.mend) == ("problem", True)


def test_a_container_is_asked_before_the_machine(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    8388608 kB\n")
    cores = doctor_machine.usable_cores(tmp_path)
    assert cores >= 1
    assert doctor_machine.available_memory(tmp_path / "meminfo", tmp_path) == 8 * GIB
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text(f"{2 * GIB}\n")
    (tmp_path / "memory.current").write_text(f"{GIB}\n")
    assert doctor_machine.usable_cores(tmp_path) == 0.5
    assert doctor_machine.available_memory(tmp_path / "meminfo", tmp_path) == GIB
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert doctor_machine.usable_cores(tmp_path) == cores
    assert doctor_machine.available_memory(tmp_path / "meminfo", tmp_path) == 8 * GIB
    assert doctor_machine.available_memory(tmp_path / "none", tmp_path) is None
    assert doctor_machine.memory() != doctor_machine.memory(GIB // 2)


def test_zones_of_exchanges_must_be_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor_machine.clock().status == "ok"
    monkeypatch.setattr(doctor_machine, "ZONES", ("Nowhere/City",))
    assert doctor_machine.clock().status == "problem"


def test_a_cuda_device_that_does_not_compute_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """`run.device: auto` would take it."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("no kernel image is available\nmore")

    monkeypatch.setattr(torch, "ones", refuse)
    assert list(doctor_machine.devices()) == [
        Finding("cuda:0", "problem", "does not compute: no kernel image is available", "run.device=cpu")
    ]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the compiler, which takes seconds and has its own test."""
    monkeypatch.setattr(doctor_machine, "COMPILE", "")


@pytest.mark.usefixtures("quick")
def test_it_looks_at_the_folders_of_the_run_that_is_meant(tmp_path: Path) -> None:
    arguments = [f"data.cache={tmp_path / 'cache'}", f"run.dir={tmp_path / 'run'}"]
    found = {finding.name: finding for finding in examine(arguments).findings}
    assert str(tmp_path / "cache") in found["disk, stores"].found
    assert str(tmp_path / "run") in found["disk, runs"].found
    assert found["configuration"].status == "ok"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_a_wrong_configuration_is_a_finding_and_the_rest_is_checked() -> None:
    examination = examine(["train.max_epoch=2"])
    assert examination.status == "problem"
    assert "did you mean train.max_epochs" in examination.findings[0].found
    assert len(examination.findings) > 10


@pytest.mark.usefixtures("quick")
def test_a_check_that_breaks_is_a_problem_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Finding:
        raise SystemError("libtorch.so: undefined symbol\n…")

    monkeypatch.setattr(doctor_machine, "torch_cpu", broken)
    (problem,) = examine().problems
    assert (problem.name, problem.found) == (
        "CPU",
        "could not be checked: SystemError: libtorch.so: undefined symbol",
    )


@pytest.mark.usefixtures("quick")
def test_the_worst_finding_is_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: type("Usage", (), {"free": GIB})())
    examination = examine()
    assert examination.status == "warning"
    assert examination.to_json()["status"] == "warning"
    assert doctor.Examination(()).status == "ok"

"""The doctor as a command: what it found on stdout, a problem as exit code 1."""

import json

import pytest
from typer.testing import CliRunner

from atft_gat_fan.cli.main import app
from atft_gat_fan.runs import doctor
from atft_gat_fan.runs.doctor_finding import Finding

FINE, POOR, WRONG = (
    Finding("Python", "ok", "3.11"),
    Finding("LightGBM", "warning", "does not load", "apt-get install libgomp1"),
    Finding("disk", "problem", "0.0 GiB free in [runs]", "free space"),
)


def examined(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    monkeypatch.setattr(doctor, "examine", lambda arguments: doctor.Examination(findings))


def test_a_problem_exits_with_1_after_all_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    examined(monkeypatch, FINE, POOR, WRONG)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "1 problem: disk" in result.stderr
    for words in ("3.11", "-> apt-get install libgomp1", "0.0 GiB free in [runs]", "PROBLEM"):
        assert words in result.stdout


def test_warnings_are_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    examined(monkeypatch, FINE, POOR)
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 0
    facts = json.loads(result.stdout)
    assert (facts["status"], [check["status"] for check in facts["checks"]]) == ("warning", ["ok", "warning"])

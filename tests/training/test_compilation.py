import pytest

from atft_gat_fan.errors import ConfigError
from atft_gat_fan.training import compilation
from atft_gat_fan.training.compilation import WORTH_COMPILING, decide_compile

LONG = WORTH_COMPILING // (4 * 12)
"""Steps of 4 days and 12 stocks."""


@pytest.fixture
def decide(make_settings, monkeypatch):
    """Decide with a compiler that has `problem`; an unneeded look for one fails the test."""

    def decision(setting, steps, recorded=None, problem=None, looks=True, **changes):
        told = []
        monkeypatch.setattr(
            compilation, "compiler_problem", lambda: problem if looks else pytest.fail("looked for a compiler")
        )
        settings = make_settings(compile=setting, num_stocks=12, **changes)
        return decide_compile(settings, steps, recorded=recorded, message=told.append), told

    return decision


def test_auto_compiles_from_a_fixed_number_of_planned_samples_on(decide):
    assert decide("auto", LONG + 1) == (True, [])
    assert decide("auto", LONG - 1, looks=False) == (False, [])
    assert decide("auto", LONG // 2 + 1, accumulate=2) == (True, [])


def test_auto_without_a_compiler_says_so_once_and_goes_on(decide):
    compiled, told = decide("auto", LONG + 1, problem="no g++")
    assert not compiled
    assert len(told) == 1
    assert "no g++" in told[0]


def test_auto_leaves_a_gpu_alone(decide):
    assert decide("auto", LONG + 1, device="cuda", looks=False) == (False, [])


def test_true_compiles_whatever_the_length_and_needs_a_compiler(decide):
    assert decide(True, 1) == (True, [])
    with pytest.raises(ConfigError, match=r"compile=true.*no g\+\+.*install"):
        decide(True, 1, problem="no g++")


def test_false_does_not_even_look(decide):
    assert decide(False, LONG + 1, looks=False) == (False, [])


@pytest.mark.parametrize("setting", ["auto", True, False])
def test_what_a_run_was_begun_with_is_never_decided_again(decide, setting):
    assert decide(setting, 1, recorded=True) == (True, [])
    assert decide(setting, LONG + 1, recorded=False, looks=False) == (False, [])


def test_a_compiled_run_cannot_go_on_without_a_compiler(decide):
    with pytest.raises(ConfigError, match=r"begun with torch\.compile.*no g\+\+.*run\.fresh=true"):
        decide("auto", LONG + 1, recorded=True, problem="no g++")

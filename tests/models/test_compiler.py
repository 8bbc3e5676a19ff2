from collections.abc import Iterator

import pytest
import torch._inductor.config

from atft_gat_fan.models.compiler import ROOM, compiler_problem


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    compiler_problem.cache_clear()
    yield
    compiler_problem.cache_clear()


def test_a_missing_compiler_is_the_problem() -> None:
    with torch._inductor.config.patch({"cpp.cxx": (None, "/nonexistent/g++")}):
        assert "compiler" in str(compiler_problem())


def test_a_cache_folder_that_cannot_be_written_is_the_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/proc/nowhere")
    assert "/proc/nowhere" in str(compiler_problem())


def test_a_full_disk_is_the_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int, start: int, size: int) -> None:
        assert size == ROOM
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    assert "No space left" in str(compiler_problem())


@pytest.mark.slow
def test_this_machine_can_compile() -> None:
    """It has g++, as CI has; without one the tests of the compiled network could not pass."""
    assert compiler_problem() is None

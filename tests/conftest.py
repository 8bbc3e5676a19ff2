"""Of all tests: one thread each, and shape checks, by which beartype enforces the annotations of the tensor rooms."""

import os
from collections.abc import Iterator

import jaxtyping
import pytest
from jaxtyping import install_import_hook

# Before torch is imported. Tests run side by side, and threads of more than one would wait for each other's cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

install_import_hook(
    ["atft_gat_fan.layers", "atft_gat_fan.models", "atft_gat_fan.losses", "atft_gat_fan.metrics"],
    "beartype.beartype",
)


@pytest.fixture
def without_shape_checks() -> Iterator[None]:
    """A compiler cannot read the checks, and takes a traced size, which is no int, for an error; users have none."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)

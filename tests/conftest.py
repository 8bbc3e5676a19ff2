"""Shape checks in the tests: beartype enforces the jaxtyping annotations of the tensor rooms."""

import os

from jaxtyping import install_import_hook

# Before torch is imported. Tests run side by side, and threads of more than one would wait for each other's cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

install_import_hook(
    ["atft_gat_fan.layers", "atft_gat_fan.models", "atft_gat_fan.losses", "atft_gat_fan.metrics"],
    "beartype.beartype",
)

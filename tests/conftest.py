"""Shape checks in the tests: beartype enforces the jaxtyping annotations of the tensor rooms."""

from jaxtyping import install_import_hook

install_import_hook(
    ["atft_gat_fan.layers", "atft_gat_fan.models", "atft_gat_fan.losses", "atft_gat_fan.metrics"],
    "beartype.beartype",
)

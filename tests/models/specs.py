"""The network that tests of the network are about: small, with every part."""

from atft_gat_fan.config.plan import ModelSpec
from atft_gat_fan.types import RandomKey

DAYS, WINDOW, FEATURES, COVARIATES = 4, 6, 5, 3
SPAN = DAYS + WINDOW - 1
SPEC = ModelSpec(
    num_features=FEATURES,
    horizons=(1, 5),
    window=WINDOW,
    num_categories=3,
    num_covariates=COVARIATES,
    hidden_size=16,
    variable_size=4,
    dropout=0.2,
)
KEY = RandomKey(seed=1, step=2)

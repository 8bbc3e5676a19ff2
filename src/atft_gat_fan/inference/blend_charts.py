"""The figures of `explain.html` about LightGBM's part of a blend."""

import numpy as np

from atft_gat_fan.inference.explain_charts import TOP_VARIABLES
from atft_gat_fan.inference.explanation_files import Explained
from atft_gat_fan.reporting import figures
from atft_gat_fan.reporting.numbers import compact, fixed
from atft_gat_fan.reporting.page import Chart


def blend_charts(explained: Explained) -> list[Chart]:
    """The network's weights and LightGBM's gains of the same variables, largest gain first; none without a blend."""
    blend = explained.blend
    if blend is None:
        return []
    gain, weights = blend.gain.mean(axis=1), explained.over_time.variable_weights.mean.mean(axis=0)
    order = np.argsort(-gain, kind="stable")[:TOP_VARIABLES]
    names = [explained.names.features[place] for place in order]
    even = 1 / len(gain)
    told = ", ".join(f"{horizon} {fixed(weight, 2)}" for horizon, weight in blend.weight_by_horizon.items())
    return [
        Chart(
            "What LightGBM splits on",
            f"Share of each variable in what all splits gained on the training days, mean over horizons; dashed: "
            f"{compact(even)}, an even share. The network's weight in the blend is {told}; LightGBM has the rest.",
            figures.horizontal_bars(
                names, gain[order], label="LightGBM's gain by variable", reference=even, x_label="share of the gain"
            ),
            wide=False,
        ),
        Chart(
            "The network's weights of the same variables",
            "Selection weights, mean over stocks and days. A gain and a weight are different things: compare the order "
            "and not the numbers.",
            figures.horizontal_bars(
                names,
                weights[order],
                label="Selection weights of LightGBM's variables",
                reference=even,
                x_label="selection weight",
            ),
            wide=False,
        ),
    ]

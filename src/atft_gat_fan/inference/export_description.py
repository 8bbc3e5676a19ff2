"""What another program must know to use an exported model: its inputs, its outputs, and what the numbers mean."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

from atft_gat_fan.data.calendar import CALENDAR_COVARIATES
from atft_gat_fan.inference.blend import Blend
from atft_gat_fan.inference.bundle import Bundle
from atft_gat_fan.types import NUM_EDGE_FEATURES

FORMAT = 1

Format = Literal["onnx", "torch"]
SUFFIXES: Mapping[Format, str] = {"onnx": ".onnx", "torch": ".pt2"}


def describe(bundle: Bundle, form: Format) -> dict[str, Any]:
    """What a program must know to use the file: inputs, outputs, and what the numbers mean."""
    spec = bundle.spec
    without = {} if bundle.blend is None else {"left_out": left_out(bundle.blend)}
    return {
        "format": FORMAT,
        "file": form,
        "model": bundle.fingerprint,
        "inputs": input_descriptions(bundle),
        "outputs": _output_descriptions(bundle),
        "horizons": list(spec.horizons),
        "features": {"names": list(bundle.normalizer.feature_names), "made_by": bundle.data.features},
        "static_categories": list(bundle.static_categories),
        "calendar": {"names": list(CALENDAR_COVARIATES), "exchange": bundle.data.exchange},
        "graph": bundle.graph.model_dump(mode="json") if spec.gat_heads else None,
        "training": bundle.training,
        "spec": asdict(spec),
        **without,
    }


def left_out(blend: Blend) -> dict[str, Any]:
    """What the model is made of beside the network, which is all that is exported."""
    return {
        "why": "the file holds the network alone; LightGBM's trees are in the model's folder (lightgbm_*.txt), and its "
        "scores are network_weight times the network's rank within the day (0 to 1, ties averaged) plus the rest times "
        "LightGBM's",
        "network_weight": blend.weight_by_horizon,
    }


def input_descriptions(bundle: Bundle) -> dict[str, Any]:
    """Of each input: shape (names are sizes that vary), type, order of its last axis, and what a missing value is."""
    spec, names = bundle.spec, list(bundle.normalizer.feature_names)
    inputs: dict[str, Any] = {
        "features": _input(
            [spec.window, "stocks", len(names)],
            "float32",
            "feature values as the store has them, not normalised; oldest day first, the predicted day last",
            "NaN: becomes the training mean. Infinite values are not allowed",
            order=names,
        )
    }
    if spec.num_categories:
        inputs["static"] = _input(
            ["stocks"],
            "int64",
            "1 + position of the stock's category in static_categories; 0: unknown",
            "0",
        )
    if spec.num_covariates:
        inputs["calendar"] = _input(
            [spec.window, spec.num_covariates],
            "float32",
            "known facts of each day of the window, oldest first (atft_gat_fan.data.calendar)",
            "none: every day has them",
            order=list(CALENDAR_COVARIATES),
        )
    if spec.gat_heads:
        shape: list[int | str] = ["stocks", bundle.graph.num_neighbours]
        inputs |= {
            "neighbour_index": _input(
                shape,
                "int64",
                "position of each neighbour on the stocks axis; slot 0 is the stock itself",
                "the stock's own position, with the mask false",
            ),
            "neighbour_mask": _input(shape, "bool", "whether the slot holds a neighbour; true in slot 0", "false"),
            "neighbour_edge": _input(
                [*shape, NUM_EDGE_FEATURES],
                "float32",
                "shrunk correlation of past returns; 1 where both are of one known category, else 0; 1 and 1 in slot 0",
                "0 and 0",
                order=["correlation", "same_category"],
            ),
        }
    return inputs


def _input(
    shape: list[int | str], dtype: str, meaning: str, missing: str, *, order: list[str] | None = None
) -> dict[str, Any]:
    described: dict[str, Any] = {"shape": shape, "dtype": dtype, "meaning": meaning, "missing": missing}
    return described if order is None else {**described, "order": order}


def _output_descriptions(bundle: Bundle) -> dict[str, Any]:
    spec = bundle.spec
    names = [f"horizon_{horizon}d" for horizon in spec.horizons]
    meaning = "score of each horizon: the higher, the better the expected rank; unit of the training labels"
    outputs: dict[str, Any] = {
        "scores": {"shape": ["stocks", len(names)], "dtype": "float32", "meaning": meaning, "order": names}
    }
    if spec.quantiles:
        outputs["quantiles"] = {
            "shape": ["stocks", len(names), len(spec.quantiles)],
            "dtype": "float32",
            "meaning": "quantiles around the score, which is the median; they do not cross",
            "order": list(spec.quantiles),
        }
    return outputs

"""LightGBM's text of a booster, checked before LightGBM parses it.

Its parser is C++ that trusts offsets, lengths and child positions: a tree whose children lead in a circle never ends,
and one that leads outside of its arrays reads other memory. So every number that is used as a position is looked at
here, and nothing else than what a regression on numeric features writes is let through.
"""

import math
import re

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

END = "end of trees\n"
"""Last line of what we keep; the parameters that LightGBM writes behind it decide no score."""
MOST_LEAVES = 1 << 17
HEADER = (
    "version", "num_class", "num_tree_per_iteration", "label_index", "max_feature_idx", "objective", "feature_names",
    "feature_infos", "tree_sizes",
)  # fmt: skip
OF_SPLITS = ("split_feature", "split_gain", "threshold", "decision_type", "left_child", "right_child")
OF_INTERNALS = ("internal_value", "internal_weight", "internal_count")
OF_LEAVES = ("leaf_value", "leaf_weight", "leaf_count")
TREE = ("num_leaves", "num_cat", *OF_SPLITS, *OF_LEAVES, *OF_INTERNALS, "is_linear", "shrinkage")
CATEGORICAL = 1
"""Bit of a decision type."""
MOST_DECISION = 15

_BEGIN = re.compile(r"^(?=Tree=)", re.MULTILINE)
_INTEGER = re.compile(r"-?\d{1,18}")
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[-+]?\d+)?")


def check_booster_text(text: str, num_features: int) -> Float[NDArray[np.float64], " features"]:
    """The gain of each feature, summed over all splits, of a well-formed regression on `num_features` numbers.

    Raises ValueError for anything else, in words that follow "found".
    """
    if not text.isascii() or not text.endswith(END):
        raise ValueError("a text without the end of its trees")
    header, *trees = _BEGIN.split(text.removesuffix(END))
    head = _pairs(header.removeprefix("tree\n"), HEADER)
    expected = {"version": "v4", "num_class": "1", "num_tree_per_iteration": "1", "objective": "regression"}
    for key, value in {**expected, "label_index": "0", "max_feature_idx": str(num_features - 1)}.items():
        if head[key] != value:
            raise ValueError(f"{key}={head[key][:80]} where {value} is expected")
    for key in ("feature_names", "feature_infos"):
        if len(head[key].split(" ")) != num_features:
            raise ValueError(f"{key} that are not {num_features}")
    # LightGBM jumps from tree to tree by these.
    if not trees or _integers(head, "tree_sizes") != [len(tree) for tree in trees]:
        raise ValueError("tree_sizes that are not those of the trees")
    gain = np.zeros(num_features)
    for number, tree in enumerate(trees):
        name = f"Tree={number}\n"
        try:
            if not tree.startswith(name):
                raise ValueError("another number")
            _add_gains(_pairs(tree.removeprefix(name), TREE), gain)
        except ValueError as error:
            raise ValueError(f"tree {number} with {error}") from None
    return gain


def _pairs(text: str, keys: tuple[str, ...]) -> dict[str, str]:
    """Lines `key=value` of just these keys in this order."""
    lines = [line.partition("=") for line in text.split("\n") if line]
    if [key for key, _, _ in lines] != list(keys):
        raise ValueError(f"other lines than {', '.join(keys)}")
    return {key: value for key, _, value in lines}


def _add_gains(tree: dict[str, str], gain: Float[NDArray[np.float64], " features"]) -> None:
    (num_leaves,) = _integers(tree, "num_leaves", count=1)
    if not 1 <= num_leaves <= MOST_LEAVES:
        raise ValueError(f"num_leaves={num_leaves}")
    if (tree["num_cat"], tree["is_linear"]) != ("0", "0"):
        raise ValueError("categories or linear leaves")
    _numbers(tree, "shrinkage", count=1)
    _numbers(tree, "leaf_value", count=num_leaves)
    if num_leaves == 1:  # nothing was split: one value for all, and LightGBM reads no further
        if any(tree[key] for key in (*OF_SPLITS, *OF_INTERNALS)):
            raise ValueError("splits and a single leaf")
        return
    for key in ("leaf_weight", "leaf_count"):
        _numbers(tree, key, count=num_leaves)
    splits = num_leaves - 1
    for key in ("threshold", *OF_INTERNALS):
        _numbers(tree, key, count=splits)
    features = _integers(tree, "split_feature", count=splits)
    if not all(0 <= feature < len(gain) for feature in features):
        raise ValueError(f"split_feature beyond the {len(gain)} features")
    if not all(
        0 <= kind <= MOST_DECISION and not kind & CATEGORICAL for kind in _integers(tree, "decision_type", splits)
    ):
        raise ValueError("decision_type of no numeric split")
    _require_a_tree(_integers(tree, "left_child", splits), _integers(tree, "right_child", splits), num_leaves)
    np.add.at(gain, features, _numbers(tree, "split_gain", count=splits))


def _require_a_tree(left: list[int], right: list[int], num_leaves: int) -> None:
    """Each inner node but the first, and each leaf (-1 - its number), is the child of just one node before it.

    So every way down ends in a leaf.
    """
    for node, children in enumerate(zip(left, right, strict=True)):
        if any(0 <= child <= node for child in children):
            raise ValueError("children that lead back")
    expected = [*range(-num_leaves, 0), *range(1, num_leaves - 1)]
    if sorted([*left, *right]) != expected:
        raise ValueError("children that are no tree")


def _integers(lines: dict[str, str], key: str, count: int | None = None) -> list[int]:
    words = _words(lines, key, count)
    if not all(_INTEGER.fullmatch(word) for word in words):
        raise ValueError(f"{key} that are not whole numbers")
    return [int(word) for word in words]


def _numbers(lines: dict[str, str], key: str, count: int) -> list[float]:
    words = _words(lines, key, count)
    if not all(_NUMBER.fullmatch(word) for word in words):
        raise ValueError(f"{key} that are not numbers")
    values = [float(word) for word in words]
    if not all(math.isfinite(value) for value in values):
        raise ValueError(f"{key} that are not finite")
    return values


def _words(lines: dict[str, str], key: str, count: int | None) -> list[str]:
    words = lines[key].split(" ")
    if count is not None and len(words) != count:
        raise ValueError(f"{len(words)} {key} where {count} are expected")
    return words

"""Which column of a source plays which part: prices, labels, trailing returns, masks, features."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase

import polars as pl

from atft_gat_fan.config.schema import ColumnsConfig, DataConfig
from atft_gat_fan.data.features import set_of
from atft_gat_fan.errors import Problem

PRICES = ("open", "high", "low", "close", "adj_close")
TRAILING_RETURN = "returns_1d"
DATE_TYPES = (pl.Date, pl.Datetime, pl.String)
CODE_TYPES = (pl.String, pl.Categorical, pl.Enum)
ADJUSTED_CLOSES = ("AdjClose", "AdjustmentClose")
OTHER_LABELS = ("target_{h}d", "feat_ret_{h}d")

# What price vendors (J-Quants, Yahoo) put beside open, high, low, close and volume: levels, not features.
VENDOR_COLUMNS = re.compile(
    r"(adj(usted|ustment)?[ _]?(open|high|low|close|volume|factor)|(upper|lower)[ _]?limit|turnover([ _]?value)?"
    r"|dividends?|stock[ _]?splits?|vwap)",
    re.IGNORECASE,
)
# A forward return under another name, taken as a feature, is the classic leak.
LOOKS_FORWARD = re.compile(r"(target|label|future|fwd|forward)([_ ]|$)", re.IGNORECASE)


@dataclass
class Roles:
    """Source column of each part. `problems` and `warnings` say what could not be resolved, and what was decided."""

    date: str | None = None
    code: str | None = None
    static: str | None = None
    prices: dict[str, str] = field(default_factory=dict)
    """By canonical name, `volume` among them; without a close there are none."""
    labels: dict[int, str] = field(default_factory=dict)
    trailing_return: str | None = None
    masks: dict[str, str] = field(default_factory=dict)
    """Masked column -> its mask."""
    features: tuple[str, ...] = ()
    """Empty: features are derived from prices."""
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def has_prices(self) -> bool:
        return "close" in self.prices

    def numeric(self) -> Iterable[str]:
        """Every source column that is read as a number, once."""
        trailing = (self.trailing_return,) if self.trailing_return else ()
        return dict.fromkeys((*self.prices.values(), *self.labels.values(), *trailing, *self.features))


def resolve_roles(
    schema: Mapping[str, pl.DataType], columns: ColumnsConfig, config: DataConfig, *, need_labels: bool = True
) -> Roles:
    """Decide each column's part from names and types alone; no rows are read.

    Without `need_labels` a panel without them is in order: it can be predicted, if not learned from.
    """
    roles = Roles()
    _identify(roles, schema, columns)
    _find_prices(roles, schema, columns, config)
    _find_labels(roles, schema, columns, config, need_labels)
    _find_masks(roles, schema, columns)
    _choose_features(roles, schema, columns, config)
    _check_relative(roles, schema, columns, config)
    _refuse_reserved_names(roles)
    return roles


def _identify(roles: Roles, schema: Mapping[str, pl.DataType], columns: ColumnsConfig) -> None:
    roles.date = _required(roles, schema, columns, "date")
    roles.code = _required(roles, schema, columns, "code")
    if roles.date is not None and not isinstance(schema[roles.date], DATE_TYPES):
        roles.problems.append(
            Problem(
                f"expected dates, timestamps or ISO text (2015-12-31), found {schema[roles.date]}",
                where=f"column {roles.date}",
                mend="write the column as dates",
            )
        )
        roles.date = None
    if roles.code is not None and not (isinstance(schema[roles.code], CODE_TYPES) or schema[roles.code].is_integer()):
        roles.problems.append(
            Problem(
                f"expected text or whole numbers, found {schema[roles.code]}",
                where=f"column {roles.code}",
                mend="write the column as text",
            )
        )
        roles.code = None
    if columns.static is not None:
        roles.static = _optional(roles, schema, columns, "static")


def _find_prices(roles: Roles, schema: Mapping[str, pl.DataType], columns: ColumnsConfig, config: DataConfig) -> None:
    parts = (*PRICES, "volume", *(["vwap"] if "alpha158" in set_of(config.features) else []))
    found = {part: _optional(roles, schema, columns, part) for part in parts}
    if columns.adj_close is None:
        found["adj_close"] = next((name for name in ADJUSTED_CLOSES if name in schema), found["close"])
    found["close"] = found["close"] or found["adj_close"]
    if found["close"] is not None:
        roles.prices = {part: name for part, name in found.items() if name is not None}


def _find_labels(
    roles: Roles, schema: Mapping[str, pl.DataType], columns: ColumnsConfig, config: DataConfig, need_labels: bool
) -> None:
    patterns = dict.fromkeys((columns.label, *OTHER_LABELS))
    for horizon in config.horizons:
        names = (pattern.format(h=horizon) for pattern in patterns)
        if (label := next((name for name in names if name in schema), None)) is not None:
            roles.labels[horizon] = label
    missing = [horizon for horizon in config.horizons if horizon not in roles.labels]
    if missing and need_labels and not roles.has_prices:
        such_as = " or ".join(pattern.format(h=missing[0]) for pattern in patterns)
        found = ", ".join(name for name in schema if _is_label(name, columns)) or "neither"
        roles.problems.append(
            Problem(
                f"expected labels of horizons {_join(missing)} (such as {such_as}) or prices to derive them from, "
                f"found {found}",
                where=f"columns {_short(schema)}",
                mend="change data.horizons, add the columns, or name them in data.columns.label or data.columns.close",
            )
        )
    if roles.labels and roles.has_prices and (derived := sorted(set(config.horizons) - roles.labels.keys())):
        roles.warnings.append(
            f"no label column for horizons {_join(derived)}: derived from {roles.prices['adj_close']}"
        )
    name = columns.trailing_return.format(h=1)
    roles.trailing_return = name if name in schema else None
    if roles.trailing_return is None and not roles.has_prices:
        roles.warnings.append(
            f"neither prices nor {name}: no correlation graph (self-loops only), no reversal or momentum baseline"
        )


def _find_masks(roles: Roles, schema: Mapping[str, pl.DataType], columns: ColumnsConfig) -> None:
    orphans = []
    for mask in schema:
        if (masked := _masked(mask, columns)) is None:
            continue
        if not (schema[mask] == pl.Boolean or schema[mask].is_numeric()):
            roles.problems.append(
                Problem(f"expected a boolean mask, found {schema[mask]}", where=f"column {mask}", mend="write booleans")
            )
        elif masked in schema:
            roles.masks[masked] = mask
        else:
            orphans.append(mask)
    if orphans:
        roles.warnings.append(f"masks of columns that do not exist, ignored: {_short(orphans)}")


def _choose_features(
    roles: Roles, schema: Mapping[str, pl.DataType], columns: ColumnsConfig, config: DataConfig
) -> None:
    parts = {roles.date, roles.code, roles.static, *roles.prices.values()}
    usable = [
        name
        for name in schema
        if schema[name].is_numeric()
        and name not in parts
        and not _is_label(name, columns)
        and _masked(name, columns) is None
    ]
    forward = [name for name in usable if LOOKS_FORWARD.match(name)]
    usable = [name for name in usable if name not in forward]
    if isinstance(config.features, str):
        plain = [
            name for name in usable if not (_fits(name, columns.trailing_return) or VENDOR_COLUMNS.fullmatch(name))
        ]
        roles.features = tuple(plain) if config.features == "auto" else ()
        if not roles.features and not roles.has_prices:
            roles.problems.append(
                Problem(
                    f"expected numeric features, or a close ({columns.close}) to derive them from, found neither",
                    where=f"columns {_short(schema)}",
                    mend="name them in data.features or data.columns.close",
                )
            )
    else:
        roles.features = tuple(_listed(roles, schema, columns, config.features, usable))
    if forward and roles.features and (left := [name for name in forward if name not in roles.features]):
        roles.warnings.append(
            f"look like labels, not taken as features: {_short(left)} (name them in data.features to)"
        )


def _listed(
    roles: Roles,
    schema: Mapping[str, pl.DataType],
    columns: ColumnsConfig,
    patterns: Iterable[str],
    usable: Sequence[str],
) -> dict[str, None]:
    """Columns that `data.features` names exactly or, among the usable ones, by a glob; each once."""
    chosen: dict[str, None] = {}
    for pattern in patterns:
        names = [pattern] if pattern in schema else [name for name in usable if fnmatchcase(name, pattern)]
        if _is_label(pattern, columns):
            found, mend = f"{pattern!r}, a label: the model would be told what it must forecast", "leave it out"
        elif pattern in (roles.date, roles.code):
            found, mend = f"{pattern!r}, which tells rows apart", "leave it out"
        elif names:
            chosen.update(dict.fromkeys(names))
            continue
        else:
            found = f"no numeric column {pattern!r}, nor one that fits it as a glob"
            choice = (
                f"choose from {_short(usable)}" if usable else "the panel has none; data.features=derived makes some"
            )
            mend = _near(pattern, usable) or choice
        roles.problems.append(Problem(f"expected features, found {found}", where="data.features", mend=mend))
    return chosen


def _check_relative(
    roles: Roles, schema: Mapping[str, pl.DataType], columns: ColumnsConfig, config: DataConfig
) -> None:
    if config.relative and roles.features:
        roles.problems.append(
            Problem(
                f"expected derived features, of which {_join(config.relative)} variants can be made, found the panel's "
                f"own: {_short(roles.features)}",
                where="data.relative",
                mend=f"set data.features={set_of(config.features)}, or data.relative=[]",
            )
        )
    if "sector" in config.relative and roles.static is None:
        roles.problems.append(
            Problem(
                f"expected a static category to compare stocks within, found no column {columns.static!r}: "
                f"{_short(schema)}",
                where="data.relative",
                mend="name it in data.columns.static, or leave sector out",
            )
        )


def _refuse_reserved_names(roles: Roles) -> None:
    """A feature must not bear the canonical name of another part: the frame could not hold both."""
    canonical = {**roles.prices, TRAILING_RETURN: roles.trailing_return}
    reserved = {"date", "code", "static", "volume", "dollar_volume", *PRICES, *canonical}
    for name in roles.features:
        if (name in reserved or _fits(name, "target_{h}d")) and canonical.get(name) != name:
            roles.problems.append(
                Problem(
                    f"feature column {name!r} bears a name that has a meaning of its own here",
                    where="data.features",
                    mend=f"rename it, or, if it is what it says, set data.columns.{name}={name}",
                )
            )


def _required(roles: Roles, schema: Mapping[str, pl.DataType], columns: ColumnsConfig, part: str) -> str | None:
    name = str(getattr(columns, part))
    if name in schema:
        return name
    near = _near(name, schema)
    roles.problems.append(
        Problem(
            f"expected a column {name!r} ({part}), found {_short(schema)}",
            mend=f"set data.columns.{part}={near or '…'}",
        )
    )
    return None


def _optional(roles: Roles, schema: Mapping[str, pl.DataType], columns: ColumnsConfig, part: str) -> str | None:
    """The column of a part that may be absent, unless the user has named it."""
    name: str | None = getattr(columns, part)
    default = getattr(ColumnsConfig(), part)
    if name is None or name in schema:
        return name
    return None if name == default else _required(roles, schema, columns, part)


def _is_label(name: str, columns: ColumnsConfig) -> bool:
    return any(_fits(name, pattern) for pattern in (columns.label, *OTHER_LABELS))


def _fits(name: str, pattern: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(re.escape("{h}"), r"\d+"), name) is not None


def _masked(name: str, columns: ColumnsConfig) -> str | None:
    """The column that a mask names, None if it is no mask."""
    before, star, after = columns.validity.partition("*")
    if not star or not (name.startswith(before) and name.endswith(after)) or len(name) <= len(before) + len(after):
        return None
    return name[len(before) : len(name) - len(after)]


def _near(name: str, names: Iterable[str]) -> str:
    names = list(names)
    same = [other for other in names if other.casefold() == name.casefold()]
    return next(iter(same or get_close_matches(name, names, n=1)), "")


def _short(names: Iterable[str], limit: int = 12) -> str:
    names = list(names)
    return ", ".join(names[:limit]) + (f", … ({len(names)} in all)" if len(names) > limit else "")


def _join(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))

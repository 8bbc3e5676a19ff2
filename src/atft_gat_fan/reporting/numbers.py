"""Numbers as our pages write them."""

from collections.abc import Callable

MINUS = "\u2212"
THIN_SPACE = "\u202f"
MEBIBYTE = 2**20


def fixed(value: float | None, digits: int = 4, *, sign: bool = False) -> str:
    """A number with `digits` decimals and a true minus, an en dash where it is unknown."""
    if value is None:
        return "–"
    value = round(value, digits) + 0.0  # no minus before a zero
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", MINUS)


def percent(share: float | None, digits: int = 0, *, sign: bool = False) -> str:
    """A share as `78 %`, or with its sign as a change (`+8 %`, `−15 %`); an en dash where it is unknown."""
    return "–" if share is None else f"{fixed(share * 100, digits, sign=sign)}{THIN_SPACE}%"


def between(low: float | None, high: float | None, form: Callable[[float], str]) -> str:
    """An interval as `low to high`, each written by `form`; an en dash where a bound is unknown."""
    return "–" if low is None or high is None else f"{form(low)} to {form(high)}"


def probability(p: float | None) -> str:
    """A p-value to three decimals, `< 0.001` below them; an en dash where it is unknown."""
    if p is not None and p < 0.001:
        return f"<{THIN_SPACE}0.001"
    return fixed(p, 3)


def compact(value: float) -> str:
    """A number in about three digits, with a true minus: 0.0312, 1.2e−4, 12,000."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace("-", MINUS)
    text = f"{value:.1e}" if abs(value) < 1e-3 else f"{value:.3g}"
    mantissa, _, exponent = text.partition("e")
    if exponent:
        text = f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return text.replace("-", MINUS)

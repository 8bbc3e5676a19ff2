"""Numbers as our pages write them."""

MINUS = "\u2212"
THIN_SPACE = "\u202f"


def fixed(value: float | None, digits: int = 4, *, sign: bool = False) -> str:
    """A number with `digits` decimals and a true minus, an en dash where it is unknown."""
    if value is None:
        return "–"
    value = round(value, digits) + 0.0  # no minus before a zero
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", MINUS)


def percent(share: float | None, digits: int = 0) -> str:
    """A share between 0 and 1 as `78 %`, an en dash where it is unknown."""
    return "–" if share is None else f"{share * 100:.{digits}f}{THIN_SPACE}%"


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

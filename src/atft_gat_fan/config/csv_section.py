"""Keys of a CSV panel: how its text is to be read."""

import codecs
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from atft_gat_fan.config.section import Section


class CsvConfig(Section):
    """How a CSV panel is written; Parquet needs none of it."""

    separator: Annotated[str, Field(min_length=1)] = ","
    """One ASCII character between two fields, or `tab`."""
    encoding: str = "utf-8"
    """Of the text, as Python names it: `cp932` is Windows' Shift-JIS. A byte order mark is read over."""
    decimal: Literal[".", ","] = "."
    """Before the fraction of a number."""
    thousands: Literal[",", ".", " ", "'"] | None = None
    """Between groups of three digits; null: there is none."""
    date_format: str | None = None
    """Of the date column, in strftime's letters: `%d/%m/%Y`; null: ISO, `20151231` and `2015/12/31` are told apart."""
    null_values: tuple[str, ...] = ("NA", "N/A", "NaN", "nan", "null", "-")
    """Missing, as an empty field is; not in dates, codes and the static category, where they are names."""

    @field_validator("separator")
    @classmethod
    def _one_character(cls, value: str) -> str:
        if value == "tab":
            return "\t"
        if len(value) != 1 or not value.isascii() or value.isalnum() or value in '"\n\r':
            raise ValueError(f"expected one ASCII character between fields, or tab, got {value!r}")
        return value

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            info = codecs.lookup(value)
        except LookupError:
            raise ValueError(f"expected an encoding of text, such as utf-8 or cp932, got {value!r}") from None
        if not info._is_text_encoding:
            raise ValueError(f"expected an encoding of text, such as utf-8 or cp932, got {value!r}")
        return info.name

    @field_validator("date_format")
    @classmethod
    def _has_a_day(cls, value: str | None) -> str | None:
        if value is not None and "%" not in value:
            raise ValueError(f"expected letters of strftime, such as %d/%m/%Y, got {value!r}")
        return value

    @model_validator(mode="after")
    def _told_apart(self) -> "CsvConfig":
        if self.thousands == self.decimal:
            raise ValueError(f"expected different signs for decimal and thousands, got {self.decimal!r} for both")
        if self.decimal == self.separator:
            raise ValueError(f"expected another separator than the decimal {self.decimal!r}, such as ';'")
        return self

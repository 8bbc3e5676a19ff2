"""What earlier monitorings found, in one Parquet file that grows by a few rows a day: `history.parquet`.

A long table: `at` (when it was monitored, UTC), `model` (fingerprint), `day` (the day a number is of; null for a number
of the monitoring itself), `metric`, `name`, `value` (float64; null: not measured). A day that is monitored again is
replaced, number by number; each monitoring has its own rows of memory and alarms.

| metric | name | of | |
|---|---|---|---|
| `excess`, `psi` | family | day | largest of the family: statistic over threshold; PSI of the long window |
| `stocks` | | day | scored |
| `rank_correlation_1d`, `coverage`, … | | day | the numbers of `StabilityResult` |
| `rank_ic` | horizon | matured day | realised RankIC |
| `alarms`, `psi_max`, `post_step_min_bytes`, `peak_bytes` | | monitoring | |
"""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from atft_gat_fan.data.durable_files import replace_durably
from atft_gat_fan.errors import StorageError
from atft_gat_fan.monitoring.result import MemoryReading, MonitorResult
from atft_gat_fan.untrusted import open_plain

HISTORY = "history.parquet"
FORMAT = 1
SCHEMA = pl.Schema(
    [
        ("at", pl.Datetime("us", "UTC")),
        ("model", pl.String()),
        ("day", pl.Date()),
        ("metric", pl.String()),
        ("name", pl.String()),
        ("value", pl.Float64()),
    ]
)
MOST_DAYS = 5_000
MOST_RUNS = 5_000
"""The newest of each are kept, of all models together: twenty years of daily use."""
MOST_ROWS = 1_000_000
MOST_TEXT = 1_000
"""Longest name in characters; what a file may hold, so that a small one cannot fill the memory."""

_FORMAT_KEY = b"atft.monitor_history"
_TEXTS = ["model", "metric", "name"]

Row = tuple[str, str, str, float | None]
"""Day (empty: of the monitoring itself), metric, name, value."""


def append_history(folder: Path, result: MonitorResult) -> pl.DataFrame:
    """Put what `result` found into the folder's history, and return all of it: oldest day first, then the runs.

    The same result again changes nothing. Raises StorageError for a history that is damaged or of another format
    (it is never overwritten), and where it cannot be written.
    """
    file = folder / HISTORY
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            history = _merged(read_history(folder), _frame(result))
            replace_durably(file, _parquet(history))
    except OSError as error:
        raise StorageError(f"{file}: cannot write: {error.strerror}; free space or choose another --out") from error
    return history


def read_history(folder: Path) -> pl.DataFrame:
    """The folder's history with the columns of `SCHEMA`; no rows where none was begun. Raises StorageError."""
    file = folder / HISTORY
    try:
        with open(open_plain(file), "rb") as opened:
            return _read(pq.ParquetFile(opened, read_dictionary=_TEXTS, page_checksum_verification=True))
    except FileNotFoundError:
        return SCHEMA.to_frame()
    except (OSError, ValueError, pa.ArrowException, pl.exceptions.PolarsError) as error:
        reason = " ".join(str(error).split())[:300]
        raise StorageError(
            f"{file}: expected the history of earlier monitorings, found {reason}; restore the file, or move it away "
            "to begin a new history"
        ) from error


def daily(
    history: pl.DataFrame, model: str, metric: str, name: str = "", last: int | None = None
) -> tuple[Sequence[date], Sequence[float | None]]:
    """Days, oldest first, and values of one number of one model; of the `last` days where given."""
    chosen = history.filter(
        pl.col("model") == model, pl.col("metric") == metric, pl.col("name") == name, pl.col("day").is_not_null()
    ).sort("day")
    chosen = chosen if last is None else chosen.tail(last)
    return chosen["day"].to_list(), chosen["value"].to_list()


def memory_readings(history: pl.DataFrame, model: str, last: int) -> tuple[MemoryReading, ...]:
    """Of the newest `last` monitorings with this model, oldest first: another model needs other memory."""
    metrics = ["post_step_min_bytes", "peak_bytes"]
    found = history.filter(pl.col("model") == model, pl.col("metric").is_in(metrics), pl.col("day").is_null())
    if found.is_empty():
        return ()
    runs = found.pivot(on="metric", on_columns=metrics, index="at", values="value").drop_nulls().sort("at").tail(last)
    return tuple(
        MemoryReading(at.isoformat(), int(least), int(peak)) for at, least, peak in runs.select("at", *metrics).rows()
    )


def _frame(result: MonitorResult) -> pl.DataFrame:
    # Milliseconds of text and the file's microseconds must not make two runs of one.
    at = datetime.fromisoformat(result.at).astimezone(UTC)
    rows = [
        (at, result.model, date.fromisoformat(day) if day else None, metric, name, value)
        for day, metric, name, value in (*_day_rows(result), *_run_rows(result))
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _day_rows(result: MonitorResult) -> Iterator[Row]:
    for key, family in result.families.items():
        for metric in ("excess", "psi"):
            series = [getattr(shift, metric) for shift in family.shifts]
            for day, values in zip(result.days, zip(*series, strict=True), strict=False):
                yield day, metric, key, max((value for value in values if value is not None), default=None)
    for day, stocks in zip(result.days, result.stocks, strict=True):
        yield day, "stocks", "", float(stocks)
    for number in result.stability:
        for day, value in zip(result.days, number.daily, strict=False):
            yield day, number.name, "", value
    for horizon, found in result.rank_ic.items():
        for day, value in zip(found.days, found.daily, strict=True):
            yield day, "rank_ic", horizon, value


def _run_rows(result: MonitorResult) -> Iterator[Row]:
    yield "", "alarms", "", float(len(result.alarms))
    yield "", "psi_max", "", result.psi
    yield "", "post_step_min_bytes", "", float(result.memory.now.post_step_min_bytes)
    yield "", "peak_bytes", "", float(result.memory.now.peak_bytes)


def _merged(old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """Each day's numbers as they were found last, each monitoring's own beside them; the oldest are let go.

    A number that an earlier monitoring knew is not lost to a later one that could not measure it.
    """
    both = pl.concat([old, new])
    days = (
        both.filter(pl.col("day").is_not_null())
        .sort(pl.col("value").is_not_null(), "at", maintain_order=True)
        .unique(["model", "day", "metric", "name"], keep="last", maintain_order=True)
    )
    runs = both.filter(pl.col("day").is_null()).unique(["model", "at", "metric", "name"], keep="last")
    days = days.filter(pl.col("day").rank("dense", descending=True) <= MOST_DAYS)
    runs = runs.filter(pl.col("at").rank("dense", descending=True) <= MOST_RUNS)
    return pl.concat([days.sort("day", "model", "metric", "name"), runs.sort("at", "model", "metric", "name")])


def _parquet(history: pl.DataFrame) -> bytes:
    table = history.to_arrow(compat_level=pl.CompatLevel.oldest()).replace_schema_metadata(
        {_FORMAT_KEY: str(FORMAT).encode()}
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return bytes(sink.getvalue())


def _read(file: pq.ParquetFile) -> pl.DataFrame:
    """Raises ValueError for what no monitoring has written."""
    form = (file.schema_arrow.metadata or {}).get(_FORMAT_KEY, b"none").decode(errors="replace")
    if form != str(FORMAT):
        raise ValueError(f"format {form:.20} where {FORMAT} is read")
    if not 0 <= file.metadata.num_rows <= MOST_ROWS:
        raise ValueError(f"{file.metadata.num_rows} rows where {MOST_ROWS} are the most")
    table = file.read()
    table.validate(full=True)  # text that is no text, or the number of a word that is not there, would end the process
    texts = [name for name in _TEXTS if name in table.column_names and pa.types.is_dictionary(table[name].type)]
    for name in texts:
        longest = max((len(text.as_py() or "") for part in table[name].chunks for text in part.dictionary), default=0)
        if longest > MOST_TEXT:
            raise ValueError(f"{name}: {longest} characters where {MOST_TEXT} are the most")
    frame = pl.DataFrame(pl.from_arrow(table)).with_columns(pl.col(texts).cast(pl.String))
    if frame.schema != SCHEMA:
        raise ValueError(f"columns {dict(frame.schema)}")
    return frame


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two that write at once would each lose what the other found; the second waits."""
    with (folder / f".{HISTORY}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

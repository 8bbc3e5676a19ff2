"""The facade for Python users: scikit-learn's habits over the very same runs that the tool makes."""

from collections.abc import Mapping, Sequence
from datetime import date as Date  # noqa: N812 - `date` is a parameter
from html import escape
from inspect import signature
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import polars as pl
from rich.console import Console
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from atft_gat_fan.config.names import did_you_mean, known_keys, nearest
from atft_gat_fan.data.sources.frame import FRAMES, is_frame, is_pandas, keep_frame, to_polars
from atft_gat_fan.errors import ConfigError, DataError
from atft_gat_fan.runs.run_files import BUNDLE, CONFIG, METRICS, read_metrics

if TYPE_CHECKING:
    from atft_gat_fan.inference.asked_days import AskedDays
    from atft_gat_fan.inference.bundle import Bundle

NEWEST = "newest"
"""As a date: the last day of the panel."""

# Imported by the methods that need them: torch, and what trains, which a loaded model does without.


class ATFTRanker(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Ranks the stocks of a panel by their expected return.

        ranker = ATFTRanker(horizons=(1, 5), seed=1, overrides={"optimizer.lr": 0.002}).fit(panel)
        scores = ranker.predict(panel, date="2017-12-11")

    A panel is a polars or pandas frame, one row a stock and day, or all that `data.source` may be: a path, `sample`,
    `synthetic`. What is not given here is as `configs/atft/config.yaml` has it; the same data under the same keys give
    the bits of `atft train` and `atft predict`.

    Parameters
    ----------
    horizons, seed, train_end, valid_end, max_epochs, batch_size, num_threads
        `data.horizons`, `seed`, `split.train_end`, `split.valid_end`, `train.max_epochs`, `batch_size`,
        `run.num_threads`. None: as the configuration has it.
    model
        Option of the group `model`: `default` or `small`.
    config
        File that is laid over the configuration, as `config=` of the tool: `atft/train/production`, or a path.
    overrides
        Any other keys with their values: `{"improvements.use_ema": True, "data.columns.close": "px_last"}`.
    run_dir
        Folder of the run, to keep it, go on in it where a fit was interrupted, and take over a finished fit of the
        same data and keys. None: a temporary one, which goes with this object.
    verbose
        Show progress on stderr.

    After `fit` or `load`: `run_` (the run's folder), `metrics_` (its metrics.json), `features_`, `horizons_`,
    `fingerprint_` (the model's, as in the footer of predictions).

    Raises ConfigError for a parameter or key that there is none of, with the nearest name: of the parameters at once,
    of the keys when fitted.
    """

    def __init__(
        self,
        *,
        horizons: Sequence[int] | None = None,
        seed: int | None = None,
        model: str | None = None,
        config: str | PathLike[str] | None = None,
        train_end: str | Date | None = None,
        valid_end: str | Date | None = None,
        max_epochs: int | None = None,
        batch_size: int | None = None,
        num_threads: int | None = None,
        overrides: Mapping[str, Any] | None = None,
        run_dir: str | PathLike[str] | None = None,
        verbose: bool = False,
        **unknown: Any,
    ) -> None:
        for name in unknown:
            raise ConfigError(_unknown(name, self._names()))
        self.horizons = horizons
        self.seed = seed
        self.model = model
        self.config = config
        self.train_end = train_end
        self.valid_end = valid_end
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.num_threads = num_threads
        self.overrides = overrides
        self.run_dir = run_dir
        self.verbose = verbose

    def fit(self, panel: Any) -> Self:
        """Train, evaluate and report, as `atft train` does; `run_` holds all of it.

        A frame is kept as Parquet in `data.cache`, by its content, where the run's report can find it again. Raises
        what `atft train` ends with: DataError with every problem of the panel, ConfigError, InterruptedRunError after
        Ctrl-C (with `run_dir` the same fit goes on), …
        """
        workspace = TemporaryDirectory(prefix="atft-")
        folder = Path(workspace.name, "run") if self.run_dir is None else Path(self.run_dir)
        from atft_gat_fan.runs.ranker_fit import fitted_run

        source = to_polars(panel) if is_frame(panel) else _path(panel)
        run = fitted_run(self.get_params(), source, folder, self._console())
        self._take(run.resolve(), workspace)
        return self

    def predict(
        self,
        panel: Any,
        date: str | Date | None = None,
        *,
        first: str | Date | None = None,
        last: str | Date | None = None,
    ) -> Any:
        """Scores and ranks (1: highest) of every stock present: on `date`, from `first` to `last`, or on every day.

        A date is a `date`, or text as `2017-12-11`; `date="newest"` is the panel's last day. Gives columns `date, code,
        horizon_{h}d…, rank_{h}d…`, sorted by date and code: a frame of pandas where the panel is one, else of polars.
        Raises NotFittedError; DataError where the panel lacks a feature or has no such day.
        """
        check_is_fitted(self)
        asked = _asked(date, first, last)
        table = self._scores(self._source(panel), asked)
        return table.to_pandas() if is_pandas(panel) else table

    def evaluate(self, panel: Any = None, *, split: Literal["valid", "test"] | None = None) -> dict[str, Any]:
        """A section of metrics.json: of the run's own `split` (None: test), or of the days of a panel.

        Of a panel those days count that come after the validation days, the purge left out between: on earlier ones
        the weights were chosen. Raises NotFittedError; DataError where the panel has no such day.
        """
        check_is_fitted(self)
        if panel is None:
            metrics: dict[str, Any] = read_metrics(self.run_)[split or "test"]
            return metrics
        if split is not None:
            raise ConfigError(
                f"expected a panel or a split of the run, found a panel and split={split!r}; leave one out"
            )
        from atft_gat_fan.runs.members import Member
        from atft_gat_fan.runs.panel_evaluation import evaluate_scores, unseen_days
        from atft_gat_fan.runs.stages import Stages
        from atft_gat_fan.signals import StopSignals

        source, member = self._source(panel), Member(self.run_, _bundle(self.run_))
        table = self._scores(source, unseen_days(member))
        with StopSignals() as signals, Stages(self._console(), signals) as stages:
            return evaluate_scores(table, member, source, self._cache(source), stages)

    def save(self, path: str | PathLike[str]) -> Path:
        """Copy the model, its configuration and its metrics into the new folder `path`, whole or not at all.

        `load` reads it, and so does `atft predict`. Raises NotFittedError; StorageError where something is there
        already, or the folder cannot be written.
        """
        check_is_fitted(self)
        from atft_gat_fan.runs.ranker_files import save_model

        return save_model(self.run_, Path(path))

    @classmethod
    def load(cls, path: str | PathLike[str], *, verbose: bool = False) -> Self:
        """A fitted ranker from what `save` wrote, or from the folder of any finished run.

        Its parameters are those of that run (`config`), so that a clone of it trains the same again. Raises
        StorageError, naming the file that is missing or damaged.
        """
        folder = Path(path).resolve()
        bundle = _bundle(folder)
        if (folder / CONFIG).exists():
            ranker = cls(config=str(folder / CONFIG), verbose=verbose)
        else:
            ranker = cls(horizons=bundle.spec.horizons, seed=bundle.training.get("seed"), verbose=verbose)
        ranker._take(folder, TemporaryDirectory(prefix="atft-"))
        return ranker

    def set_params(self, **params: Any) -> Self:
        """Change parameters; what was fitted stays until the next `fit`. Raises ConfigError for an unknown one."""
        for name in params:
            if name not in self._names():
                raise ConfigError(_unknown(name, self._names()))
        super().set_params(**params)
        return self

    @classmethod
    def _names(cls) -> list[str]:
        parameters = signature(cls).parameters.values()
        return [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]

    def _take(self, folder: Path, workspace: "TemporaryDirectory[str]") -> None:
        """Be fitted by the run in `folder`."""
        bundle = _bundle(folder)
        self.run_ = folder
        self.metrics_ = read_metrics(folder) if (folder / METRICS).exists() else {}
        self.features_ = tuple(bundle.normalizer.feature_names)
        self.horizons_ = bundle.spec.horizons
        self.fingerprint_ = bundle.fingerprint
        self._workspace = workspace
        self._data_cache = Path(bundle.data.cache)

    def _source(self, panel: Any) -> str:
        """Where to read the panel from: for a frame, where a fit has kept it, else this object's own folder."""
        if not is_frame(panel):
            return _path(panel)
        kept = keep_frame(to_polars(panel), Path(self._workspace.name) / FRAMES)
        known = self._data_cache / FRAMES / kept.name
        return str(known if known.exists() else kept)

    def _scores(self, source: str, asked: "AskedDays") -> pl.DataFrame:
        from atft_gat_fan.runs.predict import predict

        with TemporaryDirectory(prefix="scores-", dir=self._workspace.name) as folder:
            out = Path(folder, "scores.parquet")
            predict([self.run_], source, asked, out, self._console(), self._cache(source))
            return pl.read_parquet(out)

    def _cache(self, source: str) -> Path:
        """Where stores and graphs of the source are kept: for what is in this object's own folder, there too."""
        own = Path(self._workspace.name)
        return own / "cache" if Path(source).is_relative_to(own) else self._data_cache

    def _console(self) -> Console:
        return Console(stderr=True, quiet=not self.verbose)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "run_")

    def __getstate__(self) -> Any:
        if self.__sklearn_is_fitted__():
            # Its model lies in a folder that may be gone when the copy is opened; and we read no pickles.
            raise TypeError(
                "a fitted ATFTRanker is kept by save(path) and ATFTRanker.load(path), not pickled or copied"
            )
        return super().__getstate__()

    def _html_repr(self) -> str:
        """For notebooks, in place of scikit-learn's diagram."""
        told = f"<code>{escape(repr(self))}</code>"
        if not self.__sklearn_is_fitted__():
            return f"<div>{told}<br>not fitted</div>"
        test = self.metrics_.get("test", {"rank_ic": {}, "days": 0})
        heads = "".join(f"<th>{escape(name)}</th>" for name in test["rank_ic"])
        cells = "".join(f"<td>{'–' if v is None else f'{v:+.4f}'}</td>" for v in test["rank_ic"].values())
        table = f"<table><tr><th>RankIC, {test['days']} test days</th>{heads}</tr><tr><td></td>{cells}</tr></table>"
        return f"<div>{told}<br>{len(self.features_)} features, {escape(str(self.run_))}{table if heads else ''}</div>"


def _bundle(run: Path) -> "Bundle":
    from atft_gat_fan.inference.bundle import load_bundle

    return load_bundle(run / BUNDLE)


def _unknown(name: str, known: Sequence[str]) -> str:
    """What to tell a user who wrote a parameter that there is none of."""
    hint = did_you_mean(name, known)
    key = nearest(name, known_keys())
    if not hint and key is not None:
        hint = f"; did you mean overrides={{'{key}': …}}?"
    return f"unknown parameter {name}; expected one of {', '.join(known)}{hint}"


def _path(panel: Any) -> str:
    if isinstance(panel, str | PathLike):
        return str(panel)
    raise DataError(
        f"expected a polars or pandas frame or the path of a panel, found {type(panel).__name__}; "
        "build a frame with one row a stock and day"
    )


def _asked(date: str | Date | None, first: str | Date | None, last: str | Date | None) -> "AskedDays":
    from atft_gat_fan.inference.asked_days import AskedDays

    if date is not None and (first is not None or last is not None):
        raise ConfigError("expected one day or a range, found both date and first or last; leave one out")
    if isinstance(date, str) and date == NEWEST:
        return AskedDays(newest=True)
    return AskedDays(_day(first if date is None else date), _day(last if date is None else date))


def _day(value: str | Date | None) -> Date | None:
    if value is None:
        return None
    try:
        day = np.datetime64(value, "D").item()
    except (ValueError, TypeError) as error:
        raise ConfigError(f"expected a date such as 2017-12-11, found {value!r}") from error
    if not isinstance(day, Date):
        raise ConfigError(f"expected a date such as 2017-12-11, found {value!r}")
    return day

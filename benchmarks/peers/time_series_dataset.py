"""pytorch-forecasting's loader over a panel: `TimeSeriesDataSet.to_dataloader`, batches of 1,024 windows.

A worker of `benchmarks/reading.py`, in the environment of the peers. A sample is one window of one series, 20 encoder
and 5 decoder days; no worker processes, as its documentation has it and as ours loads here.
"""

import argparse
import time
from itertools import cycle, islice
from pathlib import Path

import pandas as pd
from pytorch_forecasting import TimeSeriesDataSet
from pytorch_forecasting.data import TorchNormalizer

from benchmarks.turns import serve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("panel", type=Path)
    parser.add_argument("--batches", type=int, default=8, help="of a turn")
    arguments = parser.parse_args()
    frame = pd.read_parquet(arguments.panel).sort_values(["Code", "Date"], ignore_index=True)
    frame["day"] = frame["Date"].rank(method="dense").astype(int)
    frame["target"] = frame.groupby("Code")["Close"].pct_change().fillna(0.0)
    dataset = TimeSeriesDataSet(
        frame.drop(columns=["Date", "Close"]),
        time_idx="day",
        target="target",
        group_ids=["Code"],
        max_encoder_length=20,
        min_encoder_length=20,
        max_prediction_length=5,
        min_prediction_length=5,
        time_varying_unknown_reals=[name for name in frame if name[0] == "f"],
        target_normalizer=TorchNormalizer(method="identity"),
    )
    batches = cycle(dataset.to_dataloader(train=True, batch_size=1024, num_workers=0))

    def turn() -> dict[str, float]:
        began, samples = time.perf_counter(), 0
        for inputs, _ in islice(batches, arguments.batches):
            samples += len(inputs["encoder_lengths"])
        return {"samples_per_second": samples / (time.perf_counter() - began)}

    serve(turn)


if __name__ == "__main__":
    main()

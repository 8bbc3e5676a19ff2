"""A training step of pytorch-forecasting's TemporalFusionTransformer on ready tensors: forward, loss, backward, Adam.

A worker of `benchmarks/training_speed.py`, in the environment of the peers. A sample is one window of one series: 20
encoder days of 32 real variables (one of which, the relative time, also goes into the decoder) and 5 decoder days.
"""

import argparse
import time

import torch
from pytorch_forecasting import TemporalFusionTransformer
from pytorch_forecasting.data import TorchNormalizer
from pytorch_forecasting.metrics import RMSE

from benchmarks.turns import THREADS, serve

KNOWN = "relative_time_idx"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1024, help="of a batch")
    parser.add_argument("--features", type=int, default=32)
    parser.add_argument("--window", type=int, default=20)
    parser.add_argument("--horizon", type=int, default=5)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--continuous", type=int, default=8, help="hidden_continuous_size")
    parser.add_argument("--steps", type=int, default=2, help="of a turn")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    names = [KNOWN, *(f"f{number}" for number in range(arguments.features - 1))]
    model = TemporalFusionTransformer(
        hidden_size=arguments.hidden,
        hidden_continuous_size=arguments.continuous,
        attention_head_size=4,
        max_encoder_length=arguments.window,
        output_size=1,
        loss=RMSE(),
        output_transformer=TorchNormalizer(method="identity"),
        x_reals=names,
        time_varying_reals_encoder=names,
        time_varying_reals_decoder=[KNOWN],
    ).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    samples, window, horizon = arguments.samples, arguments.window, arguments.horizon
    batch = {
        "encoder_cont": torch.randn(samples, window, len(names)),
        "decoder_cont": torch.randn(samples, horizon, len(names)),
        "encoder_cat": torch.zeros(samples, window, 0, dtype=torch.long),
        "decoder_cat": torch.zeros(samples, horizon, 0, dtype=torch.long),
        "encoder_lengths": torch.full((samples,), window),
        "decoder_lengths": torch.full((samples,), horizon),
        "target_scale": torch.tensor([0.0, 1.0]).expand(samples, 2),
    }
    target = torch.randn(samples, horizon)

    def step() -> None:
        optimizer.zero_grad()
        loss = model.loss(model(batch)["prediction"], (target, None))
        loss.backward()
        optimizer.step()

    def turn() -> dict[str, float]:
        began = time.perf_counter()
        for _ in range(arguments.steps):
            step()
        return {"samples_per_second": arguments.steps * samples / (time.perf_counter() - began)}

    step()
    serve(turn)


if __name__ == "__main__":
    main()

"""A training step of neuralforecast's TFT on ready tensors: forward, loss, backward, Adam.

A worker of `benchmarks/training_speed.py`, in the environment of the peers. A sample is one window of one series: 20
days of 32 variables (the target, 30 historical ones, and the one known in advance that it makes of the last target
where none is given) and 5 days to forecast.
"""

import argparse
import time

import torch
from neuralforecast.losses.pytorch import MSE
from neuralforecast.models import TFT

from benchmarks.turns import THREADS, serve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1024, help="of a batch")
    parser.add_argument("--features", type=int, default=32)
    parser.add_argument("--window", type=int, default=20)
    parser.add_argument("--horizon", type=int, default=5)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--steps", type=int, default=2, help="of a turn")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    samples, window, horizon = arguments.samples, arguments.window, arguments.horizon
    historical = [f"f{number}" for number in range(arguments.features - 2)]
    model = TFT(
        h=horizon, input_size=window, hist_exog_list=historical, hidden_size=arguments.hidden, n_head=4, loss=MSE()
    ).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    batch = {
        "insample_y": torch.randn(samples, window, 1),
        "insample_mask": torch.ones(samples, window, 1),
        "hist_exog": torch.randn(samples, window, len(historical)),
        "futr_exog": None,
        "stat_exog": None,
    }
    target, mask = torch.randn(samples, horizon, 1), torch.ones(samples, horizon, 1)

    def step() -> None:
        optimizer.zero_grad()
        loss = model.loss(y=target, y_hat=model.loss.domain_map(model(batch)), mask=mask)
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

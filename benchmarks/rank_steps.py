"""Training steps of ours on several processes of one thread each: a worker of `benchmarks/ranks.py`.

    python -m benchmarks.rank_steps --ranks 2 [--steps 4] [key=value ...]

This process is rank 0 and starts the others. A step is what training repeats: batches, forward, loss, backward, the sum
over the ranks, clipping, AdamW. The agreements of a step are timed by themselves as well, with gradients at hand and
all ranks ready: what is left then is the messages, and with `distributed.strategy=fsdp` the handling of the parts.
"""

import argparse
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

import torch

from atft_gat_fan.config.load import load_config
from atft_gat_fan.config.schema import DistributedConfig
from atft_gat_fan.config.settings import Environment
from atft_gat_fan.runs.assembly import assemble, build_model
from atft_gat_fan.runs.process import prepare_process
from atft_gat_fan.runs.train_settings import train_settings
from atft_gat_fan.training.layout import make_layout
from atft_gat_fan.training.objective import Objective
from atft_gat_fan.training.optim import build_optimizer
from atft_gat_fan.training.process_ranks import open_ranks
from atft_gat_fan.training.rank_batches import RankBatches
from atft_gat_fan.training.ranks import Ranks
from atft_gat_fan.training.runtime import make_runtime
from atft_gat_fan.training.step import TrainStep
from atft_gat_fan.training.training_data import step_groups
from benchmarks.turns import serve

WARM_UP, EXCHANGES = 2, 20
GO, STOP = "go", "stop"
CPU = torch.device("cpu")


class RankTraining:
    """One rank's part of a training, stepped by hand."""

    def __init__(self, overrides: Sequence[str], ranks: Ranks) -> None:
        config = load_config(["run.num_threads=1", "run.device=cpu", *overrides])
        prepare_process(config.run.num_threads)
        self.assembly, self.ranks = assemble(config, lambda stage, share: None), ranks
        self._settings = train_settings(self.assembly)
        self._model = build_model(self.assembly).train()
        self._layout = make_layout(ranks, CPU, sharded=self._settings.sharded)
        self._layout.divide(self._model)
        self._step = TrainStep(
            make_runtime(self._settings),
            self._model,
            build_optimizer(self._model, self._settings),
            Objective(self._settings, CPU),
            clip_norm=self._settings.clip_norm,
            seed=self._settings.seed,
            to_device=self.assembly.to_device,
            layout=self._layout,
        )
        self._batches = RankBatches(
            ranks,
            self.assembly.batch,
            lambda read: read(),
            divisible=not self._model.spec.blockwise,
            num_workers=self._settings.num_workers,
        )
        whole = config.batch_size * config.accumulate_grad_batches
        groups = step_groups(self.assembly, self._settings, epoch=0)
        self._groups = [group for group in groups if sum(count for _, count in group) == whole]
        self._done = 0

    def steps(self, count: int) -> int:
        """So many steps; returns the stock-windows that all ranks trained."""
        samples = 0
        for _ in range(count):
            group = self._groups[self._done % len(self._groups)]
            batches = self._batches.load(self._batches.share(group))
            samples += self._step(list(batches), self._done).samples
            self._done += 1
        return samples

    def agreements(self) -> float:
        """Seconds that the agreements of a step take where nobody waits for another one's computing."""
        summed = self._layout.step_sum(self._model, CPU)
        if summed is None:
            return 0.0
        horizons = len(self._settings.horizons)
        counts, losses = torch.ones(horizons + 3, dtype=torch.int64), (torch.tensor(0.0), torch.zeros(horizons))
        self.ranks.meet()
        began = time.perf_counter()
        for _ in range(EXCHANGES):
            self.ranks.sum(counts)
            with self._layout.gathered(self._model):
                for parameter in self._model.parameters():
                    if parameter.grad is None:
                        parameter.grad = torch.zeros_like(parameter)
                summed(losses)
        return (time.perf_counter() - began) / EXCHANGES

    def turn(self, steps: int) -> dict[str, float]:
        self.ranks.meet()
        began = time.perf_counter()
        samples = self.steps(steps)
        self.ranks.meet()
        seconds = time.perf_counter() - began
        return {
            "samples_per_second": samples / seconds,
            "seconds_per_step": seconds / steps,
            "seconds_of_agreements": self.agreements(),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, required=True)
    parser.add_argument("--steps", type=int, default=4, help="of a turn")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    arguments = parser.parse_args()
    if arguments.ranks > 1 and Environment.read().ranks.world_size == 1:
        start_others(arguments.ranks)
    with open_ranks(DistributedConfig(timeout=3600), Environment.read().ranks, CPU) as ranks:
        training = RankTraining(arguments.overrides, ranks)
        training.steps(WARM_UP)

        def turn() -> dict[str, float]:
            ranks.tell(GO)
            return training.turn(arguments.steps)

        if ranks.first:
            serve(turn)
            ranks.tell(STOP)
        else:
            while ranks.tell("") == GO:
                training.turn(arguments.steps)


def start_others(ranks: int) -> None:
    """Become rank 0 of so many; the others end with this process, whose connections they wait on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    common = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for rank in range(1, ranks):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        command = [sys.executable, "-m", "benchmarks.rank_steps", *sys.argv[1:]]
        subprocess.Popen(command, env={**os.environ, **common, **own}, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    os.environ.update(common, RANK="0", LOCAL_RANK="0")


if __name__ == "__main__":
    main()

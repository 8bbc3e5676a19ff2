"""How fast this machine multiplies float32 matrices: a worker of `benchmarks/training_speed.py`."""

import time

import torch

from benchmarks.turns import THREADS, serve

SIZES = (512, 1024, 2048, 3072)
LEAST_SECONDS = 0.3
"""Of one size in one turn."""


def main() -> None:
    torch.set_num_threads(THREADS)
    operands = {size: (torch.randn(size, size), torch.randn(size, size)) for size in SIZES}

    def turn() -> dict[str, float]:
        return {str(size): flops_per_second(*pair) for size, pair in operands.items()}

    turn()
    serve(turn)


def flops_per_second(a: torch.Tensor, b: torch.Tensor) -> float:
    """2 m n k operations a product, over at least `LEAST_SECONDS` of products."""
    product = torch.mm(a, b)
    count, began = 0, time.perf_counter()
    while (seconds := time.perf_counter() - began) < LEAST_SECONDS:
        torch.mm(a, b, out=product)
        count += 1
    return 2 * a.shape[0] * a.shape[1] * b.shape[1] * count / seconds


if __name__ == "__main__":
    main()

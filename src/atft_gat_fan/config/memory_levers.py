"""The migration memo's answers to running out of memory, as keys of a configuration."""

from collections.abc import Iterator, Sequence


def memory_levers(
    *,
    batch_size: int,
    accumulate: int,
    online_normalization: bool,
    gradient_checkpointing: bool,
    ema_keys: Sequence[str],
) -> Iterator[str]:
    """Those that are not pulled already, as one would write them: half the batch, features and activations that are
    not kept, no average of the weights. `ema_keys` are what turned the average on, none without one.
    """
    if batch_size > 1:
        yield (
            f"batch_size={batch_size // 2} instead of {batch_size} (with accumulate_grad_batches={2 * accumulate} it "
            "trains alike)"
        )
    pair = {
        "improvements.online_normalization=true": not online_normalization,
        "gradient_checkpointing=true": not gradient_checkpointing,
    }
    if any(pair.values()):
        yield " ".join(key for key, off in pair.items() if off)
    if ema_keys:
        yield " ".join(f"{key}=false" for key in ema_keys)

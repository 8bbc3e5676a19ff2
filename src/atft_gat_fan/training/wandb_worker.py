"""The process behind `WandbSink`: reads its events from standard input and logs them to W&B until that ends.

Lines of JSON: first where the run belongs, then events. Without a login key W&B records offline, which needs
neither network nor account; WANDB_MODE and the other variables of W&B mean what its manual says. Imports
nothing of this package.
"""

import json
import os
import uuid
from pathlib import Path
from typing import Any

import wandb

INIT_SECONDS, FINISH_SECONDS = 60.0, 10.0


def main() -> None:
    # W&B's own service would inherit standard input and keep it open after us.
    with os.fdopen(os.dup(0)) as lines, open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
        run = start(json.loads(lines.readline()))
        for line in lines:
            record(run, **json.loads(line))
    run.finish()


def start(place: dict[str, Any]) -> Any:
    """The W&B run of a run folder, gone on with where it was left."""
    settings = wandb.setup(
        wandb.Settings(
            console="off",
            silent=True,
            save_code=False,
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            x_disable_stats=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
            init_timeout=INIT_SECONDS,
            finish_timeout=FINISH_SECONDS,
        )
    ).settings
    # Asked without verifying, which is the work of `init`.
    anonymous = settings.mode == "online" and not wandb.login(prompt=False, verify=False)
    run = wandb.init(
        dir=place["folder"],
        name=place["name"],
        project=place["project"],
        entity=place["entity"],
        tags=place["tags"],
        config=place["config"],
        id=run_id(Path(place["folder"])),
        resume="allow",
        mode="offline" if anonymous else None,
    )
    run.define_metric("step")
    run.define_metric("*", step_metric="step")
    return run


def run_id(folder: Path) -> str:
    """W&B's name of the run: drawn once for each start from scratch, which deletes `wandb/`."""
    file = folder / "wandb" / "run_id"
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        file.write_text(uuid.uuid4().hex[:12])
    return file.read_text()


def record(run: Any, event: str, step: int, values: dict[str, Any]) -> None:
    """Numbers become curves `event/name` over our steps (W&B's own only ever grow, and a resumed run repeats some)."""
    numbers = {
        f"{event}/{name}": value
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    if numbers:
        run.log({**numbers, "step": step})


if __name__ == "__main__":
    main()

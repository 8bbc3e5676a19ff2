"""A training as the supervisor sees it: `python supervised_worker.py RUN [[STEP, ENDING], …]`.

The n-th start of it logs the n-th step and ends as told: `kill`, `segv` and `bus N` by that signal, a real one (`bus`
truncates a file that it has mapped, by default one of its own), `N` with that exit code, `wait` when it gets signals:
it notes each in RUN/signals and exits with 7 half a second after the first.
"""

import ctypes
import json
import mmap
import os
import signal
import sys
import time
from pathlib import Path

run, lives = Path(sys.argv[1]), json.loads(sys.argv[2])
count = run / "count"
number = int(count.read_text()) if count.exists() else 0
count.write_text(str(number + 1))
step, ending = lives[number]
got: list[str] = []
if ending == "wait":
    for kind in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(kind, lambda received, frame: got.append(signal.Signals(received).name))
if step is not None:
    events = run / "events.jsonl"
    whole, _, _ = events.read_text().rpartition("\n") if events.exists() else ("", "", "")
    events.write_text(whole + "\n" + json.dumps({"event": "train", "step": step}) + '\n{"torn')

if ending == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
elif ending == "segv":
    ctypes.string_at(0)
elif isinstance(ending, str) and ending.startswith("bus"):
    victim = Path(ending[4:] or run / "mapped")
    if not victim.exists():
        victim.write_bytes(bytes(2**16))
    with victim.open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0)
        file.truncate(4096)
    mapped[len(mapped) - 1]
elif ending == "wait":
    (run / "waiting").write_text(str(os.getpid()))
    while not got:
        time.sleep(0.01)
    time.sleep(0.5)
    (run / "signals").write_text(json.dumps(got))
    sys.exit(7)
else:
    sys.exit(ending)

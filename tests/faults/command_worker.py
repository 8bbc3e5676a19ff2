"""Runs `atft` commands as a user would, each in a fork of one process that has imported everything already.

`python command_worker.py` reads one job a line from standard input and answers each with a line: JSON both. It lives in
a mount namespace of its own, so that what it mounts is seen by its jobs alone and ends with it. A job is one of

    {"mount": folder, "size": "8m"}     a tmpfs of that size; "remount": folder, "as": "ro"
    {"atft": [arguments]}               the command; the answer: exit code, standard output and error, seconds
    {"python": code}                    code in a fork; the answer likewise

and the last two may say: "memory": bytes of address space to be had beyond those in use, "privileged": false (modes
bind even root), "network": false (a network namespace without any), "environment": variables, "before": code run in
the fork first, "timeout": seconds.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback

import torch

import atft_gat_fan.runs.evaluate
import atft_gat_fan.runs.predict
import atft_gat_fan.runs.train  # noqa: F401 - imported once, for all forks
from atft_gat_fan.cli.main import main as atft

NEW_MOUNTS, NEW_USER, NEW_NETWORK = 0x00020000, 0x10000000, 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def unshare(what: int) -> None:
    if LIBC.unshare(what) == 0:
        return
    # Not root: it is root of a user namespace of its own.
    user, group = os.getuid(), os.getgid()
    if LIBC.unshare(what | NEW_USER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    for name, content in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(content)


def drop_capabilities() -> None:
    """What a process of root may do beyond what modes allow."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    if LIBC.capset(header, (ctypes.c_uint32 * 6)()) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def address_space() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def prepare(job: dict) -> None:
    torch.set_num_threads(1)
    os.environ.update(job.get("environment", {}))
    if not job.get("network", True):
        unshare(NEW_NETWORK)
    exec(compile(job.get("before", ""), "before", "exec"), {})
    if not job.get("privileged", True):
        drop_capabilities()
    if "memory" in job:
        most = address_space() + job["memory"]
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def do(job: dict) -> int:
    prepare(job)
    if "python" in job:
        exec(compile(job["python"], "job", "exec"), {"__name__": "job"})
        return 0
    try:
        atft(job["atft"])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def fork(job: dict) -> dict:
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = os.fork()
        if process == 0:
            code = 1
            try:
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                signal.alarm(job.get("timeout", 120))
                code = do(job)
            except BaseException:  # noqa: BLE001 - a fork must never come back
                traceback.print_exc()
            finally:
                with contextlib.suppress(OSError):
                    sys.stdout.flush()
                    sys.stderr.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        seconds = time.monotonic() - began
        out.seek(0)
        err.seek(0)
        return {"code": code, "out": out.read(), "err": err.read(), "seconds": seconds}


def mount(*arguments: str) -> dict:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    return {"code": done.returncode, "out": done.stdout, "err": done.stderr, "seconds": 0.0}


def answer(job: dict) -> dict:
    if "mount" in job:
        return mount("-t", "tmpfs", "-o", f"size={job['size']}", "tmpfs", job["mount"])
    if "remount" in job:
        return mount("-o", f"remount,{job['as']}", job["remount"])
    return fork(job)


def main() -> None:
    problem = ""
    try:
        unshare(NEW_MOUNTS)
        private = mount("--make-rprivate", "/")
        problem = private["err"]
    except OSError as error:
        problem = str(error)
    print(json.dumps({"mounts": problem}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()

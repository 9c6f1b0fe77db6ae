"""Imported by each Python process of a scene when it starts: what is broken from inside.

| variable | what it does |
|---|---|
| `CHAOS_PAUSE` | a file: the first process that is about to rename a draft of a run removes it, and stops itself |
| `CHAOS_CLOCK` | seconds by which this process's clock is ahead |
| `CHAOS_HOST` | the name of the machine that this process believes to be on |
"""

import ctypes
import os
import signal
import socket
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1

if "CHAOS_CLOCK" in os.environ:
    true_time, ahead = time.time, float(os.environ["CHAOS_CLOCK"])
    time.time = lambda: true_time() + ahead

if "CHAOS_HOST" in os.environ:
    socket.gethostname = lambda: os.environ["CHAOS_HOST"]


def pause(event: str, arguments: tuple[object, ...]) -> None:
    if event != "os.rename" or "/.writer-" not in str(arguments[0]):
        return
    request = Path(os.environ["CHAOS_PAUSE"])
    try:
        request.unlink()
    except FileNotFoundError:
        return
    draft = request.with_name("paused.new")
    draft.write_text(f"{os.getpid()} {arguments[1]}")
    draft.rename(request.with_name("paused"))
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, 0)  # else it ends with the raylet, and writes no more
    os.kill(os.getpid(), signal.SIGSTOP)


if "CHAOS_PAUSE" in os.environ:
    sys.addaudithook(pause)

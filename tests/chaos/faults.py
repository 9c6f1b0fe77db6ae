"""The faults: each breaks one thing of a scene, and says what; None where there was nothing to break."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from scene import Running, Scene, Terminal, kill

from gga_sweep.ledger.process import birth_of
from gga_sweep.records import FINAL

Fault = Callable[[Scene, random.Random], str | None]

GRACE_SECONDS = 150.0
"""A gentle stop takes 30 s and an annealed step at most, and then there are a report and the tracking to write."""


class Violated(AssertionError):  # noqa: N818  it is what it says
    """A promise was broken."""


def actor_killed(scene: Scene, rng: random.Random) -> str | None:
    """SIGKILL, as the kernel's out-of-memory killer sends it."""
    running = scene.running()
    if not running:
        return None
    chosen = rng.choice(running)
    kill([chosen.pid])
    return f"actor of {chosen.folder} at step {chosen.state.step}"


def actor_paused(scene: Scene, rng: random.Random) -> str | None:
    """It stands still, as on a machine that swaps, and goes on."""
    running = scene.running()
    if not running:
        return None
    chosen, seconds = rng.choice(running), rng.uniform(1, 4)
    with suppress(ProcessLookupError):
        os.kill(chosen.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(chosen.pid, signal.SIGCONT)
    return f"actor of {chosen.folder} for {seconds:.1f} s"


def writer_paused(scene: Scene, rng: random.Random) -> str | None:
    """An actor stands still in the middle of a write until a newer attempt trains its run, or has ended it."""
    if not scene.running():
        return None
    paused = scene.pause.with_name("paused")
    scene.pause.touch()
    try:
        if not _comes_true(paused.exists, 60):
            return None
        pid, path = paused.read_text().split(maxsplit=1)
    finally:
        scene.pause.unlink(missing_ok=True)
        paused.unlink(missing_ok=True)
    run = scene.ledger.run(Path(path).parent.name)
    attempt = run.newest_attempt()
    scene.kill_launch()
    scene.keep_launched()
    _comes_true(lambda: run.newest_attempt() > attempt, 180)
    time.sleep(rng.uniform(0, 8))
    newest, ended = run.newest_attempt(), run.read_state().status in FINAL
    if birth_of(int(pid)) is None:  # Ray has killed it
        return None
    os.kill(int(pid), signal.SIGCONT)
    _comes_true(lambda: birth_of(int(pid)) is None, 60)
    return f"write of {path} until attempt {newest}{' had ended' if ended else ''}"


def clock_skewed(scene: Scene, rng: random.Random) -> str | None:
    """A launch on a machine whose clock is wrong is refused like any other; then this machine's clock is wrong."""
    first = scene.launch
    if first is None or first.poll() is not None or not scene.running():
        return None
    ahead = str(rng.choice([-36_000, -600, 600, 36_000]))
    refused = scene.start_launch(variables={"CHAOS_HOST": "elsewhere", "CHAOS_CLOCK": ahead}).wait(180)
    if first.poll() is None and refused != 3:
        raise Violated(f"a second live launch, {ahead} s ahead, ended with {refused}, not with 3")
    scene.launch = scene.start_launch("--take-over", variables={"CHAOS_CLOCK": ahead})
    _require_end(first, "that was taken over")
    return f"a launch {ahead} s ahead, refused, then with --take-over"


def terminal_closed(scene: Scene, rng: random.Random) -> str | None:
    """Of a launch that was started on it; with `nohup` it goes on, otherwise it stops gently."""
    first = scene.launch
    if first is None or first.poll() is not None or not scene.running():
        return None
    hangs_up = rng.random() < 0.5
    scene.launch = scene.start_launch("--take-over", terminal=Terminal(hangs_up))
    _require_end(first, "that was taken over")
    if not _comes_true(scene.running, 120):
        return None
    training = scene.running()
    scene.close_terminal()
    if hangs_up:
        _require_gentle_end(scene, "the end of its terminal", training)
        return "terminal"
    time.sleep(3)
    if scene.launch.poll() not in (None, 0):
        raise Violated(f"a launch under nohup ended with its terminal, with exit code {scene.launch.poll()}")
    return "terminal, under nohup"


def launch_killed(scene: Scene, rng: random.Random) -> str | None:
    if scene.launch is None or scene.launch.poll() is not None:
        return None
    scene.kill_launch()
    return f"launch {scene.launches - 1}"


def machine_rebooted(scene: Scene, rng: random.Random) -> str | None:
    """The launch and every actor at once, in the middle of a write that left something odd."""
    running = scene.running()
    if scene.launch is None or scene.launch.poll() is not None or not running:
        return None
    scene.kill_launch()
    kill([one.pid for one in running])
    time.sleep(1)
    unfinished = [name for name, state in scene.states().items() if state.status not in FINAL]
    if not unfinished:
        return "machine, with every run finished"
    name = rng.choice(unfinished)
    folder = scene.ledger.folder / "runs" / name
    files = sorted(path for path in folder.iterdir() if path.is_file())
    file = rng.choice(files)
    content = file.read_bytes()
    damage = rng.choice(["cut", "flipped", "gone", "beside"])
    if damage == "cut":
        file.write_bytes(content[: rng.randrange(len(content) + 1)])
    elif damage == "flipped" and content:
        place = rng.randrange(len(content))
        file.write_bytes(content[:place] + bytes([content[place] ^ (1 << rng.randrange(8))]) + content[place + 1 :])
    elif damage == "gone":
        file.unlink()
    else:
        (folder / ".new-0123456789abcdef").write_bytes(content[: len(content) // 2])
    return f"machine, leaving {file.name} of {name} {damage}"


def index_damaged(scene: Scene, rng: random.Random) -> str | None:
    files = sorted((scene.ledger.folder / "index").glob("[0-9]*"))
    if not files:
        return None
    file = rng.choice(files)
    content = bytearray(file.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)
    return f"index file {file.name}"


def launch_interrupted(scene: Scene, rng: random.Random) -> str | None:
    """By the signals of a user, a service manager and a batch system."""
    if scene.launch is None or scene.launch.poll() is not None or not scene.running():
        return None
    number, training = rng.choice([signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP]), scene.running()
    scene.launch.send_signal(number)
    _require_gentle_end(scene, number.name, training)
    return number.name


def launch_stopped(scene: Scene, rng: random.Random) -> str | None:
    """By `gga-sweep stop` in another shell."""
    if scene.launch is None or scene.launch.poll() is not None or not scene.running():
        return None
    training = scene.running()
    done = scene.command("stop", str(scene.ledger.folder))
    if done.returncode != 0:
        raise Violated(f"`gga-sweep stop` ended with {done.returncode}: {done.stdout}{done.stderr}")
    _require_gentle_end(scene, "`gga-sweep stop`", training)
    return "gga-sweep stop"


def launch_taken_over(scene: Scene, rng: random.Random) -> str | None:
    """A second launch at the same time: refused, then with `--take-over`."""
    first = scene.launch
    if first is None or first.poll() is not None or not scene.running():
        return None
    refused = scene.start_launch().wait(120)
    if first.poll() is None and refused != 3:
        raise Violated(f"a second live launch ended with {refused}, not with 3")
    scene.launch = scene.start_launch("--take-over")
    _require_end(first, "that was taken over")
    return "a second launch, with --take-over"


def server_killed(scene: Scene, rng: random.Random) -> str | None:
    if scene.server is None:
        return None
    scene.stop_server()
    time.sleep(rng.uniform(0, 5))
    scene.start_server()
    return "tracking server, started again"


def server_paused(scene: Scene, rng: random.Random) -> str | None:
    """It takes requests and answers none, then answers all of them late."""
    if scene.server is None or not scene.server_answers():
        return None
    seconds = rng.uniform(1, 8)
    scene.signal_server(signal.SIGSTOP)
    time.sleep(seconds)
    scene.signal_server(signal.SIGCONT)
    return f"tracking server for {seconds:.1f} s"


def node_lost(scene: Scene, rng: random.Random) -> str | None:
    if scene.cluster is None or not scene.kill_node():
        return None
    time.sleep(rng.uniform(0, 3))
    scene.add_node()
    return "a node, another joined"


def cluster_gone(scene: Scene, rng: random.Random) -> str | None:
    """With its head, while the launch lives."""
    if scene.cluster is None or scene.launch is None or scene.launch.poll() is not None:
        return None
    scene.stop_cluster()
    if scene.wait_for_launch(GRACE_SECONDS) is None:
        scene.kill_launch()
    scene.start_cluster()
    return "the whole cluster, another started"


LOCAL: dict[str, Fault] = {
    "actor killed": actor_killed,
    "actor paused": actor_paused,
    "launch killed": launch_killed,
    "machine rebooted": machine_rebooted,
    "index damaged": index_damaged,
    "launch interrupted": launch_interrupted,
    "launch stopped": launch_stopped,
    "launch taken over": launch_taken_over,
    "writer paused": writer_paused,
    "clock skewed": clock_skewed,
    "terminal closed": terminal_closed,
}
SERVED: dict[str, Fault] = {"server killed": server_killed, "server paused": server_paused}
CLUSTERED: dict[str, Fault] = {"node lost": node_lost, "cluster gone": cluster_gone}


def _comes_true(condition: Callable[[], object], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def _require_end(launch: subprocess.Popen[bytes], which: str) -> None:
    try:
        launch.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise Violated(f"a launch {which} did not end") from error


def _require_gentle_end(scene: Scene, by: str, training: Sequence[Running]) -> None:
    """What was in training has written a checkpoint of its last step; what was lost before could not."""
    live = [one for one in training if one.lives]
    code = scene.wait_for_launch(GRACE_SECONDS)
    left = scene.running()
    if code not in (0, 3):  # it may just have ended by itself
        raise Violated(f"a launch stopped by {by} ended with exit code {code}")
    if left:
        raise Violated(f"a launch stopped by {by} left {left[0].folder} RUNNING")
    for one in live:
        step, saved = scene.ledger.run(one.folder).read_state().step, scene.saved_step(one.folder)
        if saved is not None and saved != step:
            raise Violated(f"a launch stopped by {by} left {one.folder} at step {step}, its checkpoint at {saved}")

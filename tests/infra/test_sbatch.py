"""The Slurm script on two nodes that are this machine: Slurm's programs are stand-ins, Ray and the sweep are real.

`ray symmetric-run` refuses a machine on which Ray runs, and stops every Ray there. So its nodes have namespaces of
their own: of processes, and of networks with an address each. Only root can make these.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from held_sweep import HELD_AFTER_STEP, HOLD, held_sweep
from small_sweep import train_without_ray

import gga_sweep
from gga_sweep.ledger.lease import LAUNCHES, live_holder, reason_to_stop
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_reader import DETERMINISTIC
from gga_sweep.records import RunStatus

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

SCRIPT = Path(__file__).parents[2] / "infra" / "slurm" / "sweep.sbatch"
Undisturbed = Mapping[str, Mapping[str, bytes | None]]
MODULES = [*Path(__file__).parents[:3]]  # with the package of this checkout
PASSWORD = "for the driver alone"
HEAD, OTHER = "10.203.7.1", "10.203.7.2"

SRUN = r"""#!/usr/bin/env bash
# Runs a step as a process of this machine, or without --nodelist one on each node, in its namespaces.
# NODE.fault says what is wrong with a node.
while [[ "$1" == --* ]]; do
    [[ "$1" != --nodelist=* ]] || node=${1#*=}
    [[ "$1" != --output=* ]] || output=${1#*=}
    shift
done
step() { # NODE COMMAND...
    fault=$(cat "$SLURM_STANDINS/$1.fault" 2>/dev/null)
    if [ "$fault" = "does not come" ]; then exec sleep 1000; fi
    if [ "$fault" = "has another token" ]; then export RAY_AUTH_TOKEN=another RAY_NUM_REDIS_GET_RETRIES=2; fi
    exec "${@:2}"
}
[ -z "$node" ] || step "$node" "$@"
IFS=, read -ra nodes <<<"$SLURM_JOB_NODELIST"
tasks=()
for rank in "${!nodes[@]}"; do
    node=${nodes[rank]}
    SLURM_PROCID=$rank SLURMD_NODENAME=$node step "$node" ip netns exec "$node-$SLURM_JOB_ID" \
        unshare --pid --fork --kill-child --mount-proc "$@" >"${output//%N/$node}" 2>&1 &
    tasks+=($!)
done
trap 'for task in "${tasks[@]}"; do pkill -TERM --parent "$task" || kill -TERM "$task"; done' TERM
for task in "${tasks[@]}"; do
    while kill -0 "$task" 2>/dev/null; do wait "$task"; done
done
"""

SCONTROL = r"""#!/usr/bin/env bash
case "$1 $2" in
"show hostnames") printf '%s\n' ${3//,/ } ;;
"requeue $SLURM_JOB_ID") echo "$2" >>"$SLURM_STANDINS/requeued" ;;
*) exit 1 ;;
esac
"""


@dataclass
class Job:
    """A job of two nodes, alpha and beta, as Slurm would start it.

    Args:
        folder: for everything but what the script puts on the nodes' own disks.
        nodes: stands for the nodes' own disks.
    """

    folder: Path
    nodes: Path
    number: int
    symmetric: bool = False
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.standins = self.folder / "bin"
        self.standins.mkdir()
        for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
            (self.standins / name).write_text(text)
            (self.standins / name).chmod(0o755)
        self.file = self.folder / "held.yaml"
        self.file.write_text(yaml.safe_dump(held_sweep()))
        self.storage = self.folder / "storage"
        self.ledger = Ledger(self.storage / "held")
        self.hold = self.folder / "hold"
        self.log = self.folder / "job.log"
        self.job_folder = self.folder / f"gga-sweep-{self.number}"

    def break_node(self, name: str, fault: str) -> None:
        (self.standins / f"{name}.fault").write_text(fault)

    def submit(self, **variables: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
        environment |= {
            "SLURM_JOB_ID": str(self.number),
            "SLURM_JOB_NODELIST": "alpha,beta",
            "SLURM_SUBMIT_DIR": str(self.folder),
            "SLURM_CPUS_PER_TASK": "1",
            "SLURM_STANDINS": str(self.standins),
            "GGA_SWEEP_VENV": sys.prefix,
            "GGA_SWEEP_HEAD_IP": HEAD if self.symmetric else "127.0.0.1",
            "GGA_SWEEP_SHARED_NODES": "0" if self.symmetric else "1",
            "GGA_SWEEP_LOCAL_FOLDER": str(self.nodes),
            "MLFLOW_TRACKING_PASSWORD": PASSWORD,
            "PATH": f"{self.standins}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(map(str, MODULES)),
            "PYTHONDONTWRITEBYTECODE": "",
            # A node that is gone is missed after two seconds, not after a quarter of a minute.
            "RAY_health_check_period_ms": "500",
            "RAY_health_check_timeout_ms": "1000",
            "RAY_health_check_failure_threshold": "3",
            HOLD: str(self.hold),
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["bash", str(SCRIPT), str(self.file), "--storage", str(self.storage)],
                cwd=self.folder,
                env={**environment, **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def signal(self, number: int) -> None:
        """As Slurm does with `--signal=B:`: to the script alone, not to what it started."""
        assert self.process is not None
        self.process.send_signal(number)

    def end(self) -> int:
        assert self.process is not None
        return self.process.wait(240)

    def wait_until(self, what: Callable[[], object]) -> None:
        assert self.process is not None
        deadline = time.monotonic() + 200
        while not what():
            assert time.monotonic() < deadline, self.said()
            assert self.process.poll() is None, self.said()
            time.sleep(0.1)

    def held_runs(self) -> list[str]:
        """Those that have been evaluated once more and go no further."""
        runs = {name: self.ledger.run(name).read_records() for name in self.ledger.run_names()}
        return [name for name, records in runs.items() if records and records[-1].step >= HELD_AFTER_STEP]

    def trainers(self, raylet: int) -> list[int]:
        """The processes of a node that train a run."""
        attempts = (self.ledger.store.read(f"runs/{name}/attempts/000001") for name in self.ledger.run_names())
        pids = [json.loads(attempt)["pid"] for attempt in attempts if attempt is not None]
        return [pid for pid in self.processes() if parent_of(pid) == raylet and in_its_namespace(pid) in pids]

    def processes(self, *words: str) -> list[int]:
        """All that the script started, and of it what has each word in its command line."""
        assert self.process is not None
        lines = command_lines()
        return [pid for pid in in_session(self.process.pid, lines) if all(word in lines[pid] for word in words)]

    def leftovers(self) -> list[object]:
        """What a job that has ended must not leave. Workers end by themselves, once they miss their Ray."""
        token = self.job_folder / "token"
        deadline = time.monotonic() + 30
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return [*left, *self.nodes.iterdir(), *([token] if token.exists() else [])]

    def statuses(self) -> dict[str, RunStatus]:
        return {name: state.status for name, state in self.ledger.read_states(self.ledger.run_names()).items()}


def command_lines() -> Mapping[int, str]:
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found[int(path.parent.name)] = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return found


def in_session(leader: int, pids: Iterable[int]) -> list[int]:
    found = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(pid) == leader:
                found.append(pid)
    return found


def job_number() -> int:
    """One whose port is free: the script takes it from the job's number."""
    for port in range(20000 + os.getpid() % 9000, 30000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            return 40000 + port - 20000
    raise AssertionError("no port is free")


@contextlib.contextmanager
def networks(number: int) -> Iterator[None]:
    """Of two nodes, with a cable between them."""
    names = [f"{node}-{number}" for node in ("alpha", "beta")]
    if os.geteuid() or shutil.which("ip") is None:
        pytest.skip("needs root and iproute2: nodes get namespaces of their own")
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True)
        cable = f"link add e0 netns {names[0]} type veth peer name e0 netns {names[1]}"
        subprocess.run(["ip", *cable.split()], check=True)
        for name, address in zip(names, (HEAD, OTHER), strict=True):
            for setting in (f"addr add {address}/24 dev e0", "link set e0 up", "link set lo up"):
                subprocess.run(["ip", "-n", name, *setting.split()], check=True)
        yield
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)


@pytest.fixture(params=["symmetric", "node by node"])
def job(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Job]:
    with new_job(tmp_path, request.param == "symmetric") as found:
        yield found


@contextlib.contextmanager
def new_job(folder: Path, symmetric: bool) -> Iterator[Job]:
    nodes = Path(tempfile.mkdtemp(prefix="gga-n-", dir="/tmp"))  # a socket's path is short
    job = Job(folder, nodes, job_number(), symmetric)
    try:
        with networks(job.number) if symmetric else contextlib.nullcontext():
            yield job
            assert job.leftovers() == []
    finally:
        for pid in job.processes() if job.process is not None else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(nodes, ignore_errors=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """The deterministic files of each run, trained one after the other in this process."""
    file = tmp_path_factory.mktemp("undisturbed") / "held.yaml"
    file.write_text(yaml.safe_dump(held_sweep()))
    sweep = gga_sweep.load(file, storage=file.parent / "storage")
    train_without_ray(sweep)
    return deterministic_files(Ledger(sweep.folder))


def deterministic_files(ledger: Ledger) -> Undisturbed:
    return {name: {file: ledger.run(name).read_file(file) for file in DETERMINISTIC} for name in ledger.run_names()}


def differing(ledger: Ledger, undisturbed: Undisturbed) -> dict[str, tuple[bytes | None, bytes | None]]:
    """The files that are not those of the undisturbed runs."""
    found = deterministic_files(ledger)
    return {
        f"{run}/{file}": (found.get(run, {}).get(file), content)
        for run, files in undisturbed.items()
        for file, content in files.items()
        if found.get(run, {}).get(file) != content
    }


def test_before_the_time_is_up_runs_are_saved_and_the_job_goes_back_into_the_queue_until_the_sweep_has_ended(
    job: Job, undisturbed: Undisturbed
) -> None:
    job.hold.touch()
    job.submit()
    job.wait_until(lambda: len(job.held_runs()) == 2)  # one on each node: they have but one CPU
    held = job.held_runs()
    job.signal(signal.SIGUSR1)
    job.wait_until(lambda: asked_to_stop(job.ledger))
    job.hold.unlink()
    assert job.end() == 0, job.said()
    assert (job.standins / "requeued").read_text() == f"{job.number}\n"
    assert RunStatus.DONE not in job.statuses().values()
    assert all(job.ledger.run(name).read_checkpoint() for name in held)
    assert job.leftovers() == []

    job.submit()
    assert job.end() == 0, job.said()
    assert differing(job.ledger, undisturbed) == {}
    assert all(job.ledger.run(name).newest_attempt() == 2 for name in held)
    assert (job.standins / "requeued").read_text() == f"{job.number}\n"  # once
    assert not job.job_folder.exists()


def in_its_namespace(pid: int) -> int:
    """Its number in the innermost namespace."""
    (line,) = re.findall(r"^NSpid:.*", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(line.split()[-1])


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def asked_to_stop(ledger: Ledger) -> bool:
    holder = live_holder(ledger.store, LAUNCHES)
    return holder is not None and reason_to_stop(ledger.store, LAUNCHES, holder.number) is not None


def test_what_a_lost_node_trained_the_other_one_finishes(job: Job, undisturbed: Undisturbed) -> None:
    job.hold.touch()
    job.submit()
    job.wait_until(lambda: len(job.held_runs()) == 2)
    held = job.held_runs()
    check_credentials(job)
    (raylet,) = job.processes("raylet/raylet", "--node-name=beta")
    lost = {raylet, *job.trainers(raylet)}
    assert len(lost) == 2
    os.kill(raylet, signal.SIGKILL)
    job.wait_until(lambda: lost.isdisjoint(job.processes()))  # an actor notices a moment later, and trains meanwhile
    job.hold.unlink()
    assert job.end() == 0, job.said()
    assert differing(job.ledger, undisturbed) == {}
    assert sorted(job.ledger.run(name).newest_attempt() for name in held) == [1, 2]  # what the head trained, it ended


def check_credentials(job: Job) -> None:
    """While the sweep runs: the token is its owner's, and the tracking server's password the driver's."""
    token = job.job_folder / "token"
    assert (token.stat().st_mode & 0o777, job.job_folder.stat().st_mode & 0o777) == (0o600, 0o700)
    assert not any(token.read_text() in line for line in command_lines().values())
    raylets = job.processes("raylet/raylet")
    assert len(raylets) == 2
    for pid in raylets:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        assert b"RAY_AUTH_MODE=token" in environment
        assert not any(PASSWORD.encode() in variable for variable in environment)


def test_a_node_that_is_not_let_in_is_told_with_the_end_of_its_log(job: Job) -> None:
    job.break_node("beta", "has another token")
    job.submit()
    assert job.end() == 1
    assert "Ray ended on beta before the cluster stood" in job.said()
    assert not re.search("SIGTERM|Killed|Terminated", job.said())
    assert re.search(r"the end of \S+/beta\.log:\n(.*\n)*.*[Aa]uthentication", job.said())
    assert (job.job_folder / "beta.log").exists()
    assert not job.storage.exists()


def test_a_node_that_does_not_come_is_named_after_the_time_out(job: Job) -> None:
    job.break_node("beta", "does not come")
    job.submit(GGA_SWEEP_START_SECONDS="40")
    assert job.end() == 1
    missing = "Timed out waiting for other nodes" if job.symmetric else "not in the cluster after 40 s: beta\n"
    assert missing in job.said()
    assert not job.storage.exists()


@pytest.mark.parametrize(
    ("number", "variables"), [(signal.SIGTERM, {}), (signal.SIGUSR1, {"GGA_SWEEP_REQUEUE": "0"})], ids=["TERM", "USR1"]
)
def test_a_job_that_is_cancelled_or_may_not_be_requeued_ends_and_says_how_to_continue(
    number: int, variables: dict[str, str], job: Job
) -> None:
    for node in ("alpha", "beta"):
        job.break_node(node, "does not come")
    job.submit(**variables)
    job.wait_until(lambda: "2 nodes of 1 CPUs" in job.said())
    job.signal(number)
    assert job.end() == 3
    assert "to continue, submit the same command again" in job.said()
    assert not (job.standins / "requeued").exists()

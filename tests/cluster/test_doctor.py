"""Two nodes started by `ray start`, the second without the storage and with another version of the package."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from services import connects, free_port, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

ENVIRONMENT = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "MLFLOW_DISABLE_TELEMETRY": "true"}
LATE = "9.9.9"
DATASET = """
import torch
from gga_sweep.datasets import Dataset, Domain, digest_of_tensors

def dataset(config):
    labels = torch.arange(20) % 2
    ids = tuple(map(str, range(20)))
    domains = [Domain(name, torch.zeros(20, 1, 8, 8), labels, ids) for name in "ab"]
    return Dataset("zeros", ("even", "odd"), tuple(domains), digest_of_tensors(domains), normalise=False)
"""
SWEEP = """
name: of-two-nodes
dataset: {name: "only_on_the_head:dataset"}
arms: [{algorithm: ERM}]
training: {steps: 2, evaluate_every: 1}
defaults: {batch_size: 2}
resources: {cpus: CPUS}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage that the second node does not see: there another file system lies on it."""
    place = tmp_path_factory.mktemp("doctor")
    (place / "storage").mkdir()
    (place / "head").mkdir()
    (place / "head" / "only_on_the_head.py").write_text(DATASET)
    (place / "second" / f"gga_sweep-{LATE}.dist-info").mkdir(parents=True)
    (place / "second" / f"gga_sweep-{LATE}.dist-info" / "METADATA").write_text(f"Name: gga-sweep\nVersion: {LATE}\n")
    return place


@pytest.fixture(scope="module")
def address(place: Path) -> Iterator[str]:
    address = f"127.0.0.1:{free_port()}"
    ray = f"{Path(sys.executable).parent}/ray start --num-cpus=1 --object-store-memory=100000000 --block"
    with tempfile.TemporaryDirectory(prefix="d-", dir="/tmp", ignore_cleanup_errors=True) as disk:
        nodes = [
            _start(
                f"{ray} --head --node-ip-address=127.0.0.1 --port={address.partition(':')[2]} --temp-dir={disk}/1"
                " --node-name=first --include-dashboard=false",
                place / "head",
            )
        ]
        wait_for(lambda: connects(int(address.partition(":")[2])), seconds=60)
        hidden = f"mount -t tmpfs none {place / 'storage'}"
        second = f"{hidden} && exec {ray} --address={address} --temp-dir={disk}/2 --node-name=second"
        nodes.append(_start(f'unshare --map-root-user --mount sh -c "{second}"', place / "second"))
        _wait_for_nodes(address, 2)
        try:
            yield address
        finally:
            for node in nodes:
                node.terminate()
            for node in nodes:
                node.wait(30)


def test_what_the_second_node_lacks_is_told_with_what_to_do(address: str, place: Path) -> None:
    done = command("doctor", sweep_file(place), "--address", address, "--storage", str(place / "storage"), place=place)
    assert done.returncode == 1, done.stdout + done.stderr
    lines = [line.split(maxsplit=3) for line in done.stdout.splitlines()]
    faults = {line[1]: (line[2], line[3]) for line in lines if line[0] == "FAULT"}
    assert faults.keys() == {"versions", "storage", "images"}
    assert {where for where, _ in faults.values()} == {"second"}
    assert f"gga-sweep {LATE}, here " in faults["versions"][1]
    assert "it is another folder than here. Mount one folder at this path on every node" in faults["storage"][1]
    assert "only_on_the_head" in faults["images"][1]
    assert {line[1] for line in lines if line[0] == "note"} == {"tracking"}  # MLflow is a file of this machine
    assert "3 of " in done.stderr
    assert sorted(path.name for path in (place / "storage").iterdir()) == ["mlflow.db"]


def test_a_launch_there_is_refused_before_a_run_starts(address: str, place: Path) -> None:
    done = command("run", sweep_file(place), "--address", address, "--storage", str(place / "storage"), place=place)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "3 faults" in done.stderr
    for part in (f"gga-sweep {LATE}", "--storage: second: ", "dataset: second: "):
        assert part in done.stderr
    assert not (place / "storage" / "of-two-nodes" / "runs").exists()


def test_a_run_that_fits_on_no_node_is_refused_too(address: str, place: Path) -> None:
    storage = str(place / "storage")
    done = command("run", sweep_file(place, cpus=2), "--address", address, "--storage", storage, place=place)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "resources.cpus: no node has so many: the most is 1, got 2" in done.stderr


def test_an_address_that_nobody_answers_is_bad_input_in_words(place: Path) -> None:
    done = command("doctor", "--address", "127.0.0.1:9", "--storage", str(place / "storage"), place=place)
    assert done.returncode == 2
    assert "cannot join a Ray cluster at 127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr


def command(*words: str, place: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gga_sweep.cli", *words],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": str(place / "head"), "COLUMNS": "400"},
    )


def sweep_file(place: Path, cpus: int = 1) -> str:
    file = place / f"sweep-{cpus}.yaml"
    file.write_text(SWEEP.replace("CPUS", str(cpus)))
    return str(file)


def _start(words: str, module_folder: Path) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.Popen(
        ["bash", "-c", f"exec {words}"],
        env={**environment, **ENVIRONMENT, "PYTHONPATH": str(module_folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _wait_for_nodes(address: str, number: int) -> None:
    look = "import ray, sys; ray.init(sys.argv[1], logging_level='ERROR'); print(sum(n['Alive'] for n in ray.nodes()))"
    command, environment = [sys.executable, "-c", look, address], {**os.environ, **ENVIRONMENT}

    def all_there() -> bool:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        return done.stdout.strip() == str(number)

    wait_for(all_there, seconds=90)

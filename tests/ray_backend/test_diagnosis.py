"""What is said of a cluster, and what to do: from looks that are made up here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gga_sweep.ray_backend.diagnosis import (
    Finding,
    Level,
    diagnose,
    launch_faults,
    resource_faults,
    tracking_finding,
)
from gga_sweep.ray_backend.nodes import Look, Node
from gga_sweep.spec.models import ResourcesConfig

HERE = {"Python": "3.11.7", "gga-sweep": "0.1.0", "torch": "2.13.0"}
IMAGES = {"photo": 1670, "sketch": 3929}
STORAGE = Path("/shared/sweeps")
WELL = Look(versions=HERE, storage=None, cache=("/scratch", 10**12), clock=0.0, images=IMAGES, cuda="13.0")


def cluster(*looks: Look | None) -> list[Node]:
    return [Node(f"node-{number}", 8, 0, look) for number, look in enumerate(looks, 1)]


def bad(nodes: Sequence[Node], **asked: object) -> list[Finding]:
    findings = diagnose(nodes, HERE, STORAGE, **{"images": IMAGES, **asked})  # type: ignore[arg-type]
    return [found for found in findings if found.level is not Level.OK]


def test_a_cluster_that_is_well_has_one_line_a_check() -> None:
    findings = diagnose(cluster(WELL, WELL, WELL), HERE, STORAGE, ResourcesConfig(cpus=8), IMAGES, decoded=10**9)
    assert [found.check for found in findings] == ["versions", "storage", "images", "disk", "devices", "clocks"]
    assert {found.level for found in findings} == {Level.OK}
    assert {found.where for found in findings} == {"all nodes"}
    assert {found.remedy for found in findings} == {""}
    assert launch_faults(findings) == []


@pytest.mark.parametrize(
    ("look", "check", "said", "field"),
    [
        (replace(WELL, versions={**HERE, "torch": "2.12.1"}), "versions", "torch 2.12.1, here 2.13.0", "--address"),
        (replace(WELL, versions={"Python": "3.11.7"}), "versions", "gga-sweep missing, here 0.1.0", "--address"),
        (replace(WELL, storage="there is no such folder"), "storage", "/shared/sweeps: there is no such", "--storage"),
        (replace(WELL, images={}, images_missing="there is no folder /d"), "images", "no folder /d", "dataset"),
        (replace(WELL, images={"photo": 1670}), "images", "sketch has 0 images, here 3929", "dataset"),
        (replace(WELL, cache=("/scratch", 5)), "disk", "need 1.0 GB", "--address"),
    ],
)
def test_what_is_wrong_on_one_node_is_said_of_that_node_with_what_to_do(
    look: Look, check: str, said: str, field: str
) -> None:
    [found] = bad(cluster(WELL, look, WELL), decoded=10**9)
    assert (found.level, found.check, found.where) == (Level.FAULT, check, "node-2")
    assert said in found.said
    assert found.remedy.endswith(".")
    [fault] = launch_faults([found])
    assert fault.field == field
    assert "node-2: " in fault.rule
    assert found.remedy in fault.rule


def test_what_is_wrong_on_many_nodes_alike_is_said_once() -> None:
    away = replace(WELL, storage="there is no such folder")
    [found] = bad(cluster(WELL, away, away, away, away, away))
    assert found.where == "node-2, node-3, node-4 and 2 more"


def test_a_node_that_does_not_answer_is_named_with_its_reason() -> None:
    nodes = [*cluster(WELL), Node("node-2", 8, 0, None, "ModuleNotFoundError: No module named 'gga_sweep'")]
    [found] = bad(nodes)
    assert (found.check, found.where) == ("answer", "node-2")
    assert "No module named" in found.said
    assert "Install the package there" in found.remedy


@pytest.mark.parametrize(("ahead", "said"), [(42.0, "its clock is 42 s ahead"), (-7.4, "its clock is 7 s behind")])
def test_a_clock_that_is_off_is_told_and_keeps_no_launch(ahead: float, said: str) -> None:
    [found] = bad([*cluster(WELL), Node("node-2", 8, 0, WELL, clock_ahead=ahead)])
    assert (found.check, found.said) == ("clocks", said)
    assert launch_faults([found]) == []
    assert bad([Node("node-1", 8, 0, WELL, clock_ahead=4.9)]) == []


def test_little_room_is_a_note_and_too_little_a_fault() -> None:
    tight = replace(WELL, cache=("/scratch", 5 * 10**8))
    [found] = bad(cluster(tight))
    assert (found.level, found.check) == (Level.NOTE, "disk")
    assert "GGA_SWEEP_CACHE" in found.remedy
    [found] = bad(cluster(tight), decoded=6 * 10**8)
    assert found.level is Level.FAULT


def test_a_node_that_trains_nothing_needs_no_images() -> None:
    head = Node("head", 0, 0, replace(WELL, images={}, images_missing="there is no folder /d", cache=("/", 0)))
    assert bad([head, *cluster(WELL)]) == []


def test_a_torch_without_cuda_on_a_node_with_a_gpu_is_a_fault() -> None:
    devices = ("NVIDIA H100 80GB HBM3, 81559 MiB",)
    gpu = Node("node-1", 8, 4, replace(WELL, devices=devices))
    assert bad([gpu]) == []
    [found] = bad([replace(gpu, look=replace(WELL, devices=devices, cuda=None))])
    assert found.check == "devices"
    assert "8 CPUs, 4 GPUs (NVIDIA H100 80GB HBM3, 81559 MiB), but its torch knows no CUDA" in found.said


def test_a_run_that_fits_nowhere_is_a_fault_and_one_that_fits_somewhere_is_none() -> None:
    nodes = [{"CPU": 4.0}, {"CPU": 2.0, "GPU": 1.0}]
    assert resource_faults(nodes, ResourcesConfig(cpus=4)) == []
    assert resource_faults(nodes, ResourcesConfig(cpus=2, gpus=0.5)) == []
    [fault] = resource_faults(nodes, ResourcesConfig(cpus=5))
    assert str(fault) == "resources.cpus: no node has so many: the most is 4, got 5.0"
    [fault] = resource_faults(nodes[:1], ResourcesConfig(cpus=1, gpus=0.5))
    assert str(fault) == "resources.gpus: no node has so many: the most is 0, got 0.5"
    assert resource_faults(nodes, ResourcesConfig(gpus="auto")) == []
    [fault] = resource_faults(nodes[:1], ResourcesConfig(gpus="auto"))
    assert str(fault).startswith("resources.gpus: auto needs a GPU in the Ray cluster")
    [fault] = resource_faults(nodes, ResourcesConfig(cpus=4, gpus=1))
    assert str(fault) == "resources: no node has 4 CPUs and 1 GPUs together"
    assert [found.where for found in bad(cluster(WELL), resources=ResourcesConfig(gpus=1))] == ["the cluster"]


def test_mlflow_that_cannot_be_used_is_a_fault_and_a_file_of_one_node_a_note() -> None:
    away = tracking_finding("http://anna:s3cret@mlflow:5000", "ConnectionError: refused", nodes=2)
    assert (away.level, away.said) == (Level.FAULT, "http://***@mlflow:5000: ConnectionError: refused")
    file = tracking_finding("sqlite:////data/mlflow.db", None, nodes=2)
    assert file.level is Level.NOTE
    assert "nobody sees it from another node" in file.said
    assert tracking_finding("sqlite:////data/mlflow.db", None, nodes=1).level is Level.OK
    assert tracking_finding("http://mlflow:5000", None, nodes=9).said == "http://mlflow:5000 answers"

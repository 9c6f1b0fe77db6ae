"""The diagnosis of a cluster, from made-up reports of its nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gga_sweep.execution.diagnosis import (
    Finding,
    Level,
    diagnose,
    launch_faults,
    resource_faults,
)
from gga_sweep.execution.node_check import Node, NodeReport
from gga_sweep.spec.models import ResourcesConfig

HERE = {"Python": "3.11.7", "gga-sweep": "0.1.0", "torch": "2.13.0"}
IMAGES = {"photo": 1670, "sketch": 3929}
STORAGE = Path("/shared/sweeps")
WELL = NodeReport(versions=HERE, storage_fault=None, cache=("/scratch", 10**12), clock=0.0, images=IMAGES, cuda="13.0")


def cluster(*reports: NodeReport | None) -> list[Node]:
    return [Node(f"node-{number}", 8, 0, report) for number, report in enumerate(reports, 1)]


def bad(nodes: Sequence[Node], **asked: object) -> list[Finding]:
    findings = diagnose(nodes, HERE, STORAGE, **{"images": IMAGES, **asked})  # type: ignore[arg-type]
    return [found for found in findings if found.level is not Level.OK]


def test_a_healthy_cluster_has_one_finding_a_check() -> None:
    findings = diagnose(cluster(WELL, WELL, WELL), HERE, STORAGE, ResourcesConfig(cpus=8), IMAGES, decoded=10**9)
    assert [found.check for found in findings] == ["versions", "storage", "images", "disk", "devices", "clocks"]
    assert {found.level for found in findings} == {Level.OK}
    assert {found.where for found in findings} == {"all nodes"}
    assert {found.remedy for found in findings} == {""}
    assert launch_faults(findings) == []


@pytest.mark.parametrize(
    ("report", "check", "text", "field"),
    [
        (replace(WELL, versions={**HERE, "torch": "2.12.1"}), "versions", "torch 2.12.1, here 2.13.0", "--address"),
        (replace(WELL, versions={"Python": "3.11.7"}), "versions", "gga-sweep missing, here 0.1.0", "--address"),
        (
            replace(WELL, storage_fault="there is no such folder"),
            "storage",
            "/shared/sweeps: there is no such",
            "--storage",
        ),
        (replace(WELL, images={}, images_fault="there is no folder /d"), "images", "no folder /d", "dataset"),
        (replace(WELL, images={"photo": 1670}), "images", "sketch has 0 images, here 3929", "dataset"),
        (replace(WELL, cache=("/scratch", 5)), "disk", "1.0 GB needed", "--address"),
    ],
)
def test_a_fault_of_one_node_names_the_node_and_a_remedy(report: NodeReport, check: str, text: str, field: str) -> None:
    [found] = bad(cluster(WELL, report, WELL), decoded=10**9)
    assert (found.level, found.check, found.where) == (Level.FAULT, check, "node-2")
    assert text in found.text
    assert found.remedy.endswith(".")
    [fault] = launch_faults([found])
    assert fault.field == field
    assert "node-2: " in fault.rule
    assert found.remedy in fault.rule


def test_equal_faults_of_many_nodes_are_merged() -> None:
    away = replace(WELL, storage_fault="there is no such folder")
    [found] = bad(cluster(WELL, away, away, away, away, away))
    assert found.where == "node-2, node-3, node-4 and 2 more"


def test_a_node_without_answer_is_a_fault_with_its_reason() -> None:
    nodes = [*cluster(WELL), Node("node-2", 8, 0, None, "ModuleNotFoundError: No module named 'gga_sweep'")]
    [found] = bad(nodes)
    assert (found.check, found.where) == ("answer", "node-2")
    assert "No module named" in found.text
    assert "Install the package there" in found.remedy


@pytest.mark.parametrize(("ahead", "text"), [(42.0, "its clock is 42 s ahead"), (-7.4, "its clock is 7 s behind")])
def test_a_wrong_clock_is_noted_and_prevents_no_launch(ahead: float, text: str) -> None:
    [found] = bad([*cluster(WELL), Node("node-2", 8, 0, WELL, clock_ahead=ahead)])
    assert (found.level, found.check, found.text) == (Level.NOTE, "clocks", text)
    assert launch_faults([found]) == []
    assert bad([Node("node-1", 8, 0, WELL, clock_ahead=4.9)]) == []


def test_little_disk_space_is_a_note_and_too_little_a_fault() -> None:
    tight = replace(WELL, cache=("/scratch", 5 * 10**8))
    [found] = bad(cluster(tight))
    assert (found.level, found.check) == (Level.NOTE, "disk")
    assert "GGA_SWEEP_CACHE" in found.remedy
    [found] = bad(cluster(tight), decoded=6 * 10**8)
    assert found.level is Level.FAULT


def test_a_node_without_cpus_needs_no_images() -> None:
    head = Node("head", 0, 0, replace(WELL, images={}, images_fault="there is no folder /d", cache=("/", 0)))
    assert bad([head, *cluster(WELL)]) == []


def test_a_torch_without_cuda_on_a_node_with_a_gpu_is_a_fault() -> None:
    devices = ("NVIDIA H100 80GB HBM3, 81559 MiB",)
    gpu = Node("node-1", 8, 4, replace(WELL, devices=devices))
    assert bad([gpu]) == []
    [found] = bad([replace(gpu, report=replace(WELL, devices=devices, cuda=None))])
    assert found.check == "devices"
    assert "8 CPUs, 4 GPUs (NVIDIA H100 80GB HBM3, 81559 MiB), but PyTorch there lacks CUDA support" in found.text


def test_a_run_that_fits_on_no_node_is_a_fault() -> None:
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

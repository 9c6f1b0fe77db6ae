"""Runs `check_node` on every node of the Ray cluster."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.execution.node_check import PACKAGES, Node, NodeCheck, NodeReport, check_node, storage_marker
from gga_sweep.ledger.open_store import open_store
from gga_sweep.spec.location import Location

_TIMEOUT_SECONDS = 90.0
"""The first task of a node waits until Ray has started a process there."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """A node's report, or why there is none; and the seconds that its clock is ahead, at least."""

    report: NodeReport | None = None
    error: str | None = None
    clock_ahead: float = 0.0


def check_nodes(
    storage: Location,
    dataset: DatasetConfig | None = None,
    gpus: bool = False,
    packages: tuple[str, ...] = PACKAGES,
) -> tuple[Node, ...]:
    """Check each live node of the running Ray cluster; the head node comes first.

    Args:
        storage, dataset, gpus, packages: as in `NodeCheck`.

    Raises:
        StorageError: the storage cannot be written here.
    """
    alive = [node for node in ray.nodes() if node["Alive"]]
    alive.sort(key=lambda node: ("node:__internal_head__" not in node["Resources"], node["NodeName"]))
    with storage_marker(storage) as marker:
        check = NodeCheck(storage, marker, dataset, gpus, packages)
        tasks = {node["NodeID"]: (time.time(), _start(node["NodeID"], check)) for node in alive}
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        answers = {node_id: _wait_for(*task, deadline) for node_id, task in tasks.items()}
        written = set(open_store(storage).list(f"{marker}.d"))
    return tuple(_node(node, answers[node["NodeID"]], node["NodeID"] in written) for node in alive)


def on_node(task: Any, node_id: str) -> Any:
    """A Ray task that runs on this node alone."""
    return task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False))


def _start(node_id: str, check: NodeCheck) -> Any:
    task = ray.remote(num_cpus=0, max_retries=0)(_check_here)
    return on_node(task, node_id).remote(node_id, check)


def _check_here(node_id: str, check: NodeCheck) -> NodeReport:
    """Runs on the node; leaves a file that every other node should see."""
    report = check_node(check)
    if report.storage_fault is None:
        open_store(check.storage).replace(f"{check.marker}.d/{node_id}", b"")
    return report


def _wait_for(started: float, task: Any, deadline: float) -> _Answer:
    try:
        report: NodeReport = ray.get(task, timeout=max(0.1, deadline - time.monotonic()))
    except ray.exceptions.GetTimeoutError:
        return _Answer(error=f"no answer within {_TIMEOUT_SECONDS:.0f} s")
    except (ray.exceptions.RayError, ImportError) as error:
        return _Answer(error=str(error).strip().splitlines()[-1])
    # The node read its clock between `started` and now.
    return _Answer(report, None, max(0.0, report.clock - time.time()) + min(0.0, report.clock - started))


def _node(described: Mapping[str, Any], answer: _Answer, wrote: bool) -> Node:
    resources, report = described["Resources"], answer.report
    if report is not None and report.storage_fault is None and not wrote:
        report = replace(report, storage_fault="files written there are not visible here")
    cpus, gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
    return Node(described["NodeName"], cpus, gpus, report, answer.error, answer.clock_ahead)

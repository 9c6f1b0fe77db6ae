"""The checks of several nodes, which all run in this process. With real nodes: tests/cluster/test_doctor.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ray

from gga_sweep.execution.node_check import NodeCheck, NodeReport, check_node
from gga_sweep.ray_backend import nodes
from gga_sweep.ray_backend.nodes import check_nodes


def described(name: str, alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"NodeID": name, "NodeName": name, "Alive": alive, "Resources": {"CPU": 4.0, **resources}}


def answer(task: tuple[str, NodeCheck], timeout: float) -> NodeReport:
    name, check = task
    if name == "slow":
        raise ray.exceptions.GetTimeoutError
    if name == "bare":
        raise ModuleNotFoundError("The remote function failed to import.\nNo module named 'gga_sweep'")
    return check_node(check) if name == "apart" else nodes._check_here(name, check)


def test_nodes_are_checked_head_first_and_each_with_its_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [described("apart"), described("bare"), described("gone", alive=False), described("slow", GPU=2.0)]
    monkeypatch.setattr(ray, "nodes", lambda: [*found, described("zed", **{"node:__internal_head__": 1.0})])
    monkeypatch.setattr(nodes, "_start", lambda name, check: (name, check))
    monkeypatch.setattr(ray, "get", answer)
    head, apart, bare, slow = check_nodes(tmp_path)
    assert [node.name for node in (head, apart, bare, slow)] == ["zed", "apart", "bare", "slow"]
    assert head.report is not None
    assert (head.report.storage_fault, head.error) == (None, None)
    assert abs(head.clock_ahead) < 1
    assert apart.report is not None
    assert apart.report.storage_fault == "files written there are not visible here"
    assert (bare.report, bare.error) == (None, "No module named 'gga_sweep'")
    assert (slow.report, slow.error) == (None, "no answer within 90 s")
    assert (slow.cpus, slow.gpus) == (4.0, 2.0)
    assert list(tmp_path.iterdir()) == []

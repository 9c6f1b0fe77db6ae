"""The end of a sweep leaves the garbage collector as it was."""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any

import pytest

from gga_sweep.errors import StorageError
from gga_sweep.ray_backend import sweep_end


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_the_collector_is_paused_and_then_as_it_was(
    monkeypatch: pytest.MonkeyPatch, enabled: bool, fails: bool
) -> None:
    paused = []

    def make_report(*arguments: Any) -> Any:
        paused.append(not gc.isenabled())
        if fails:
            raise StorageError("no space left")
        return SimpleNamespace(table=None)

    monkeypatch.setattr(sweep_end, "make_report", make_report)
    monkeypatch.setattr(sweep_end, "write_report", lambda *arguments: {})
    monkeypatch.setattr(sweep_end, "link_page", lambda *arguments: None)
    projector: Any = SimpleNamespace(close=lambda *arguments: True, pages={})
    plan: Any = None
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        if fails:
            with pytest.raises(StorageError):
                sweep_end.end_sweep(plan, plan, projector)
        else:
            assert sweep_end.end_sweep(plan, plan, projector).tracked
        assert (paused, gc.isenabled()) == ([True], enabled)
    finally:
        (gc.enable if before else gc.disable)()

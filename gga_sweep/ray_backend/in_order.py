"""A Tune searcher that suggests the runs of a `RunSource` in their order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from gga_sweep.ledger.lease import Lease
from gga_sweep.ray_backend.trainable import as_parameter
from gga_sweep.ray_backend.tune_names import NEXT, PROGRESS_STEP, RUN
from gga_sweep.scheduling.next_runs import RunSource
from gga_sweep.spec import PlannedRun


class InOrder(Searcher):  # type: ignore[misc]  # ray is untyped
    """Suggests the runs of a source one by one. All its state can be rebuilt from the ledger.

    Args:
        source: of the runs.
        lease: of the launch; after a stop request no run is suggested.
        on_run: called with each run before it is suggested.
    """

    def __init__(self, source: RunSource, lease: Lease, on_run: Callable[[PlannedRun], None]) -> None:
        super().__init__()
        self._source, self._lease, self._on_run = source, lease, on_run
        self._keys: dict[str, str] = {}

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return Searcher, ()  # Tune pickles its searcher; we never restore it

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self._lease.reason is not None or self._source.exhausted:
            return str(Searcher.FINISHED)
        following = self._source.take()
        if following is None:
            return None
        self._on_run(following.run)
        self._keys[trial_id] = following.run.key
        return {RUN: following.run.key, NEXT: as_parameter(following)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if trial_id in self._keys and PROGRESS_STEP in result:
            self._source.reached(self._keys[trial_id], result[PROGRESS_STEP] + 1)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self.on_trial_result(trial_id, result or {})
        if (key := self._keys.pop(trial_id, None)) is not None:
            self._source.ended(key)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: see `__reduce__`."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `__reduce__`."""

"""What must hold whatever breaks: while a sweep runs, and once it has ended."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from typing import Any

from scene import Running, Scene

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_reader import DETERMINISTIC
from gga_sweep.records import FINAL

LONGEST_LOSS_SECONDS = 180.0
"""What one kill may cost, beside the annealed step that a run is in."""


@dataclass
class Watch:
    """Looks at a ledger again and again while it is broken.

    Args:
        ended: of each run that was seen final, the attempt and the digests it ended with.
        broken: promises that were broken, in words.
        longest_loss: seconds of training without a checkpoint, of any run at any kill.
    """

    ended: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    longest_loss: float = 0.0

    def begin_round(self) -> None:
        """On an empty storage: nothing has ended there."""
        self.ended.clear()

    def look(self, scene: Scene) -> None:
        states = scene.states()
        for name, (attempt, digests) in self.ended.items():
            state = states.get(name)
            if state is None or state.status not in FINAL:
                self._tell(f"lost: {name} was finished, and is {'gone' if state is None else state.status}")
            elif state.digests != digests:
                self._tell(f"changed: {name}")
            if scene.ledger.run(name).newest_attempt() != attempt:
                self._tell(f"done twice: {name}")
        for name, state in states.items():
            if state.status in FINAL and name not in self.ended:
                self.ended[name] = (scene.ledger.run(name).newest_attempt(), state.digests)

    def note_loss(self, running: list[Running]) -> None:
        """Of a kill to come."""
        self.longest_loss = max([self.longest_loss, *(one.unsaved_seconds for one in running)])

    def _tell(self, words: str) -> None:
        if words not in self.broken:
            self.broken.append(words)


def differences(reference: Ledger, other: Ledger) -> list[str]:
    """Where the deterministic files and the tables of two sweeps differ, in words."""
    found = []
    names = reference.run_names()
    if names != other.run_names():
        found.append(f"runs: {set(names) ^ set(other.run_names())}")
    for name in names:
        mine, theirs = reference.run(name), other.run(name)
        if mine.read_state().status is not theirs.read_state().status:
            found.append(f"{name}: {theirs.read_state()}")
        found += [f"{name}: {file}" for file in DETERMINISTIC if mine.read_file(file) != theirs.read_file(file)]
    for table in ("table.csv", "chosen.yaml"):
        if _stable(reference, table) != _stable(other, table):
            found.append(table)
    return found


def _stable(ledger: Ledger, table: str) -> object:
    """A table without what a stopwatch told."""
    text = (ledger.store.read(table) or b"").decode()
    if not table.endswith(".csv"):
        return text
    rows = csv.DictReader(io.StringIO(text))
    return [row for row in rows if row["kind"] != "cost" and "seconds" not in row["quantity"]]


def tracking_differences(reference: dict[str, Any], other: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Of what two stores show (`store_content`): what the other lacks or shows otherwise, and what it shows twice."""
    lost, doubled = [], [fault for fault in other["faults"] if not fault.startswith("summary")]
    for place in reference["children"].keys() | other["children"].keys():
        mine, theirs = reference["children"].get(place), other["children"].get(place)
        if mine is None or theirs is None:
            lost.append(f"child {place} is {'not expected' if mine is None else 'missing'}")
            continue
        lost += [
            f"{part} of child {place}: {theirs[part]}, expected {mine[part]}"
            for part in ("status", "params", "tags")
            if mine[part] != theirs[part]
        ]
        for key in mine["metrics"].keys() | theirs["metrics"].keys():
            expected, shown = set(mine["metrics"].get(key, ())), set(theirs["metrics"].get(key, ()))
            lost += [f"point {point} of {key} of child {place}" for point in expected - shown]
            doubled += [f"point {point} of {key} of child {place} was not expected" for point in shown - expected]
    for place in reference["summaries"].keys() | other["summaries"].keys():
        if _last_values(reference["summaries"].get(place)) != _last_values(other["summaries"].get(place)):
            lost.append(f"summary {place}")
    if (reference["parent"] or {}).get("status") != (other["parent"] or {}).get("status"):
        lost.append(f"status of the parent: {(other['parent'] or {}).get('status')}")
    return lost, doubled


def _last_values(summary: dict[str, Any] | None) -> object:
    """A summary changes while a sweep grows: what it shows in the end counts."""
    if summary is None:
        return None
    last = {key: max(points, key=lambda point: point[1])[2] for key, points in summary["metrics"].items()}
    return summary["status"], summary["params"], last

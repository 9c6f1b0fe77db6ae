"""Decides which runs may start, so that steps that several of them have in common are trained once.

A trunk is a group of runs that differ only in their annealing. The first of them to start is trained to its end. At
each step where another run departs from it, it saves a prefix for that run, which waits for it. Without waiting, the
other run would train the same steps itself, so it ends no later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations

from gga_sweep.ledger.prefix_names import Branching
from gga_sweep.scheduling.shared_steps import prefix_name, steps_alike, trunk_of, window_of
from gga_sweep.spec import Contents, PlannedRun
from gga_sweep.spec.models import RunSpec


@dataclass(slots=True)
class _Training:
    """A run in training.

    Args:
        steps: how many are done, as far as it is known.
        left: the prefixes that it saves, as in `Branching`.
    """

    left: Mapping[int, str]
    steps: int = 0


@dataclass(slots=True)
class _Trunk:
    """Runs that differ in nothing but their annealing, by key.

    Args:
        configs: of all of them.
        waiting: runs to be trained.
        training: runs in training.
        known: names of the prefixes that were saved for them, or will be.
    """

    configs: dict[str, RunSpec] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)
    training: dict[str, _Training] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)


class PrefixSharing:
    """Tracks the runs of one launch and the prefixes in its ledger.

    Args:
        contents: digests the runs are planned with.
        present: names of the prefixes that the ledger holds.
        open_ended: arms that will get more runs which differ only in their annealing.
    """

    def __init__(self, contents: Contents, present: Iterable[str], open_ended: Iterable[str] = ()) -> None:
        self._contents = contents
        self._present = set(present)
        self._open_ended = frozenset(open_ended)
        self._trunks: dict[str, _Trunk] = {}
        self._trunk_of: dict[str, _Trunk] = {}
        self._arms: dict[str, str] = {}

    def add(self, run: PlannedRun, waits: bool) -> None:
        """Add a run.

        Args:
            waits: whether it is still to be trained.
        """
        key = run.key
        if key not in self._trunk_of:
            trunk = self._trunks.setdefault(trunk_of(run.config), _Trunk())
            self._trunk_of[key] = trunk
            trunk.configs[key] = run.config
            self._arms[key] = run.cell.arm
        if waits:
            self._trunk_of[key].waiting.add(key)

    @property
    def has_shared(self) -> bool:
        """Whether two known runs have steps in common, or later runs will."""
        return bool(self._open_ended) or any(
            steps_alike(*pair) > 0
            for trunk in self._trunks.values()
            for pair in combinations(trunk.configs.values(), 2)
        )

    def blocker(self, key: str) -> str | None:
        """The run in training that will save a longer prefix for a waiting run than any in the ledger."""
        trunk = self._trunk_of[key]
        for steps, name in self._prefixes(key, trunk.configs):
            if name in self._present:
                return None
            for other, training in trunk.training.items():
                if training.steps < steps and training.left.get(steps) == name:
                    return other
        return None

    def begin(self, key: str) -> Branching:
        """Start a waiting run. Returns the prefixes it may start from, and those it saves for waiting runs."""
        trunk = self._trunk_of[key]
        trunk.waiting.discard(key)
        there = [(steps, name) for steps, name in self._prefixes(key, trunk.configs) if name in self._present]
        begun = max((steps for steps, _ in there), default=0)
        left = {steps: name for steps, name in self._prefixes(key, trunk.waiting, self._open_end(key)) if steps > begun}
        trunk.training[key] = _Training(left)
        trunk.known.update(left.values(), (name for _, name in there))
        return Branching(tuple(name for _, name in there), left)

    def reached(self, key: str, steps: int) -> bool:
        """Note that a run has trained `steps` steps. Returns whether it saved a prefix since the last call."""
        training = self._trunk_of[key].training.get(key)
        if training is None:
            return False
        new = [name for at, name in training.left.items() if training.steps < at <= steps]
        training.steps = max(training.steps, steps)
        self._present.update(new)
        return bool(new)

    def ended(self, key: str) -> list[str]:
        """Note that a run is no longer trained. Returns the prefixes that no run of its trunk needs any more."""
        trunk = self._trunk_of[key]
        trunk.training.pop(key, None)
        if trunk.waiting or trunk.training or any(self._arms[other] in self._open_ended for other in trunk.configs):
            return []
        self._present -= trunk.known
        return sorted(trunk.known)

    def _prefixes(self, key: str, others: Iterable[str], further: Iterable[int] = ()) -> Iterator[tuple[int, str]]:
        """Steps that a run has in common with others, the most first, and the names of these prefixes."""
        own = self._trunk_of[key].configs[key]
        alike = {steps_alike(own, self._trunk_of[key].configs[other]) for other in others if other != key}
        for steps in sorted({*alike, *further} - {0}, reverse=True):
            yield steps, prefix_name(own, steps, self._contents)

    def _open_end(self, key: str) -> tuple[int, ...]:
        """The steps at which later runs will depart."""
        window = window_of(self._trunk_of[key].configs[key])
        return (window.start,) if self._arms[key] in self._open_ended and window.start < window.end else ()

"""Counts the inputs that all fuzz tests of a session tried."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest
from mangle import CASES, FEW, MOST_MEMORY, Tally

_TIMEOUT = 120


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long form needs longer."""
    for item in items:
        if item.path.parent.name == "fuzz" and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(max(_TIMEOUT, _TIMEOUT * CASES // FEW)))


@pytest.fixture(autouse=True)
def tally(request: pytest.FixtureRequest) -> Iterator[None]:
    Tally.tried = Tally.foreign = Tally.hangs = 0
    before = _peak()
    yield
    if Tally.tried:
        counts = (Tally.tried, Tally.foreign, Tally.hangs, _peak(), _peak() - before)
        request.node.user_properties.append(("mangled inputs", counts))
    assert _peak() - before <= MOST_MEMORY


def _peak() -> int:
    """Bytes of this process at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for found in terminalreporter.stats.values() for report in found]
    counts = [
        count
        for report in reports
        if getattr(report, "when", None) == "teardown"
        for name, count in report.user_properties
        if name == "mangled inputs"
    ]
    if counts:
        tried, foreign, hangs = (sum(column) for column in list(zip(*counts, strict=True))[:3])
        peak, added = (max(count[place] for count in counts) / 2**20 for place in (3, 4))
        found = f"foreign tracebacks: {foreign:,}, hangs: {hangs:,}, memory: {peak:,.0f} MiB, {added:,.0f} by one test"
        terminalreporter.write_line(f"mangled inputs tried: {tried:,}, {found}")

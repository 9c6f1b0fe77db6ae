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
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if Tally.tried:
        request.node.user_properties.append(("mangled inputs", (Tally.tried, Tally.foreign, Tally.hangs, peak)))
    if CASES > FEW:  # else other tests of the session count too
        assert peak <= MOST_MEMORY


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
        peak = max(count[3] for count in counts) / 2**20
        found = f"foreign tracebacks: {foreign:,}, hangs: {hangs:,}, memory: {peak:,.0f} MiB"
        terminalreporter.write_line(f"mangled inputs tried: {tried:,}, {found}")

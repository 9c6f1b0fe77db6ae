"""Whatever a store does to single requests: in the end it shows the ledger, once."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from invented_ledger import finish, invented_plan, invented_table, progress, start
from memory_store import FAULTS, LATE_SECONDS, MemoryStore
from stores import content_of, store_content

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_folder import LEFT_RUNNING
from gga_sweep.records import RunStatus
from gga_sweep.spec import Plan
from gga_sweep.tracking.projector import Projector

QUICK = {"pause": 0.0, "retry_after": 0.002, "settle": 2 * LATE_SECONDS}
SERVER = "http://host:5000"
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # where syncing a file takes no time

schedules = st.lists(st.tuples(st.integers(0, 8), st.sampled_from(FAULTS)), max_size=20)
"""After so many good requests, that fault; and so on."""


def faulty(store: MemoryStore, schedule: list[tuple[int, str]]) -> Callable[[str], Any]:
    """Connects to a store that fails so."""
    faults: Iterator[str | None] = chain.from_iterable(chain(repeat(None, good), [fault]) for good, fault in schedule)
    return lambda uri: store.connect(uri, faults)


def small_plan(folder: Path) -> Plan:
    return invented_plan(folder, test_domains=["0"])


def undisturbed(plan: Plan, ledger: Ledger) -> dict[str, Any]:
    store = MemoryStore()
    assert Projector(plan, ledger, SERVER, connect=store.connect, **QUICK).close(30, invented_table(plan, ledger))
    return content_of(store.connect(), plan.sweep.folder, volatile=True)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schedules, schedules, st.booleans())
def test_whatever_happens_to_requests_the_store_ends_as_an_undisturbed_one(
    first: list[tuple[int, str]], second: list[tuple[int, str]], closed: bool
) -> None:
    two_launches_among_faults(first, second, closed)


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schedules, schedules, st.booleans())
def test_whatever_happens_to_requests_the_store_ends_as_an_undisturbed_one_many_times(
    first: list[tuple[int, str]], second: list[tuple[int, str]], closed: bool
) -> None:
    two_launches_among_faults(first, second, closed)


def two_launches_among_faults(first: list[tuple[int, str]], second: list[tuple[int, str]], closed: bool) -> None:
    """One that ends or dies, then another, while the runs train."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        plan = small_plan(Path(folder))
        ledger, store = Ledger(plan.sweep.folder), MemoryStore()
        done, stopped, failed, late = plan.runs
        with Projector(plan, ledger, SERVER, connect=faulty(store, first), **QUICK) as projector:
            finish(ledger, done)
            projector.wake(str(done.folder))
            taken_up = start(ledger, stopped)
            progress(taken_up, stopped, 2)
            projector.wake(taken_up.name)
            if closed:
                taken_up.write_state(RunStatus.PREEMPTED, 2, "asked to stop")
                projector.close(0.1)
        if not closed:
            taken_up.mark(RunStatus.PREEMPTED, LEFT_RUNNING)
        with Projector(plan, ledger, SERVER, connect=faulty(store, second), **QUICK) as projector:
            progress(start(ledger, stopped), stopped, 3)
            projector.wake(taken_up.name)
            finish(ledger, stopped)
            finish(ledger, failed, RunStatus.FAILED, evaluations=1, reason="a reason")
            finish(ledger, late, RunStatus.DIVERGED, evaluations=2)
            assert projector.close(30, invented_table(plan, ledger))
        store.settle(everything=True)
        shown = content_of(store.connect(), plan.sweep.folder, volatile=True)
        assert shown["faults"] == []
        assert shown == undisturbed(plan, ledger)
        assert len(shown["children"]) == 4
        assert shown["parent"]["status"] == "FAILED"


def test_the_store_in_memory_shows_what_a_real_one_shows(plan: Plan, ledger: Ledger, uri: str) -> None:
    for run in plan.runs[:-1]:
        finish(ledger, run)
    progress(start(ledger, plan.runs[-1]), plan.runs[-1], 2)
    assert Projector(plan, ledger, uri, **QUICK).close(60, invented_table(plan, ledger))
    assert undisturbed(plan, ledger) == store_content(uri, plan.sweep.folder, volatile=True)


@pytest.mark.parametrize("fault", FAULTS)
def test_every_kind_of_fault_is_felt(fault: str, plan: Plan, ledger: Ledger) -> None:
    """So that the property above is about something: a projection alone, not repeated, ends with each."""
    from gga_sweep.tracking.projection import Projection

    with pytest.raises(OSError):  # noqa: PT011  whatever a connection raises
        Projection(MemoryStore().connect("", iter([None] * 5 + [fault])), plan.sweep, ledger, 0.0)


@pytest.mark.parametrize("ending", [True, False])
def test_some_seconds_after_an_outage_what_was_carried_out_late_is_found(
    ending: bool, plan: Plan, ledger: Ledger
) -> None:
    """At the end of a sweep, and while it goes on."""
    store, left = MemoryStore(late_seconds=3600), list[int]()
    for run in plan.runs:
        finish(ledger, run)
    connect = faulty(store, [(8, "late"), (5, "late")])  # the first run is made twice
    options = {**QUICK, "settle": 1.0, "heard": left.append}
    with Projector(plan, ledger, SERVER, connect=connect, **options) as projector:
        wait_for(lambda: 0 in left)  # all is shown
        assert store.late
        store.settle(everything=True)
        if ending:
            assert projector.close(30)
        else:
            wait_for(lambda: left.count(0) == 2)
        assert content_of(store.connect(), plan.sweep.folder)["faults"] == []


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)

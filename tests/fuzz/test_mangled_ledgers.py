"""Mangled ledgers: every file of a sweep's folder, every reader: an error of ours or an answer, no other traceback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mangle import as_json, fuzzed, mangled_bytes, mangled_data, only_our_errors, put_foreign, remove

from gga_sweep.execution.model import load_model
from gga_sweep.execution.verify import verify
from gga_sweep.ledger.lease import LAUNCHES, held, live_holder, newest_holder
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.searched_runs import keep_searched
from gga_sweep.ledger.stored_sweep import read_plan
from gga_sweep.report.files import render
from gga_sweep.report.make_report import make_report
from gga_sweep.report.status import read_states, read_work, status_picture
from gga_sweep.scheduling.remaining import unfinished
from gga_sweep.spec import SweepSpec

FORMATS = ("text", "csv", "json")


class Opened:
    """A sweep's folder whose files can be mangled, and made whole again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = Ledger(folder)
        self._whole = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        self.files = sorted(path.relative_to(folder).as_posix() for path in self._whole if path.suffix != ".html")

    def mend(self) -> None:
        for path in [path for path in self.folder.rglob("*") if path.is_file() and path not in self._whole]:
            path.unlink()
        for path, content in self._whole.items():
            if path.is_symlink() or not path.is_file() or path.stat().st_size != len(content):
                remove(path)
            if not path.exists() or path.read_bytes() != content:
                path.write_bytes(content)


@pytest.fixture(scope="module")
def opened(trained: SweepSpec, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """With every kind of file: launches, an index, runs in all states, a run that a searcher added."""
    import shutil

    folder = tmp_path_factory.mktemp("mangled") / "digits"
    shutil.copytree(trained.folder, folder)
    plan, ledger = read_plan(folder), Ledger(folder)
    make_report(plan, ledger)  # makes the index
    with held(ledger.store):
        pass
    keep_searched(ledger, plan.runs[0])
    return Opened(folder)


@pytest.fixture(autouse=True)
def mended(opened: Opened) -> Iterator[None]:
    opened.mend()
    yield
    opened.mend()


def readings(opened: Opened) -> list[Callable[[], object]]:
    """All that a command reads of a sweep's folder."""
    folder, ledger = opened.folder, opened.ledger

    def report() -> None:
        found = make_report(read_plan(folder), ledger)
        for report_format in FORMATS:
            render(report_format, found, ledger)

    def status() -> None:
        plan = read_plan(folder)
        status_picture(plan, read_states(plan, ledger), read_work(ledger))

    def models() -> None:
        for name in ledger.run_names():
            load_model(ledger.run(name))

    return [
        report,
        status,
        models,
        lambda: verify(ledger, partial(read_plan, folder)),
        lambda: (newest_holder(ledger.store, LAUNCHES), live_holder(ledger.store, LAUNCHES)),
        lambda: unfinished(
            read_plan(folder),
            ledger,
            {name: run.state for name, run in ledger.read_results(ledger.run_names()).items()},
        ),  # the last: it marks what it finds
    ]


@fuzzed
@given(data=st.data())
def test_bytes_of_any_file_are_read_or_refused(opened: Opened, data: st.DataObject) -> None:
    opened.mend()
    path = opened.folder / data.draw(st.sampled_from(opened.files))
    path.write_bytes(data.draw(mangled_bytes([path.read_bytes()])))
    only_our_errors(*readings(opened))


@fuzzed
@given(data=st.data())
def test_what_is_no_file_or_in_another_encoding_is_read_or_refused(opened: Opened, data: st.DataObject) -> None:
    opened.mend()
    put_foreign(data.draw, opened.folder / data.draw(st.sampled_from(opened.files)))
    only_our_errors(*readings(opened))


@fuzzed
@given(data=st.data())
def test_plain_data_of_any_file_are_read_or_refused(opened: Opened, data: st.DataObject) -> None:
    """Good JSON, with other values, names and kinds than were meant."""
    opened.mend()
    names = [name for name in opened.files if name.endswith((".json", ".jsonl")) and not name.startswith("table")]
    path = opened.folder / data.draw(st.sampled_from(names))
    lines: list[Any] = [json.loads(line) for line in path.read_bytes().splitlines()]
    mangled = data.draw(mangled_data([lines]))
    written = mangled if isinstance(mangled, list) else [mangled]
    path.write_bytes(b"\n".join(as_json(line) for line in written) + b"\n")
    only_our_errors(*readings(opened))


@fuzzed
@given(data=st.data())
def test_files_of_any_run_may_stand_for_others(opened: Opened, data: st.DataObject) -> None:
    """As a copy of a ledger leaves them that mixed its files up."""
    opened.mend()
    one, other = (opened.folder / data.draw(st.sampled_from(opened.files)) for _ in range(2))
    other.write_bytes(one.read_bytes())
    if data.draw(st.booleans()):
        one.unlink()
    only_our_errors(*readings(opened))

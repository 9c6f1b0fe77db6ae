"""A price as a terminal shows it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from planned_sweep import planned, write_run
from rich.console import Console, RenderableType

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.records import RunStatus
from gga_sweep.report.price import bytes_in_words, done_results, ledger_price, price_picture, rough_duration
from gga_sweep.report.status import read_states
from gga_sweep.scheduling.price import PHASES, ArmPrice, Disk, Price
from gga_sweep.spec import Plan


def lines(picture: RenderableType) -> list[str]:
    console = Console(file=io.StringIO(), width=300)
    with console.capture() as capture:
        console.print(picture)
    return [" ".join(line.split()) for line in capture.get().splitlines() if line.strip()]


def arm(name: str, seconds: dict[str, float], jobs: int = 4) -> ArmPrice:
    by_phase = {**dict.fromkeys(PHASES, 0.0), **seconds}
    return ArmPrice(name, jobs, jobs // 2, by_phase, sum(by_phase.values()) / 2)


PRICE = Price(
    source="calibration",
    device="Some CPU, 1 thread",
    arms=(arm("ERM", {"training": 7200.0}), arm("GGA", {"training": 3600.0, "search": 9000.0, "diagnostics": 1800.0})),
    jobs=8,
    left=4,
    seconds=21600.0,
    seconds_left=10800.0,
    shared=0.0,
    longest=3600.0,
    scaled=(),
    disk=Disk(images=1_503_925_248, selected=2000, checkpoint=None),
    remarks=("Measured so.",),
)


def test_a_price_tells_device_hours_by_arm_and_in_total_with_what_is_left() -> None:
    shown = lines(price_picture(PRICE, at_once=2))
    assert shown[:3] == [
        "Arm Jobs A run of it searching Device-hours Left",
        "ERM 4 30.0 min 0 % 2 1",
        "GGA 4 60.0 min 75 % 4 2",
    ]
    assert shown[3].startswith("Price: 6 device-hours, 3 of them left (4 of 8 jobs;")
    assert "About 90.0 min with 2 runs at once." in shown
    assert "Device: Some CPU, 1 thread. From a calibration." in shown
    assert "On disk: 1.5 GB decoded images, 2 kB selected weights of all runs." in shown
    assert shown[-1] == "Measured so."


def test_more_runs_at_once_are_sooner_done_but_not_sooner_than_the_longest() -> None:
    assert "About 60.0 min with 100 runs at once." in lines(price_picture(PRICE, at_once=100))


def test_steps_that_are_trained_once_make_the_rest_shorter_and_are_told() -> None:
    sharing = replace(PRICE, shared=1800.0)
    shown = lines(price_picture(sharing, at_once=2))
    assert "Steps that runs share, trained once, save 0.5 of those left." in shown
    assert "About 75.0 min with 2 runs at once." in shown
    assert not any(line.startswith("Steps that") for line in lines(price_picture(PRICE, at_once=2)))


def test_nothing_left_takes_no_time() -> None:
    done = replace(PRICE, left=0, seconds_left=0.0, longest=0.0)
    assert not any(line.startswith("About") for line in lines(price_picture(done, at_once=2)))


def test_an_arm_of_which_no_run_is_done_is_named() -> None:
    shown = lines(price_picture(replace(PRICE, scaled=("GGA",)), at_once=1))
    assert "Roughly, scaled from other arms, as no such run is done: GGA." in shown
    assert not any(line.startswith("Roughly") for line in lines(price_picture(PRICE, at_once=1)))


def priced(plan: Plan, ledger: Ledger) -> Price | None:
    states = read_states(plan, ledger)
    return ledger_price(plan, ledger, states, done_results(plan, ledger, states))


def test_a_ledger_without_done_runs_has_no_price(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    ledger = Ledger(plan.sweep.folder)
    assert priced(plan, ledger) is None
    write_run(ledger, plan.runs[0], RunStatus.DIVERGED)
    assert priced(plan, ledger) is None


def test_a_ledgers_price_is_that_of_its_done_runs_on_their_devices(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    ledger = Ledger(plan.sweep.folder)
    write_run(ledger, plan.runs[0], fingerprint={"device": "A GPU"})
    write_run(ledger, plan.runs[1], fingerprint={"device": "B GPU"})
    write_run(ledger, plan.runs[4], RunStatus.FAILED, fingerprint={"device": "C GPU"})
    price = priced(plan, ledger)
    assert price is not None
    assert price.device == "A GPU, B GPU"
    assert price.scaled == (plan.runs[4].cell.arm,)
    plain = price.arms[0]
    assert (plain.seconds["training"], plain.seconds["search"]) == (4 * 2.0, 2 * 1.0)  # each wrote 2 s and 1 s
    assert price.arms[1].total > plain.total
    assert "From the done runs, and what they teach of the others." in " ".join(lines(price_picture(price, 1)))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (119.0, "119.0 s"),
        (150.0, "2.5 min"),
        (5760.0, "96.0 min"),
        (7200.0, "2.0 h"),
        (2e6, "23.1 days"),
    ],
)
def test_durations_are_told_in_a_unit_that_fits(seconds: float, words: str) -> None:
    assert rough_duration(seconds) == words


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (360_472, "360 kB"), (94_334_452, "94.3 MB"), (1_500_000_000_000, "1.5 TB")],
)
def test_sizes_are_told_in_powers_of_ten(size: int, words: str) -> None:
    assert bytes_in_words(size) == words

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
from gga_sweep.report.plan_price import price_pictures
from gga_sweep.report.price import bytes_in_words, disk_in_words, price_picture, rough_duration
from gga_sweep.report.savings import savings_picture
from gga_sweep.report.status import read_states
from gga_sweep.scheduling.price import ArmPrice, Price
from gga_sweep.scheduling.savings import savings_of
from gga_sweep.spec import Plan, load, outline_sweep


def lines(picture: RenderableType) -> list[str]:
    console = Console(file=io.StringIO(), width=300)
    with console.capture() as capture:
        console.print(picture)
    return [" ".join(line.split()) for line in capture.get().splitlines() if line.strip()]


def arm(name: str, scaled: bool = False, **seconds: float) -> ArmPrice:
    return ArmPrice(name, 4, seconds, sum(seconds.values()) / 2, scaled)


PRICE = Price(
    arms=(arm("ERM", training=7200.0), arm("GGA", training=3600.0, search=9000.0, diagnostics=1800.0)),
    jobs=8,
    seconds=21600.0,
    left=(3600.0, 3600.0, 1800.0, 1800.0),
    shared=0.0,
    remarks=("More is to come.",),
)


def shown(price: Price, at_once: int = 2) -> list[str]:
    return lines(price_picture(price, at_once, ["Device: Some CPU. From a calibration."]))


def test_a_price_shows_device_time_by_arm_and_in_total_with_what_is_left() -> None:
    assert shown(PRICE) == [
        "Arm Jobs A run of it searching Device-hours Left",
        "ERM 4 30.0 min 0 % 2.00 1.00",
        "GGA 4 60.0 min 75 % 4.00 2.00",
        "About 90.0 min of wall-clock time left with 2 runs at once.",
        "Price: 6 device-hours, 3 device-hours of them left (4 of 8 jobs; a job that two arms share counts once here).",
        "Device: Some CPU. From a calibration.",
        "More is to come.",
    ]
    assert "About 60.0 min of wall-clock time left with 100 runs at once." in shown(PRICE, at_once=100)  # the longest


def test_steps_that_are_trained_once_make_the_rest_shorter() -> None:
    found = shown(replace(PRICE, shared=1800.0))
    assert "Steps that runs share, trained once, save 30 device-minutes of those left." in found
    assert "About 75.0 min of wall-clock time left with 2 runs at once." in found


def test_nothing_left_takes_no_time() -> None:
    assert not any(line.startswith("About") for line in shown(replace(PRICE, left=())))


def test_an_arm_that_is_scaled_from_others_is_named() -> None:
    price = replace(PRICE, arms=(PRICE.arms[0], arm("GGA", scaled=True, training=1.0)))
    assert "Roughly, scaled from other arms, as no such run is done: GGA." in shown(price)


def planned_price(plan: Plan) -> str:
    ledger = Ledger(plan.sweep.folder)
    return " ".join(
        line for one in price_pictures(plan, ledger, read_states(plan, ledger), None) for line in lines(one)
    )


def test_the_price_of_a_sweep_is_by_its_done_runs_on_their_devices(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    ledger = Ledger(plan.sweep.folder)
    write_run(ledger, plan.runs[4], RunStatus.FAILED, fingerprint={"device": "C GPU"})
    assert planned_price(plan).startswith("Price unknown: no run is done yet.")
    write_run(ledger, plan.runs[0], fingerprint={"device": "A GPU"})
    write_run(ledger, plan.runs[1], fingerprint={"device": "B GPU"})
    found = planned_price(plan)
    assert "Device: A GPU, B GPU. From the done runs, by counted work." in found
    assert "(6 of 8 jobs" in found
    assert f"as no such run is done: {plan.runs[4].cell.arm}." in found


def test_sizes_on_disk_are_listed() -> None:
    found = disk_in_words(images=1_503_925_248, selected=2000)
    assert found == "On disk: 1.5 GB decoded images, 2 kB selected weights of all runs."


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
def test_durations_have_a_unit_that_fits(seconds: float, words: str) -> None:
    assert rough_duration(seconds) == words


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (360_472, "360 kB"), (94_334_452, "94.3 MB"), (1_500_000_000_000, "1.5 TB")],
)
def test_sizes_are_in_powers_of_ten(size: int, words: str) -> None:
    assert bytes_in_words(size) == words


def test_a_plan_says_how_many_images_its_evaluations_forward() -> None:
    content = {
        "name": "forwarded",
        "dataset": {"name": "RotatedDigits"},
        "arms": [{"algorithm": "ERM"}, {"algorithm": "CORAL"}],
        "test_domains": ["0"],
        "trial_seeds": [0],
        "training": {"steps": 401, "evaluate_every": 50},
    }
    plan = outline_sweep(load(content, storage=Path("nowhere")))
    sizes = plan.sweep.dataset.domain_sizes
    tested, others = sizes["0"], sum(sizes.values()) - sizes["0"]
    validation = sum(int(0.2 * size) for name, size in sizes.items() if name != "0")
    reported = tested - int(0.2 * tested)
    counts = [2 * 9 * (tested + others)]
    counts += [2 * (9 * validation + new_bests * reported + tested) for new_bests in (5, 8)]
    notes = " ".join(lines(savings_picture(savings_of(plan, None, {}), plan)))
    assert (
        "Evaluations forward {:,} images with training.evaluate: all, and about {:,}, at most {:,}, with selection. "
        "This sweep has all.".format(*counts)
    ) in notes

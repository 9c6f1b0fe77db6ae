"""The comparison of frozen files, on invented ones. `make golden` runs the sweeps."""

from __future__ import annotations

import copy
import csv
import io
import json
import struct
from pathlib import Path
from typing import Any

import freeze
import pytest


def frozen(**sweeps: dict[str, Any]) -> dict[str, Any]:
    return {"sweeps": sweeps}


def run(records: str = "a", **identity: object) -> dict[str, Any]:
    named = {"algorithm": "ERM", "test_domains": "75", "trial_seed": 0, "lr": 0.001, **identity}
    return {"identity": named, "files": {"records.jsonl": records, "selected": "b"}}


def sweep(*runs: dict[str, Any], **table: object) -> dict[str, Any]:
    return {"runs": list(runs), "tables": {"table.json": table}}


def test_equal_files_have_no_difference() -> None:
    old = frozen(one=sweep(run(), run(lr=0.01), rows=[{"mean": 0.5}]))
    assert freeze.compare(old, copy.deepcopy(old)) == []


def test_other_bits_are_named_by_run_and_file() -> None:
    old, new = frozen(one=sweep(run(), run(lr=0.01))), frozen(one=sweep(run(), run("x", lr=0.01)))
    assert freeze.compare(old, new) == ["one: run algorithm ERM, lr 0.01, trial_seed 0: records.jsonl differs"]


def test_a_file_of_one_side_is_named() -> None:
    old, new = frozen(one=sweep(run())), frozen(one=sweep(run()))
    del new["sweeps"]["one"]["runs"][0]["files"]["selected"]
    assert freeze.compare(old, new) == ["one: run algorithm ERM, trial_seed 0: selected only in OLD"]


def test_runs_tables_and_sweeps_of_one_side_are_named() -> None:
    old, new = frozen(one=sweep(run()), two=sweep()), frozen(one=sweep(run(), run(trial_seed=1)))
    new["sweeps"]["one"]["tables"]["chosen.yaml"] = {}
    assert freeze.compare(old, new) == [
        "one: run algorithm ERM, trial_seed 1: only in NEW",
        "one: chosen.yaml: only in NEW",
        "two: only in OLD",
    ]


def test_numbers_of_a_table_are_named_by_their_path() -> None:
    old = frozen(one=sweep(rows=[{"mean": 0.5, "n": None, "values": [1]}]))
    new = frozen(one=sweep(rows=[{"mean": 0.25, "n": 1, "values": [1, 2]}]))
    assert freeze.compare(old, new) == [
        "one: table.json: $.rows[0].mean: 0.5 -> 0.25",
        "one: table.json: $.rows[0].n: None -> 1",
        "one: table.json: $.rows[0].values: 1 item -> 2 items",
    ]


def test_prose_can_be_left_out() -> None:
    old, new = frozen(one=sweep(title="Table", rows=[1])), frozen(one=sweep(title="A table", rows=[1]))
    assert freeze.compare(old, new) == ["one: table.json: $.title: 'Table' -> 'A table'"]
    assert freeze.compare(old, new, prose=False) == []


def test_a_table_can_be_left_out() -> None:
    old, new = frozen(one=sweep(run(), rows=1)), frozen(one=sweep(run(), rows=2))
    assert freeze.compare(old, new, without=["table.json"]) == []


def test_new_and_renamed_fields_of_runs_are_noted_and_no_difference() -> None:
    old = frozen(one=sweep(run("a", window=1), run("b", window=2)))
    new = frozen(one=sweep(run("b", span=2, more=0), run("a", span=1, more=0)))
    assert freeze.compare(old, new) == []
    assert freeze.other_fields(old, new) == [
        "one: run.json has window only in OLD",
        "one: run.json has more, span only in NEW",
    ]
    new["sweeps"]["one"]["runs"][0]["files"]["records.jsonl"] = "c"
    assert freeze.compare(old, new) == ["one: run algorithm ERM, trial_seed 0: records.jsonl differs"]


def test_a_number_is_the_same_with_and_without_a_point() -> None:
    assert freeze.compare(frozen(one=sweep(run(batch_size=8))), frozen(one=sweep(run(batch_size=8.0)))) == []


def test_a_report_loses_what_differs_between_executions() -> None:
    report = {
        "selected": [{"draw": 1, "key": "ab", "folder": "runs/ab"}],
        "costs": [{"arm": "ERM", "runs": 2, "total": 3.5, "seconds": {"training": 1.0}, "ratio": 1.1}],
        "sections": [{"name": "cost", "notes": ["3 s"]}],
        "records": [{"kind": "cost", "quantity": "total", "value": 3.5}, {"kind": "accuracy", "value": 0.5}],
    }
    assert freeze.normalised(report) == {
        "selected": [{"draw": 1}],
        "costs": [{"arm": "ERM", "runs": 2}],
        "records": [{"kind": "accuracy", "value": 0.5}],
    }


def test_a_csv_report_becomes_numbers_by_what_they_are_about() -> None:
    columns = ("deviations", "kind", *freeze.CSV_PLACE, *freeze.CSV_NUMBERS)
    file = io.StringIO()
    writer = csv.DictWriter(file, columns)
    writer.writeheader()
    arm = {"deviations": "steps is 6", "selection": "oracle", "arm": "ERM, lr 1"}
    writer.writerow({**arm, "kind": "accuracy", "value": "0.50", "n": "2"})
    writer.writerow({**arm, "kind": "cost", "quantity": "total", "value": "3.5"})
    writer.writerow({**arm, "kind": "search-budget", "quantity": "seconds_a_draw", "value": "3.5"})
    writer.writerow({**arm, "kind": "search-budget", "quantity": "accuracy", "draws": "2", "value": "1"})
    assert freeze.csv_numbers(file.getvalue()) == {
        "accuracy": {"selection oracle, arm ERM, lr 1": {"value": "0.50", "n": "2"}},
        "search-budget": {"selection oracle, quantity accuracy, arm ERM, lr 1, draws 2": {"value": "1"}},
    }
    writer.writerow({**arm, "kind": "accuracy", "value": "0.25"})
    with pytest.raises(freeze.GoldenError, match="two lines"):
        freeze.csv_numbers(file.getvalue())


def test_a_run_is_read_from_its_run_json_in_any_folder(tmp_path: Path) -> None:
    config = {"algorithm": "ERM", "test_domains": ["0", "75"], "trial_seed": 2, "hyperparameters": {"lr": 0.1}}
    (tmp_path / "run.json").write_text(json.dumps({"key": "ab", "config": {**config, "annealing": {"radius": 1e-3}}}))
    assert freeze.identity_of(tmp_path) == {
        "algorithm": "ERM",
        "test_domains": "0+75",
        "trial_seed": 2,
        "lr": 0.1,
        "annealing.radius": 1e-3,
    }


def test_a_run_without_annealing(tmp_path: Path) -> None:
    config = {"algorithm": "ERM", "test_domains": ["0"], "trial_seed": 2, "hyperparameters": {}, "annealing": None}
    (tmp_path / "run.json").write_text(json.dumps(config))
    assert freeze.identity_of(tmp_path) == {"algorithm": "ERM", "test_domains": "0", "trial_seed": 2}


def test_photographs_are_images_and_always_the_same(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("one", "two"):
        freeze.make_photographs(tmp_path / name)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.png"))
    assert len(files) == 4 * 2 * 6
    contents = [(tmp_path / "one" / file).read_bytes() for file in files]
    assert contents == [(tmp_path / "two" / file).read_bytes() for file in files]
    assert len(set(contents)) == len(contents)
    with Image.open(tmp_path / "one" / files[0]) as image:
        assert image.size == struct.unpack(">II", contents[0][16:24]) == (40, 40)
        assert image.mode == "RGB"


def test_another_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "one.yaml").write_text("name: one\n")
    with pytest.raises(freeze.GoldenError, match="json is not imported from"):
        freeze.freeze(tmp_path / "out.json", tmp_path, tmp_path / "sweeps", tmp_path / "storage", "json.tool")


def test_a_command_that_fails_ends_the_freeze(tmp_path: Path) -> None:
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "one.yaml").write_text("name: one\n")
    (tmp_path / "failing.py").write_text("import sys\nif __name__ == '__main__':\n    sys.exit('no such sweep')\n")
    with pytest.raises(freeze.GoldenError, match=r"failing run .*: exit code 1\nno such sweep"):
        freeze.freeze(tmp_path / "out.json", tmp_path, tmp_path / "sweeps", tmp_path / "storage", "failing")
    assert not (tmp_path / "out.json").exists()

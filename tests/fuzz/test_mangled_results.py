"""Mangled results of DomainBed and of swad's family: tables or an input error, no other traceback."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from mangle import as_json, fuzzed, mangled_bytes, mangled_data, only_our_errors, put_foreign
from swad_tree import Process

from gga_sweep.domainbed.rendering import render
from gga_sweep.domainbed.results import read_results

DOMAINS = 3
NAMES = (
    "args",
    "step",
    "env0_out_acc",
    "env0_out",
    "env99_out_acc",
    "test_envs",
    "dataset",
    "trial_seed",
    "hparams_seed",
)


def record(test_domain: int, draw: int, step: int) -> dict[str, Any]:
    args = {"dataset": "PACS", "algorithm": "ERM", "test_envs": [test_domain], "trial_seed": 0, "hparams_seed": draw}
    accuracies = {f"env{i}_{split}_acc": (i + draw) / 9 for i in range(DOMAINS) for split in ("in", "out")}
    return {"args": args, "step": step, **accuracies}


RUNS = [[record(domain, draw, step) for step in (0, 100)] for domain in range(DOMAINS) for draw in (0, 1)]


def lines(records: Any) -> bytes:
    return b"".join(as_json(one) + b"\n" for one in (records if isinstance(records, list) else [records]))


@fuzzed
@given(st.data())
def test_a_tree_of_mangled_results(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name) / "tree"
        for number, records in enumerate(RUNS):
            (tree / str(number)).mkdir(parents=True)
            (tree / str(number) / "results.jsonl").write_bytes(lines(records))
        for number in data.draw(st.sets(st.integers(0, len(RUNS) - 1), min_size=1, max_size=3)):
            file = tree / str(number) / "results.jsonl"
            how = data.draw(st.sampled_from(["bytes", "values", "foreign"]))
            if how == "bytes":
                file.write_bytes(data.draw(mangled_bytes([lines(RUNS[number])])))
            elif how == "values":
                file.write_bytes(lines(data.draw(mangled_data([RUNS[number]], NAMES))))
            else:
                put_foreign(data.draw, file)
        only_our_errors(
            lambda: [render(form, read_results(tree)) for form in ("text", "csv", "json")],
            lambda: read_results(tree, strict=True),
        )


@fuzzed
@given(st.data())
def test_a_mangled_folder_of_swads_trainer(data: st.DataObject) -> None:
    process = Process(targets=(0, 1), steps=(0, 100), averages=True)
    with tempfile.TemporaryDirectory() as name:
        folder = process.write(Path(name) / "tree" / "1")
        if data.draw(st.booleans()):
            (folder / "log.txt").write_bytes(data.draw(mangled_bytes([process.log().encode()])))
        if data.draw(st.booleans()):
            (folder / "results.jsonl").write_bytes(data.draw(mangled_bytes(["".join(process.records()).encode()])))
        elif data.draw(st.booleans()):
            (folder / "results.jsonl").unlink()
        only_our_errors(
            lambda: [render(form, read_results(folder.parent)) for form in ("text", "csv", "json")],
            lambda: read_results(folder.parent, strict=True),
        )

"""Freezes what a redesign must not change: the bits of small runs, and the tables made of them.

    python tests/golden/freeze.py freeze OLD.json --package ../old-checkout
    python tests/golden/freeze.py freeze NEW.json
    python tests/golden/freeze.py compare OLD.json NEW.json

`freeze` runs every sweep of `sweeps/` by the command line of a checkout (default: the one that this file is in).
`compare` names every difference and exits with 1 if there is one. `make golden BASE=../old-checkout` does all three.
Where the two checkouts call an option by different names, `--sweeps` gives each its own copy of the sweep files.

Bits differ between CPUs and between versions of torch. So compare two checkouts on one machine and in one environment,
and commit no frozen file.

The script imports nothing of the package. It reads what a sweep leaves on disk, by the names under "What is read".
A run stands in the file once, by what it trains, even where two arms share it.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]

Json = Any
Identity = dict[str, Json]
"""What a run trains, as name -> value. It depends neither on the run's key nor on the name of its folder."""


class GoldenError(Exception):
    """Why nothing can be frozen."""


# What is read. -------------------------------------------------------------------------------------------------------
# A change of the layout on disk, of the command line or of the JSON report is followed here and nowhere else.

RUN_FILES = ("records.jsonl", "annealing.jsonl", "averaged.jsonl", "selected", "averaged")
"""The deterministic files of a run."""

MORE_REPORTS: Mapping[str, Sequence[Sequence[str]]] = {
    "algorithms": [["--exclude-diverged"]],
    "grid": [["--selection", "oracle", "--select-from", "after-window"]],
}
"""Sweep -> options of `report` that another CSV of it is made with."""

CSV_PLACE = ("selection", "select_from", "quantity", "arm", "baseline", "test_domains", "trial_seed", "draws")
CSV_NUMBERS = (
    *("value", "n", "expected", "standard_error", "ddof", "low", "high", "p", "holm_p", "detectable", "pairs"),
    "incomplete",
)
"""Columns of the CSV report, beside `kind`, that say what a line is about, and its numbers."""

VOLATILE_LINES = frozenset({("cost", None), ("search-budget", "seconds_a_draw")})
"""Kind and quantity (None: every one) of lines of the CSV report that tell seconds."""

_TIMES = ("seconds", "total", "inherited", "seconds_a_run", "a_run", "seconds_a_draw")
_RATIOS = ("ratio", "ratio_without_diagnostics")
VOLATILE = frozenset({"key", "folder", "sections", *_TIMES, *_RATIOS})
"""Fields of the JSON report that differ from one execution to the next, or with the names on disk. Sections are the
report in words, with seconds in them."""

PROSE = frozenset({"title", "label", "peeks", "uncertainty", "seed_use", "deviations", "reasons"})
"""Fields of the JSON report that are written for people."""


def run_folders(sweep_folder: Path) -> list[Path]:
    return sorted(path for path in (sweep_folder / "runs").iterdir() if path.is_dir())


def identity_of(run_folder: Path) -> Identity:
    """What the run trains, from its run.json. ADAPT THIS FUNCTION when the layout of run.json changes.

    A field is found by its name, wherever it stands. `compare` leaves out fields that one side alone has.
    """
    header = json.loads((run_folder / "run.json").read_text())
    identity = {name: _field(header, name) for name in ("algorithm", "test_domains", "trial_seed")}
    identity["test_domains"] = "+".join(identity["test_domains"])
    identity |= _field(header, "hyperparameters")
    annealing = _field(header, "annealing") or {}
    return identity | {f"annealing.{name}": value for name, value in annealing.items()}


def read_tables(sweep_folder: Path) -> dict[str, Json]:
    """The report as JSON and as CSV, and the hyperparameters that were chosen."""
    tables = {
        "table.json": normalised(json.loads((sweep_folder / "table.json").read_text())),
        "table.csv": csv_numbers((sweep_folder / "table.csv").read_text()),
    }
    chosen = sweep_folder / "chosen.yaml"
    if chosen.exists():
        tables["chosen.yaml"] = {"cells": yaml.safe_load(chosen.read_text())["chosen"]["cells"]}
    return tables


def normalised(node: Json) -> Json:
    """A report without what differs from one execution to the next."""
    if isinstance(node, list):
        return [normalised(item) for item in node if not _is_a_time(item)]
    if not isinstance(node, dict):
        return node
    return {name: normalised(value) for name, value in node.items() if name not in VOLATILE}


def _is_a_time(record: Json) -> bool:
    """Whether a record of the table is measured in seconds, or a ratio of such."""
    return isinstance(record, dict) and (
        record.get("kind") == "cost" or any("seconds" in str(record.get(name)) for name in ("quantity", "budget"))
    )


def csv_numbers(text: str) -> dict[str, dict[str, dict[str, str]]]:
    """The numbers of a CSV report: kind of line -> what the line is about -> column -> number, as it is written."""
    found: dict[str, dict[str, dict[str, str]]] = defaultdict(dict)
    for line in csv.DictReader(text.splitlines()):
        kind = line["kind"]
        if VOLATILE_LINES.isdisjoint({(kind, None), (kind, line["quantity"])}):
            place = ", ".join(f"{name} {line[name]}" for name in CSV_PLACE if line[name])
            if place in found[kind]:
                raise GoldenError(f"two lines of the CSV report are about {kind}: {place}")
            found[kind][place] = {name: line[name] for name in CSV_NUMBERS if line[name]}
    return dict(found)


def _field(node: Json, name: str) -> Json:
    """The value of the outermost field of this name."""
    level = [node]
    while level:
        for item in level:
            if isinstance(item, dict) and name in item:
                return item[name]
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
        level = [item for item in level if isinstance(item, dict | list)]
    raise KeyError(f"no field {name}")


# Freezing. -----------------------------------------------------------------------------------------------------------


def freeze(
    out: Path, package: Path, sweeps: Path, storage: Path, module: str, only: Sequence[str] = (), at_once: int = 2
) -> None:
    """Run the sweeps, each in a folder of its own under the storage, and write what they left."""
    files = [file for file in sorted(sweeps.glob("*.yaml")) if not only or file.stem in only]
    if not files:
        raise GoldenError(f"No sweep to run in {sweeps}.")
    environment = _environment(package, module)
    make_photographs(storage / "photographs")
    began = time.monotonic()
    frozen = {}
    with ThreadPoolExecutor(at_once) as pool:
        jobs = {pool.submit(_frozen_sweep, file, module, storage, environment): file.stem for file in files}
        try:
            for job in as_completed(jobs):
                frozen[jobs[job]], seconds = job.result()
                print(f"{jobs[job]}: {_totals([frozen[jobs[job]]])}, {seconds:.0f} s", flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    out.write_text(json.dumps({"sweeps": frozen}, indent=1, sort_keys=True) + "\n")
    print(f"{_totals(frozen.values())}, {time.monotonic() - began:.0f} s: {out}")


def _frozen_sweep(file: Path, module: str, storage: Path, environment: Mapping[str, str]) -> tuple[Json, float]:
    """What a sweep left, and the seconds it took."""
    began = time.monotonic()
    name = yaml.safe_load(file.read_text())["name"]
    if name != file.stem:
        raise GoldenError(f"{file}: the sweep must have the name of its file, got {name!r}.")
    own = storage / "sweeps" / name
    folder = own / name
    _command([module, "run", str(file), "--storage", str(own)], storage, environment)
    tables = read_tables(folder)
    for options in MORE_REPORTS.get(name, ()):
        text = _command([module, "report", str(folder), "--format", "csv", *options], storage, environment)
        tables[" ".join(options)] = csv_numbers(text)
    runs = [{"identity": identity_of(run), "files": _digests(run)} for run in run_folders(folder)]
    runs.sort(key=lambda run: json.dumps(run["identity"], sort_keys=True))
    return {"runs": runs, "tables": tables}, time.monotonic() - began


def _digests(run_folder: Path) -> dict[str, str]:
    """SHA-256 by file, of those that are there."""
    paths = [run_folder / name for name in RUN_FILES]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.exists()}


def _command(words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> str:
    """What `python -m WORDS` prints, run in a folder."""
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stdout[-4000:] + done.stderr[-4000:]
        raise GoldenError(f"python -m {' '.join(words)}: exit code {done.returncode}\n{said}")
    return done.stdout


def _environment(package: Path, module: str) -> dict[str, str]:
    """The environment in which Python imports the package of the checkout. No setting of the user's gets in."""
    settings = ("GGA_SWEEP_", "MLFLOW_", "RAY_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
    environment["PYTHONPATH"] = str(package)
    top = module.partition(".")[0]
    command = [sys.executable, "-c", f"import {top}; print({top}.__file__)"]
    found = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False)
    if found.returncode or not Path(found.stdout.strip()).resolve().is_relative_to(package):
        raise GoldenError(f"{top} is not imported from {package}: {found.stdout}{found.stderr}")
    return environment


def make_photographs(root: Path) -> None:
    """A tree domain/class/image of small PNGs, always the same: a pattern a class, a shift a domain, and noise."""
    for shift, domain in enumerate(("art", "cartoon", "photo", "sketch")):
        for label, name in enumerate(("cat", "dog")):
            folder = root / domain / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(6):
                numbers = random.Random(f"{domain} {name} {number}")
                pixels = [_pixel(numbers, shift, label, row, column) for row in range(40) for column in range(40)]
                (folder / f"{number}.png").write_bytes(_png(40, pixels))


def _pixel(numbers: random.Random, shift: int, label: int, row: int, column: int) -> bytes:
    striped = (row if label else column) // 5 % 2
    return bytes(min(255, 60 * striped + 20 * shift * (channel + 1) + numbers.randrange(70)) for channel in range(3))


def _png(side: int, pixels: Sequence[bytes]) -> bytes:
    rows = b"".join(b"\0" + b"".join(pixels[start : start + side]) for start in range(0, side * side, side))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


# Comparing. ----------------------------------------------------------------------------------------------------------


def compare(old: Json, new: Json, prose: bool = True, without: Collection[str] = ()) -> list[str]:
    """Every difference, a line each.

    Args:
        prose: compare what tables say in words too.
        without: names of tables to leave out.
    """
    olds, news = old["sweeps"], new["sweeps"]
    found = []
    for sweep in sorted({*olds, *news}):
        if sweep not in olds or sweep not in news:
            found.append(f"{sweep}: only in {_side(sweep in olds)}")
            continue
        found += [f"{sweep}: {line}" for line in _run_differences(olds[sweep]["runs"], news[sweep]["runs"])]
        tables = olds[sweep]["tables"], news[sweep]["tables"]
        for table in sorted({*tables[0], *tables[1]} - {*without}):
            if table in tables[0] and table in tables[1]:
                sides = (side[table] if prose else _without_prose(side[table]) for side in tables)
                found += [f"{sweep}: {table}: {line}" for line in _json_differences(*sides)]
            else:
                found.append(f"{sweep}: {table}: only in {_side(table in tables[0])}")
    return found


def other_fields(old: Json, new: Json) -> list[str]:
    """Fields of runs that only one side has: runs are matched by the others."""
    lines = []
    for sweep in sorted({*old["sweeps"]} & {*new["sweeps"]}):
        sides = [_fields(each["sweeps"][sweep]["runs"]) for each in (old, new)]
        for is_old, names in ((True, sides[0] - sides[1]), (False, sides[1] - sides[0])):
            if names:
                lines.append(f"{sweep}: run.json has {', '.join(sorted(names))} only in {_side(is_old)}")
    return lines


def _run_differences(old: Sequence[Json], new: Sequence[Json]) -> Iterator[str]:
    common = _fields(old) & _fields(new)
    olds, news = _by_identity(old, common), _by_identity(new, common)
    varying = [
        name
        for name in sorted(common)
        if len({repr(run["identity"].get(name)) for run in (*old, *new)}) > 1 or name in ("algorithm", "trial_seed")
    ]
    for identity in sorted({*olds, *news}):
        before, after = olds.get(identity, []), news.get(identity, [])
        run = (before or after)[0]["identity"]
        label = "run " + ", ".join(f"{name} {run[name]}" for name in varying if name in run)
        _leave_out_equal(before, after)
        for one, other in zip(before, after, strict=False):
            for file in RUN_FILES:
                pair = one["files"].get(file), other["files"].get(file)
                if pair[0] != pair[1]:
                    how = "differs" if all(pair) else f"only in {_side(bool(pair[0]))}"
                    yield f"{label}: {file} {how}"
        for _ in range(abs(len(before) - len(after))):
            yield f"{label}: only in {_side(len(before) > len(after))}"


def _leave_out_equal(before: list[Json], after: list[Json]) -> None:
    """Take out runs whose files are the same on both sides; more than one run can have one identity."""
    for one in [*before]:
        twin = next((other for other in after if other["files"] == one["files"]), None)
        if twin is not None:
            before.remove(one)
            after.remove(twin)


def _by_identity(runs: Sequence[Json], names: set[str]) -> dict[str, list[Json]]:
    found = defaultdict(list)
    for run in runs:
        kept = {name: _one_type(value) for name, value in run["identity"].items() if name in names}
        found[json.dumps(kept, sort_keys=True)].append(run)
    return found


def _one_type(value: Json) -> Json:
    """1 and 1.0 are one value."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _fields(runs: Sequence[Json]) -> set[str]:
    return {name for run in runs for name in run["identity"]}


def _json_differences(old: Json, new: Json, path: str = "$") -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys((*old, *new)):
            if name in old and name in new:
                yield from _json_differences(old[name], new[name], f"{path}.{name}")
            else:
                yield f"{path}.{name}: only in {_side(name in old)}"
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            yield f"{path}: {_counted(len(old), 'item')} -> {_counted(len(new), 'item')}"
        for index, (one, other) in enumerate(zip(old, new, strict=False)):
            yield from _json_differences(one, other, f"{path}[{index}]")
    elif old != new or isinstance(old, bool) != isinstance(new, bool):
        yield f"{path}: {old!r} -> {new!r}"


def _without_prose(node: Json) -> Json:
    if isinstance(node, list):
        return [_without_prose(item) for item in node]
    if isinstance(node, dict):
        return {name: _without_prose(value) for name, value in node.items() if name not in PROSE}
    return node


def _side(is_old: bool) -> str:
    return "OLD" if is_old else "NEW"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _totals(sweeps: Collection[Json]) -> str:
    runs, tables = (sum(len(sweep[part]) for sweep in sweeps) for part in ("runs", "tables"))
    return f"{_counted(runs, 'run')}, {_counted(tables, 'table')}"


# The command line. ---------------------------------------------------------------------------------------------------


def main() -> None:
    given = _parser().parse_args()
    if given.command == "freeze":
        with tempfile.TemporaryDirectory(prefix="golden-") as temporary:
            storage = (given.storage or Path(temporary)).resolve()
            storage.mkdir(parents=True, exist_ok=True)
            if any(storage.iterdir()):
                sys.exit(f"{storage} must be empty.")
            package, sweeps = given.package.resolve(), given.sweeps.resolve()
            try:
                freeze(given.out, package, sweeps, storage, given.module, given.only, given.at_once)
            except GoldenError as error:
                sys.exit(str(error))
        return
    old, new = (json.loads(path.read_text()) for path in (given.old, given.new))
    for line in other_fields(old, new):
        print(f"Note: {line}")
    found = compare(old, new, not given.without_prose, given.without)
    for line in found:
        print(line)
    if found:
        sys.exit(f"{_counted(len(found), 'difference')}.")
    print(f"{_totals(new['sweeps'].values())}: identical")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("freeze", help="run the sweeps and write what they left")
    command.add_argument("out", type=Path, metavar="OUT.json")
    command.add_argument("--package", type=Path, default=CHECKOUT, metavar="DIR", help="checkout to run; default: own")
    command.add_argument("--sweeps", type=Path, default=HERE / "sweeps", metavar="DIR", help="folder of sweep files")
    command.add_argument("--only", action="append", default=[], metavar="SWEEP", help="run this one; repeatable")
    command.add_argument("--module", default="gga_sweep.cli", help="what `python -m` runs; default: %(default)s")
    command.add_argument("--at-once", type=int, default=2, metavar="N", help="sweeps side by side; default: 2")
    command.add_argument("--storage", type=Path, metavar="DIR", help="keep the sweeps there; default: they are deleted")
    command = commands.add_parser("compare", help="name the differences of two frozen files")
    command.add_argument("old", type=Path, metavar="OLD.json")
    command.add_argument("new", type=Path, metavar="NEW.json")
    command.add_argument("--without-prose", action="store_true", help="leave out what tables say in words")
    command.add_argument("--without", action="append", default=[], metavar="TABLE", help="leave out table.json, say")
    return parser


if __name__ == "__main__":
    main()

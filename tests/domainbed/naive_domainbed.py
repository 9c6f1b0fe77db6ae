"""DomainBed's selection and tables as one would write them down first: the reference that ours must equal.

Records are dicts as a results.jsonl holds them, in file order; sums are loops; nothing is shared with the package. Two
things of NumPy's are left out: it adds nine or more numbers in another order (no dataset here has so many domains), and
it warns.
"""

from __future__ import annotations

import math
from typing import Any

Line = dict[str, Any]
Cell = tuple[str, str, int, int]  # dataset, algorithm, test domain, trial seed
Chosen = tuple[int, int, float, float]  # draw, step, validation, test

LABELS = {"PACS": ["A", "C", "P", "S"], "ColoredMNIST": ["+90%", "+80%", "-90%"]}
KNOWN_ALGORITHMS = ["ERM", "Fish", "IRM", "Mixup"]
METHODS = {
    "training-domain-validation": "training-domain validation set",
    "leave-one-domain-out": "leave-one-domain-out cross-validation",
    "oracle": "test-domain validation set (oracle)",
}


def choose(lines: list[Line], method: str) -> dict[Cell, Chosen]:
    groups: dict[Cell, dict[int, list[Line]]] = {}
    for line in lines:
        args = line["args"]
        for domain in args["test_envs"]:
            cell = (args["dataset"], args["algorithm"], domain, args["trial_seed"])
            groups.setdefault(cell, {}).setdefault(args["hparams_seed"], []).append(line)
    best_of = {
        "training-domain-validation": _best_by_validation,
        "leave-one-domain-out": _best_by_leaving_out,
        "oracle": _last,
    }[method]
    chosen = {}
    for cell, draws in groups.items():
        winner: Chosen | None = None
        for draw in sorted(draws):
            best = best_of(draws[draw], cell[2])
            if best is not None and (winner is None or _rank(best[1]) >= _rank(winner[2])):
                winner = (draw, *best)
        if winner is not None:
            chosen[cell] = winner
    return chosen


def _rank(accuracy: float) -> float:
    return -1.0 if math.isnan(accuracy) else accuracy


def _n_domains(line: Line) -> int:
    n = 0
    while f"env{n}_out_acc" in line:
        n += 1
    return n


def _best_by_validation(lines: list[Line], domain: int) -> tuple[int, float, float] | None:
    candidates = []
    for line in lines:
        if line["args"]["test_envs"] == [domain]:
            total = 0.0
            for other in range(_n_domains(line)):
                if other != domain:
                    total += line[f"env{other}_out_acc"]
            validation = total / (_n_domains(line) - 1)
            candidates.append((line["step"], validation, line[f"env{domain}_in_acc"]))
    return _first_best(candidates)


def _best_by_leaving_out(lines: list[Line], domain: int) -> tuple[int, float, float] | None:
    candidates = []
    for step in sorted({line["step"] for line in lines}):
        at_step = [line for line in lines if line["step"] == step]
        alone = [line for line in at_step if line["args"]["test_envs"] == [domain]]
        total, complete = 0.0, len(alone) == 1
        for other in range(_n_domains(at_step[0])):
            pairs = [line for line in at_step if sorted(line["args"]["test_envs"]) == sorted([domain, other])]
            if other != domain and pairs:
                total += pairs[-1][f"env{other}_in_acc"]
            elif other != domain:
                complete = False
        if complete:
            candidates.append((step, total / (_n_domains(at_step[0]) - 1), alone[0][f"env{domain}_in_acc"]))
    return _first_best(candidates)


def _last(lines: list[Line], domain: int) -> tuple[int, float, float] | None:
    last: Line | None = None
    for line in lines:
        if line["args"]["test_envs"] == [domain] and (last is None or line["step"] >= last["step"]):
            last = line
    return last and (last["step"], last[f"env{domain}_out_acc"], last[f"env{domain}_in_acc"])


def _first_best(candidates: list[tuple[int, float, float]]) -> tuple[int, float, float] | None:
    best = None
    for candidate in candidates:
        if best is None or candidate[1] > best[1]:  # false for NaN on either side
            best = candidate
    return best


def print_tables(lines: list[Line]) -> str:
    """The whole output of `collect_results` for these lines, of datasets in `LABELS`."""
    text = f"Total records: {len(lines)}\n"
    seen = list(dict.fromkeys(line["args"]["algorithm"] for line in lines))
    algorithms = [name for name in KNOWN_ALGORITHMS if name in seen]
    algorithms += [name for name in seen if name not in KNOWN_ALGORITHMS]
    datasets = [name for name in ("ColoredMNIST", "PACS") if any(line["args"]["dataset"] == name for line in lines)]
    for method, label in METHODS.items():
        chosen = choose(lines, method)
        for dataset in datasets:
            text += f"\n-------- Dataset: {dataset}, model selection method: {label}\n"
            text += _row(["Algorithm", *LABELS[dataset], "Avg"], 20)
            for algorithm in algorithms:
                columns = [
                    [won[3] for cell, won in chosen.items() if cell[:3] == (dataset, algorithm, domain)]
                    for domain in range(len(LABELS[dataset]))
                ]
                text += _row([algorithm, *_entries(columns)], 20)
        text += f"\n-------- Averages, model selection method: {label}\n"
        text += _row(["Algorithm", *datasets, "Avg"], 25)
        for algorithm in algorithms:
            columns = []
            for dataset in datasets:
                seeds = sorted({cell[3] for cell in chosen if cell[:2] == (dataset, algorithm)})
                columns.append(
                    [
                        _mean(
                            [
                                won[3]
                                for cell, won in chosen.items()
                                if (*cell[:2], cell[3]) == (dataset, algorithm, seed)
                            ]
                        )
                        for seed in seeds
                    ]
                )
            text += _row([algorithm, *_entries(columns)], 25)
    return text


def _row(words: list[str], width: int) -> str:
    return "  ".join(f"{word:{width}}"[:width] for word in words) + " \n"


def _entries(columns: list[list[float]]) -> list[str]:
    words = [f"{100 * _mean(column):.1f} +/- {100 * _error(column):.1f}" if column else "X" for column in columns]
    if not all(columns):
        return [*words, "X"]
    return [*words, f"{_mean([100 * _mean(column) for column in columns]):.1f}"]


def _mean(values: list[float]) -> float:
    total = 0.0
    for value in values:
        total += value
    return total / len(values)


def _error(values: list[float]) -> float:
    shrunk = [value / math.sqrt(len(values)) for value in values]
    squares = [(value - _mean(shrunk)) ** 2 for value in shrunk]
    return math.sqrt(_mean(squares))

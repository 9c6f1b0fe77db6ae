"""Trees of DomainBed results, invented: single lines, trees on disk, and random sweeps with all that can befall one."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Line = dict[str, Any]
N_DOMAINS = {"PACS": 4, "ColoredMNIST": 3, "Invented": 3}


def line(
    step: int = 0,
    *,
    accuracies: Sequence[tuple[float, float]] = ((0.5, 0.5),) * 4,
    dataset: str = "PACS",
    algorithm: str = "ERM",
    test_envs: Sequence[int] = (0,),
    trial_seed: int = 0,
    hparams_seed: int = 0,
) -> Line:
    """`accuracies`: of each domain (`in`, `out`)."""
    args = {
        "dataset": dataset,
        "algorithm": algorithm,
        "test_envs": list(test_envs),
        "trial_seed": trial_seed,
        "hparams_seed": hparams_seed,
        "output_dir": "some/where",
    }
    pairs = {
        f"env{i}_{split}_acc": accuracy
        for i, pair in enumerate(accuracies)
        for split, accuracy in zip(("in", "out"), pair, strict=True)
    }
    return {"args": args, "step": step, "loss": 0.25, "hparams": {"lr": 1e-3}, **pairs}


def dump(lines: Iterable[Line]) -> str:
    return "".join(json.dumps(one, sort_keys=True) + "\n" for one in lines)


def write_run(tree: Path, folder: str, lines: Iterable[Line] | str | bytes, *, done: bool = True) -> None:
    (tree / folder).mkdir(parents=True)
    text = lines if isinstance(lines, (str, bytes)) else dump(lines)
    (tree / folder / "results.jsonl").write_bytes(text if isinstance(text, bytes) else text.encode())
    if done:
        (tree / folder / "done").write_text("done")


def write_tree(tree: Path, folders: Mapping[str, Iterable[Line]]) -> Path:
    for folder, lines in folders.items():
        write_run(tree, folder, lines)
    return tree


def random_sweep(seed: int, datasets: Sequence[str] = ("PACS", "ColoredMNIST")) -> list[list[Line]]:
    """Files of runs: ties (coarse accuracies), NaN, missing runs and steps, repetitions in the same file with the same
    numbers or others, the same run in two files, pairs in either order, triples, unordered steps, foreign names."""
    chance = random.Random(seed)
    grid = chance.choice([2, 4, 10, 0])
    nan, gaps, repetitions = chance.choice([0, 0.05, 0.3]), chance.choice([0, 0.1, 0.4]), chance.choice([0, 0, 0.2])
    sizes = chance.choice([(1,), (1, 2), (1, 2), (1, 2, 3)])
    steps = [0, 100, 200][: chance.randint(1, 3)]

    def accuracy() -> float:
        if chance.random() < nan:
            return float("nan")
        return chance.random() if grid == 0 else chance.randint(0, grid) / grid

    def records(dataset: str, **key: Any) -> list[Line]:
        taken = [step for step in steps if chance.random() >= gaps / 2]
        if chance.random() < 0.1:
            chance.shuffle(taken)
        accuracies = ([(accuracy(), accuracy()) for _ in range(N_DOMAINS[dataset])] for _ in taken)
        return [line(step, accuracies=a, dataset=dataset, **key) for step, a in zip(taken, accuracies, strict=True)]

    files = []
    for dataset in chance.sample(datasets, chance.choice([1, 1, len(datasets)])):
        algorithms = chance.sample(["ERM", "IRM", "Fish", "a foreign name of some length"], chance.choice([1, 1, 2]))
        n = N_DOMAINS[dataset]
        test_sets = [one for size in sizes if size < n for one in itertools.combinations(range(n), size)]
        seeds, draws = range(chance.randint(1, 2)), range(chance.randint(1, 3))
        for algorithm, trial_seed, draw, test_envs in itertools.product(algorithms, seeds, draws, test_sets):
            while chance.random() >= gaps:
                key = {"algorithm": algorithm, "trial_seed": trial_seed, "hparams_seed": draw}
                envs = chance.sample(test_envs, len(test_envs))
                lines = records(dataset, test_envs=envs, **key)
                if chance.random() < repetitions:
                    lines += lines[:2] if chance.random() < 0.5 else records(dataset, test_envs=envs, **key)
                files.append(lines)
                if chance.random() >= repetitions:
                    break
    chance.shuffle(files)
    return files


def spread(files: Sequence[list[Line]], seed: int) -> dict[str, list[Line]]:
    """The files one behind another in up to three folders, in order: quicker to write than one folder each."""
    chance = random.Random(seed)
    cuts = [0, *sorted(chance.choices(range(len(files) + 1), k=2)), len(files)]
    parts = ([one for lines in files[a:b] for one in lines] for a, b in itertools.pairwise(cuts))
    return {f"{i}": lines for i, lines in enumerate(parts) if lines}

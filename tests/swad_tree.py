"""Folders as swad's trainer and its descendants write them, with invented accuracies.

Written from the definition of the two files (docs/domainbed.md): one process, all targets, results.jsonl and log.txt.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HPARAMS: Mapping[str, Mapping[str, Any]] = {
    "swad": {"indomain_test": False},
    "SAGM": {"indomain_test": False, "alpha": 0.001},
    "miro": {"model": "resnet50", "feat_layers": "stem_block", "ld": 0.1, "lr_mult": 10.0},
    "GGA": {"indomain_test": False, "neighborhoodSize": 1e-05, "gga_l_gamma": 0.001},
    "like swad": {"indomain_test": False},
}
ARGS: Mapping[str, Mapping[str, Any]] = {
    "GGA": {"neighborhoodSize": 1e-05, "gga_l_gamma": 0.001, "train_output": "train_output"},
    "like swad": {"warmup": False},
}
ROW_OF_VALIDATION = {"miro": "training-domain validation"}  # elsewhere "iid"
MESSAGE = "\x1b[37m\x1b[36m{}\x1b[0m\x1b[0m 11/30 09:23:24 | {}"


@dataclass
class Process:
    """One process of `train_all.py`.

    Args:
        targets: trained one after another.
        averages: whether SWAD is on.
        converged: whether SWAD finds a valley.
        fast: `--evalmode fast`.
        seed: of the accuracies, multiples of 1/1000, which six decimals write in full.
    """

    program: str = "swad"
    algorithm: str = "ERM"
    dataset: str = "PACS"
    trial_seed: int = 0
    targets: Sequence[int] = (0, 1, 2, 3)
    steps: Sequence[int] = (0, 100, 200)
    domains: int = 4
    averages: bool = False
    converged: bool = True
    fast: bool = True
    seed: int = 0
    hparams: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        chance = random.Random(self.seed)
        self.accuracies = {
            (target, step, name): chance.randint(1, 999) / 1000
            for target in self.targets
            for step in (*self.steps, "SWAD")
            for i in range(self.domains)
            for name in (f"env{i}_in", f"env{i}_out")
        }

    def measured(self, target: int, step: int | str) -> dict[str, float]:
        """The accuracies of an evaluation, as the evaluator returns them."""
        names = sorted(f"env{i}_{split}" for i in range(self.domains) for split in ("in", "out"))
        if self.fast:
            names = [name for name in names if name.endswith("out") or name == f"env{target}_in"]
        return {name: self.accuracies[target, step, name] for name in names}

    def validation(self, target: int, step: int | str) -> float:
        others = [i for i in range(self.domains) if i != target]
        return sum(self.accuracies[target, step, f"env{i}_out"] for i in others) / len(others)

    def test(self, target: int, step: int | str) -> float:
        return self.accuracies[target, step, f"env{target}_in"]

    def summary(self) -> dict[str, list[float]]:
        """The accuracies of its last table, by row, a number a target."""
        best = {target: max(self.steps, key=lambda step: self.validation(target, step)) for target in self.targets}
        rows = {"iid": [self.test(target, best[target]) for target in self.targets]}
        rows["last"] = [self.test(target, self.steps[-1]) for target in self.targets]
        if self.averages:
            rows["SWAD"] = [self.test(target, "SWAD") for target in self.targets]
            rows["SWAD (inD)"] = [self.validation(target, "SWAD") for target in self.targets]
        return rows

    def write(self, folder: Path, *, results: bool = True, log: bool = True) -> Path:
        folder.mkdir(parents=True)
        if results:
            (folder / "results.jsonl").write_text("".join(self.records()))
        if log:
            (folder / "log.txt").write_text(self.log())
        return folder

    def records(self) -> list[str]:
        lines = []
        for target in self.targets:
            for step in self.steps:
                args = {**self._args(), "test_envs": [[i] for i in self.targets], "real_test_envs": [target]}
                hparams = self._hparams()
                if self.program == "GGA":
                    hparams |= {"test_env": f"te_{target}", "logdir": "train_output/PACS/1"}
                numbers = {"step": step, "loss": 0.5, **self._summaries(target, step), **self.measured(target, step)}
                lines.append(json.dumps({**numbers, "args": args, "hparams": hparams}, sort_keys=True) + "\n")
        return lines

    def log(self) -> str:
        lines = [_info("Command :: train_all.py name"), "Environment:", "\tPython: 3.8.6", "Args:"]
        lines += [f"\t{name}: {value}" for name, value in sorted(self._args().items())]
        lines.append("HParams:")
        for name, value in self._hparams().items():
            if isinstance(value, dict):
                lines.append(f"\t{name}: ")
                lines += [f"\t  \x1b[36m{inner}: {number}\x1b[0m" for inner, number in value.items()]
            else:
                lines.append(f"\t{name}: {value}")
        lines += ["Dataset:", f"\t[{self.dataset}] #envs={self.domains}, #classes=7", "", _info("n_steps = 201")]
        for target in self.targets:
            lines += [_info(f"Test envs = [{target}], name = te_{target}")]
            columns = [*self._summaries(target, 0), *self.measured(target, 0), "step", "loss"]
            lines.append(_info(_row(columns)))
            for step in self.steps:
                values = [*self._summaries(target, step).values(), *self.measured(target, step).values(), step, 0.5]
                lines.append(_info(_row(values)))
            lines.append(_info("---"))
            if self.averages:
                if not self.converged:
                    message = "Requested final model, but model is not yet converged; return last model instead"
                    lines.append(MESSAGE.format("ERROR", message))
                lines.append(MESSAGE.format("WARNING", "Evaluate SWAD ..."))
                values = [*self._summaries(target, "SWAD").values(), *self.measured(target, "SWAD").values()]
                lines.append(_info(f"{_row(values)} [1-{self.steps[-1]}]  (N=2)"))
            at = self.targets.index(target)
            for name, numbers in self.summary().items():
                row = ROW_OF_VALIDATION.get(self.program, name) if name == "iid" else name
                lines.append(_info(f"{row} = {numbers[at]:.3%}"))
        lines += [_info("=== Summary ==="), "+---+", "| Selection | A |", "+---+"]
        return "".join(f"{line}\n" for line in lines)

    def _args(self) -> dict[str, Any]:
        args = {"algorithm": self.algorithm, "dataset": self.dataset, "trial_seed": self.trial_seed, "seed": 0}
        return {**args, "name": "name", "steps": None, **ARGS.get(self.program, {})}

    def _hparams(self) -> dict[str, Any]:
        swad = {"swad": "LossValley" if self.averages else False, "swad_kwargs": {"n_converge": 3, "n_tolerance": 6}}
        return {"lr": 5e-05, "resnet18": False, **swad, **HPARAMS[self.program], **self.hparams}

    def _summaries(self, target: int, step: int | str) -> dict[str, float]:
        test_out = self.accuracies[target, step, f"env{target}_out"]
        means = {"test_in": self.test(target, step), "test_out": test_out, "train_in": 0.0}
        return {**means, "train_out": self.validation(target, step), "tr_outloss": 0.25}


def _info(text: str) -> str:
    return MESSAGE.format("INFO", text)


def _row(values: Sequence[object]) -> str:
    words = (f"{value:.6f}" if isinstance(value, float) else str(value) for value in values)
    return "  ".join(word.ljust(10)[:10] for word in words) + " "

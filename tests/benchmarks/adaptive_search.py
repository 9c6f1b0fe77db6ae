"""Adaptive search within cells against random search and against searches that mix cells: `make bench`.

No training: a response surface stands for validation accuracy. Four test domains make four cells; their ceilings lie
up to 45 points apart, while hyperparameters move a cell by some 5 points. Each seed has its own optima, a little apart
from domain to domain. A cell is done with its first draw of at least 0.99 times the best accuracy of its surface; what
counts is the runs of the whole sweep by then, over the number of cells, and at most 40.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gga_sweep.distributions import Distribution
from gga_sweep.records import Scalar
from gga_sweep.scheduling import Result, RungTable, TPESearch, feed, pooled, rung_steps
from gga_sweep.seeding import stream, stream_seed
from gga_sweep.spec.draws import draw_hyperparameters

SEEDS, DRAWS, STARTUP = 50, 40, 8
CEILINGS: Mapping[str, float] = {"easy": 0.95, "fair": 0.85, "poor": 0.70, "hard": 0.50}
WITHIN = 0.99

SPACE: Mapping[str, Distribution] = {
    "lr": Distribution(loguniform=(1e-5, 1e-2)),
    "weight_decay": Distribution(loguniform=(1e-6, 1e-2)),
    "dropout": Distribution(uniform=(0.0, 0.5)),
    "annealing.radius": Distribution(loguniform=(1e-6, 1e-3)),
}
CURVATURE = (0.4, 0.05, 0.03, 0.08)
"""Accuracy lost a whole range away from the optimum, by hyperparameter: the rate matters most."""

STEPS, EVALUATE_EVERY, WINDOW_END, REDUCTION = 1000, 50, 200, 3

Values = Mapping[str, Scalar]
Runs = Iterator[tuple[str, float]]
"""What a search trains, run after run: the cell, and the accuracy."""


@dataclass(frozen=True)
class Surface:
    """Validation accuracy of one seed, by domain and hyperparameters.

    Args:
        ripple: of what makes it rugged, in accuracy: local optima along each hyperparameter.
    """

    seed: int
    ripple: float

    def accuracy(self, domain: str, values: Values) -> float:
        return self._at(domain, np.array([_unit(SPACE[name], values[name]) for name in SPACE]))

    def best(self, domain: str) -> float:
        """The optimum of the bowl, where the ripples have their top too."""
        return self._at(domain, self._optimum(domain))

    def _at(self, domain: str, point: np.ndarray) -> float:
        away = point - self._optimum(domain)
        ripples = self.ripple * np.mean(1 - np.cos(2 * math.pi * 5 * away))
        return float(CEILINGS[domain] - np.dot(CURVATURE, away**2) - ripples)

    def _optimum(self, domain: str) -> np.ndarray:
        shared = stream("surface", self.seed, "optimum").uniform(0.2, 0.8, len(SPACE))
        own = stream("surface", self.seed, "optimum", domain).normal(0, 0.05, len(SPACE))
        return np.clip(shared + own, 0, 1)


def _unit(searched: Distribution, value: Scalar) -> float:
    low, high = getattr(searched, searched.kind)
    if searched.kind == "loguniform":
        return math.log(float(value) / low) / math.log(high / low)
    return (float(value) - low) / (high - low)


def random_draw(seed: int, draw: int) -> Values:
    """As a plan draws: the same in every cell of a trial seed."""
    return draw_hyperparameters(SPACE, "by-name", "ERM", "surface", seed, draw + 1)


def random_search(surface: Surface) -> Runs:
    for draw in range(DRAWS):
        for domain in CEILINGS:
            yield domain, surface.accuracy(domain, random_draw(surface.seed, draw))


def within_cells(surface: Surface, told: Callable[[Mapping[str, list[Result]], str], Sequence[Result]]) -> Runs:
    """Draw after draw of every cell.

    Args:
        told: results by cell, and the cell to suggest for -> the results that its searcher receives.
    """
    results: dict[str, list[Result]] = {domain: [] for domain in CEILINGS}
    for draw in range(DRAWS):
        drawn = {}
        for domain in CEILINGS:
            if draw < STARTUP:
                drawn[domain] = random_draw(surface.seed, draw)
            else:
                search = TPESearch(SPACE, stream_seed("surface", surface.seed, "search", draw, domain))
                feed(search, told(results, domain))
                drawn[domain] = search.suggest()
        for domain, values in drawn.items():
            accuracy = surface.accuracy(domain, values)
            results[domain].append(Result(values, accuracy))
            yield domain, accuracy


def per_cell(surface: Surface) -> Runs:
    return within_cells(surface, lambda results, domain: results[domain])


def by_rank(surface: Surface) -> Runs:
    return within_cells(surface, lambda results, domain: [*pooled(results.values())])


def naive_in_turn(surface: Surface) -> Runs:
    """One searcher for all cells, which take turns; it receives accuracies as they are."""
    search = TPESearch(SPACE, stream_seed("surface", surface.seed, "search"))
    for draw in range(DRAWS):
        for domain in CEILINGS:
            values = random_draw(surface.seed, draw) if draw < STARTUP else search.suggest()
            accuracy = surface.accuracy(domain, values)
            search.tell(values, accuracy)
            yield domain, accuracy


def naive_domain_searched(surface: Surface) -> Runs:
    """One searcher that chooses the test domain too, as a searcher of Tune's does with `gga_sweep.param_space`."""
    domains = tuple(CEILINGS)
    search = TPESearch(
        {**SPACE, "test_domain": Distribution(choice=domains)}, stream_seed("surface", surface.seed, "search")
    )
    for run in range(DRAWS * len(domains)):
        if run < STARTUP * len(domains):
            drawn = random_draw(surface.seed, run // len(domains))
            values: Values = {**drawn, "test_domain": domains[run % len(domains)]}
        else:
            values = search.suggest()
        domain = str(values["test_domain"])
        accuracy = surface.accuracy(domain, values)
        search.tell(values, accuracy)
        yield domain, accuracy


SEARCHES: Mapping[str, Callable[[Surface], Runs]] = {
    "random": random_search,
    "TPE, one a cell": per_cell,
    "TPE, pooled by rank in the cell": by_rank,
    "TPE, pooled naively, cells in turn": naive_in_turn,
    "TPE, pooled naively, test domain searched": naive_domain_searched,
}


def runs_a_cell(surface: Surface, runs: Runs) -> tuple[float, int]:
    """Runs of the sweep until a cell is done, over the number of cells, on average over cells; and cells never done."""
    done: dict[str, float] = {}
    for number, (domain, accuracy) in enumerate(runs, start=1):
        if domain not in done and accuracy >= WITHIN * surface.best(domain):
            done[domain] = math.ceil(number / len(CEILINGS))
            if len(done) == len(CEILINGS):
                break
    return statistics.fmean(done.get(domain, DRAWS) for domain in CEILINGS), len(CEILINGS) - len(done)


def compare_searches(name: str, ripple: float) -> None:
    print(f"\n{name}: runs a cell until within 1 % of its best, at most {DRAWS}; median of {SEEDS} seeds [quartiles]")
    medians = {}
    for search, runs in SEARCHES.items():
        began = time.perf_counter()
        found = [runs_a_cell(surface, runs(surface)) for surface in (Surface(seed, ripple) for seed in range(SEEDS))]
        counts = [count for count, _ in found]
        low, medians[search], high = statistics.quantiles(counts, n=4)
        never = sum(missed for _, missed in found) / (SEEDS * len(CEILINGS))
        ratio = medians[search] / medians["random"]
        print(
            f"{search:44}{medians[search]:7.1f} [{low:.1f}, {high:.1f}]   {ratio:5.2f} of random"
            f"{100 * never:7.0f} % of cells never{time.perf_counter() - began:8.1f} s"
        )


def curve(surface: Surface, domain: str, values: Values, step: int) -> float:
    """Learning: accuracy rises to that of the surface, faster with a higher rate, under the noise of validation."""
    speed = 100 * 10 ** (1 - 2 * _unit(SPACE["lr"], values["lr"]))
    noise = stream("surface", surface.seed, "noise", domain, step, repr(values)).normal(0, 0.005)
    return surface.accuracy(domain, values) * (1 - 0.7 * math.exp(-step / speed)) + noise


def halved(surface: Surface, tables: Mapping[str, RungTable] | None) -> tuple[dict[str, int], dict[str, float]]:
    """Random draws in every cell, in turn, ended at rungs. Steps trained, and the true accuracy chosen, by domain."""
    evaluated = [*range(0, STEPS - 1, EVALUATE_EVERY), STEPS - 1]
    steps, chosen = dict.fromkeys(CEILINGS, 0), dict.fromkeys(CEILINGS, (-1.0, 0.0))
    for draw in range(DRAWS):
        for domain in CEILINGS:
            values, best = random_draw(surface.seed, draw), -1.0
            for step in evaluated:
                best = max(best, curve(surface, domain, values, step))
                table = None if tables is None else tables[domain]
                if table is not None and step in table.steps:
                    cutoff = table.cutoff(step)
                    table.reached(step, best)
                    if cutoff is not None and best < cutoff:
                        break
            steps[domain] += step + 1
            chosen[domain] = max(chosen[domain], (best, surface.accuracy(domain, values)))
    return steps, {domain: accuracy for domain, (_, accuracy) in chosen.items()}


def compare_halving() -> None:
    rungs = rung_steps(WINDOW_END, REDUCTION, [*range(0, STEPS - 1, EVALUATE_EVERY), STEPS - 1])
    even = 1 / len(CEILINGS)
    print(
        f"\nsuccessive halving of {DRAWS} random draws a cell, {STEPS} steps, one in {REDUCTION} kept at steps {rungs}"
    )
    print(f"{'median of ' + str(SEEDS) + ' seeds':24}" + "".join(f"{domain:>8}" for domain in CEILINGS), end="")
    print("   (share of steps)   hardest against even   steps saved   accuracy lost, mean and hardest")
    surfaces = [Surface(seed, 0.01) for seed in range(SEEDS)]
    whole = [halved(surface, None) for surface in surfaces]
    for name in ("within the cell", "over all cells"):
        runs = []
        for surface in surfaces:
            shared = RungTable(rungs, REDUCTION)
            own = {domain: RungTable(rungs, REDUCTION) for domain in CEILINGS}
            runs.append(halved(surface, own if name == "within the cell" else dict.fromkeys(CEILINGS, shared)))
        share = {
            domain: statistics.median(steps[domain] / sum(steps.values()) for steps, _ in runs) for domain in CEILINGS
        }
        saved = statistics.median(
            1 - sum(steps.values()) / sum(all_steps.values())
            for (steps, _), (all_steps, _) in zip(runs, whole, strict=True)
        )
        lost = {
            domain: statistics.fmean(
                before[domain] - found[domain] for (_, found), (_, before) in zip(runs, whole, strict=True)
            )
            for domain in CEILINGS
        }
        print(f"{name:24}" + "".join(f"{100 * share[domain]:6.1f} %" for domain in CEILINGS), end="")
        print(f"{100 * (share['hard'] / even - 1):+34.1f} %{100 * saved:12.1f} %", end="")
        print(f"{100 * statistics.fmean(lost.values()):14.2f} {100 * lost['hard']:8.2f} points")


def main() -> None:
    compare_searches("smooth surface", 0.0)
    compare_searches("rugged surface (ripples of 1 point)", 0.005)
    compare_halving()


if __name__ == "__main__":
    main()

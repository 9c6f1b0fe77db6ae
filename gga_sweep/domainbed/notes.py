"""The notes below DomainBed's tables: what was read, missing or omitted, and DomainBed's rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from gga_sweep.domainbed.model_selection import METHODS, DomainBedCell
from gga_sweep.domainbed.registry import ALGORITHMS, DOMAINS
from gga_sweep.domainbed.results import DOMAINBED, Results, Run, RunKey
from gga_sweep.domainbed.swad_family import AVERAGED, LOG, PROGRAMS
from gga_sweep.domainbed.tables import DomainBedTables, domain_labels
from gga_sweep.errors import Fault
from gga_sweep.report.document import Footnote
from gga_sweep.report.wording import count

NAME_WIDTH = 20
"""Characters of an algorithm's name that DomainBed prints beside the test domains; beside the datasets 5 more."""

_RULES = (
    "Within a run the first record in file order wins a tie, under leave-one-domain-out the lowest step.",
    "Between draws of equal accuracy the highest hparams_seed wins.",
    "A validation accuracy of NaN wins within a run only as its first candidate, and ranks last among draws.",
    "The oracle takes the last record of the highest step, whatever its accuracy.",
    "Leave-one-domain-out skips a step that a run with one test domain has recorded twice; of a pair the last record "
    "counts.",
    "Means are float64 sums in domain order over n; the standard error is the population's (ddof 0) over sqrt(n).",
    "An unfinished run takes part with the records it has, and cells may differ in their number of draws.",
    "The tables of averages take, trial seed by trial seed, whatever test domains there are.",
)
_DIFFERENCES = (
    "Folders are read in the order of their names, by DomainBed in the order of the file system. The order can change "
    "the last bit of a mean and, where two folders hold the same run, ties and the oracle.",
    "Formats other than text have our layout, and cut no name.",
)


def notes(results: Results, tables: DomainBedTables) -> list[Footnote]:
    """All notes, in the order of printing."""
    return [
        *_read(results),
        *_swad_family(results),
        *_missing(results, tables),
        *_of_faults(
            "Left out",
            f"{count(results.lines_left_out, 'record')} and {count(results.files_left_out, 'file')} of which nothing "
            "is used",
            results.left_out,
        ),
        *_of_faults("Doubtful", "used as it is, as DomainBed does", results.doubtful),
        *_names(results, tables),
        Footnote("DomainBed's rules", "also apply here.", _RULES),
        Footnote("Different from DomainBed", "intended:", _DIFFERENCES),
    ]


def _read(results: Results) -> Iterator[Footnote]:
    runs = results.runs
    by_domains = Counter(len(run.key.test_domains) for run in runs)
    items = [f"{count(by_domains[n], 'run')} with {count(n, 'test domain')}{_use(n)}" for n in sorted(by_domains)]
    for of, sign in ((True, "the file `done`"), (False, f"final results in {LOG}")):
        unfinished = sum(not run.done for run in runs if (run.key.program == DOMAINBED) is of)
        items += [f"{count(unfinished, 'run')} without {sign}: unfinished, but used"] * (unfinished > 0)
    if results.repeated:
        items.append(
            f"{count(results.repeated, 'record')} with the same numbers as an earlier one of the same run and step"
        )
    nan = sum(int(np.isnan(run.validation_split).any(axis=1).sum()) for run in runs)
    if nan:
        items.append(f"{count(nan, 'record')} with an accuracy of NaN on a validation split")
    draws = [len(seeds) for seeds in _draws(results).values()]
    if min(draws) < max(draws):
        items.append(f"between {min(draws)} and {max(draws)} draws a cell: those with more were searched longer")
    yield Footnote(
        "Read", f"{count(results.records, 'record')} of {count(len(runs), 'run')} in {results.folder}.", tuple(items)
    )


def _swad_family(results: Results) -> Iterator[Footnote]:
    """Which program wrote what, and what its files lack."""
    family = [run for run in results.runs if run.key.program != DOMAINBED]
    if not family:
        return
    folders = {program: len({run.folder for run in family if run.key.program == program}) for program in PROGRAMS}
    sentence = "recognised by the arguments and hyperparameters in their files."
    if any(run.key.algorithm.endswith(f"({run.key.program})") for run in family):
        sentence += " Their rows have the program in brackets, DomainBed's have none."
    items = tuple(f"{name} ({PROGRAMS[name]}): {count(number, 'folder')}" for name, number in folders.items() if number)
    yield Footnote("Programs with swad's trainer", sentence, items)
    yield Footnote("Lacking", "what their files do not have:", tuple(_lacking(results, family)))


def _lacking(results: Results, family: Sequence[Run]) -> Iterator[str]:
    if all(len(run.key.test_domains) != 2 for run in family):
        yield "runs that leave out two domains, and so leave-one-domain-out cross-validation"
    several = [
        f"{algorithm} on {dataset}: {len(of_draw)}, by {', '.join(_varied(of_draw.values()))}"
        for (dataset, algorithm), of_draw in settings_by_draw(results).items()
        if len(of_draw) > 1
    ]
    more = f" ({'; '.join(several)})" * bool(several)
    yield f"hparams_seed: different hyperparameters are different draws, numbered as they come{more}"
    fast = sum(bool(np.isnan(run.training_split).any()) for run in family)
    if fast:
        yield f"accuracies on the training splits of training domains, in {count(fast, 'run')}: no method uses them"
    halved = sum(_switched_on("indomain_test", run) for run in family)
    if halved:
        yield f"half of each validation split, in {count(halved, 'run')} with `indomain_test`"
    rounded = sum(run.file == LOG for run in family)
    if rounded:
        yield f"more than six decimals, in {count(rounded, 'run')} that {LOG} alone has"
    yield from _lacking_of_swad(results, family)
    yield (
        "DomainBed's oracle: their row `oracle` takes the step with the best accuracy on the validation split of the "
        "test domain; these tables take the last step, which is their row `last`"
    )


def _varied(settings: Collection[tuple[str, ...]]) -> list[str]:
    """Names of the hyperparameters that are not equal everywhere."""
    common = set.intersection(*map(set, settings))
    return sorted({line.partition(":")[0] for of_draw in settings for line in of_draw if line not in common})


def settings_by_draw(results: Results) -> Mapping[tuple[str, str], Mapping[int, tuple[str, ...]]]:
    """The hyperparameters of each draw of swad's family, by dataset and algorithm."""
    found: dict[tuple[str, str], dict[int, tuple[str, ...]]] = {}
    for run in results.runs:
        if run.key.program != DOMAINBED:
            found.setdefault((run.key.dataset, run.key.algorithm), {})[run.key.draw] = run.key.settings
    return found


def _lacking_of_swad(results: Results, family: Sequence[Run]) -> Iterator[str]:
    averaged = {_without_average(run) for run in family if AVERAGED in run.key.algorithm}
    if averaged:
        yield f"steps to select from, in rows{AVERAGED}: an average over steps is a run's only record"
    if results.unconverged:
        places = ", ".join(results.unconverged[:3]) + ", ..." * (len(results.unconverged) > 3)
        yield f"a valley, in {count(len(results.unconverged), 'average')}, each of its last segment alone ({places})"
    without = [run for run in family if _switched_on("swad", run) and _without_average(run) not in averaged]
    if without:
        yield f"the average, in {count(len(without), 'run')} with SWAD: no {LOG} evaluates it"


def _switched_on(name: str, run: Run) -> bool:
    off = {f"{name}: {value}" for value in (False, None, 0, 0.0)}
    return any(line.startswith(f"{name}: ") and line not in off for line in run.key.settings)


def _without_average(run: Run) -> tuple[str, RunKey]:
    return run.folder, replace(run.key, algorithm=run.key.algorithm.replace(AVERAGED, ""))


def _use(n: int) -> str:
    return {1: "", 2: ", which leave-one-domain-out validates with"}.get(n, ", which no method uses")


def _draws(results: Results) -> Mapping[tuple[str, str, tuple[int, ...], int], set[int]]:
    """Draws of each cell that has runs of its own."""
    draws: dict[tuple[str, str, tuple[int, ...], int], set[int]] = {}
    for run in results.runs:
        key = run.key
        draws.setdefault((key.dataset, key.algorithm, key.test_domains, key.trial_seed), set()).add(key.draw)
    return draws


def _missing(results: Results, tables: DomainBedTables) -> Iterator[Footnote]:
    marked = any(
        entry.incomplete and entry.mean is not None
        for block in tables.blocks
        for table in block.tables
        for row in table.rows.values()
        for entry in row
    )
    items = [
        f"{METHODS[method].label}: {line}"
        for method, cells in tables.missing.items()
        for line in _by_algorithm(results, cells, tables.choices[method])
    ]
    if items:
        mark = "a number marked * misses some of these; DomainBed prints it without a mark. " if marked else ""
        yield Footnote("Incomplete", f"{mark}Cells without a number:", tuple(items))


def _by_algorithm(
    results: Results, missing: Iterable[DomainBedCell], chosen: Collection[DomainBedCell]
) -> Iterator[str]:
    """ "PACS, ERM: A (trial seeds 0, 2), S (trial seed 1)"; "PACS, ERM: all" where it has no cell at all."""
    seeds: dict[tuple[str, str], dict[int, list[int]]] = {}
    for cell in missing:
        of_domain = seeds.setdefault((cell.dataset, cell.algorithm), {})
        of_domain.setdefault(cell.test_domain, []).append(cell.trial_seed)
    with_some = {(cell.dataset, cell.algorithm) for cell in chosen}
    for (dataset, algorithm), by_domain in seeds.items():
        labels = [*domain_labels(dataset, results.domains[dataset])]
        labels += [f"env{i}" for i in range(len(labels), results.domains[dataset])]
        lacking = ", ".join(f"{labels[domain]} ({_seeds(numbers)})" for domain, numbers in by_domain.items())
        yield f"{dataset}, {algorithm}: {lacking if (dataset, algorithm) in with_some else 'all'}"


def _seeds(numbers: Sequence[int]) -> str:
    return f"trial seed{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def _of_faults(heading: str, sentence: str, faults: Sequence[Fault]) -> Iterator[Footnote]:
    if faults:
        yield Footnote(heading, f"{sentence}.", tuple(map(str, faults)))


def _names(results: Results, tables: DomainBedTables) -> Iterator[Footnote]:
    foreign = sorted(set(results.domains) - set(DOMAINS))
    if foreign:
        yield Footnote(
            "Unknown datasets",
            "left out by DomainBed; here they have tables of their own, behind DomainBed's, and a table of averages.",
            tuple(foreign),
        )
    more = [name for name, labels in DOMAINS.items() if results.domains.get(name, 0) > len(labels)]
    if more:
        yield Footnote(
            "More domains than DomainBed's",
            "further domains have no column, and count in the averages alone.",
            tuple(f"{name}: {results.domains[name]} instead of {len(DOMAINS[name])}" for name in more),
        )
    strange = [name for name in tables.algorithms if name not in ALGORITHMS]
    if strange:
        items = [f"{name[:NAME_WIDTH]} stands for {name}" if len(name) > NAME_WIDTH else name for name in strange]
        yield Footnote(
            "Unknown algorithms",
            "printed behind DomainBed's own in the order of their first record, as DomainBed prints them.",
            tuple(items),
        )

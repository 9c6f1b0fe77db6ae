"""Writes a sweep's ledger as a DomainBed tree, for DomainBed's own tools (collect_results, list_top_hparams).

A folder a run, named by the MD5 of its training arguments; in it `results.jsonl` with one line an evaluation, `done`
if the run is DONE, and `model.pkl` if its selected weights are requested. Source of layout and names:
facebookresearch/DomainBed, domainbed/scripts/train.py and ray_backend.py, domainbed/lib/reporting.py.

| DomainBed | this export |
|---|---|
| `args.algorithm` | the arm's name, see `written_names` |
| `args.test_envs`, `env{i}` | positions of the domains in the dataset, ascending |
| `args.hparams_seed` | the highest of the run's draw numbers, which selection uses too |
| `args.hparams` | the run's hyperparameters as JSON; DomainBed draws others for that number |
| `args.seed` | as DomainBed's launcher would set it; our runs are seeded by their trial seed alone |
| `args.data_dir` | the tree of images; in DomainBed the folder above it |
| `hparams` | by DomainBed's names, with `annealing.*` and `network`; its switches that we do not have are false |
| `env{i}_in_acc`, `env{i}_out_acc` | accuracy on domain i's training split and on its validation split |
| `loss` | the joint loss of that step's minibatches; DomainBed's is a mean since the evaluation before |
| `step_time` | the run's mean seconds per step, with candidate search, without diagnostics; NaN if not timed |
| `mem_gb` | 0: not measured |
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gga_sweep.annealing.options import encode
from gga_sweep.datasets.files import expanded
from gga_sweep.domainbed.notes import NAME_WIDTH
from gga_sweep.domainbed.registry import DOMAINS
from gga_sweep.domainbed.results import RESULTS
from gga_sweep.errors import Fault, InputError, StorageError
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_folder import RunFolder
from gga_sweep.ledger.store import PosixStore
from gga_sweep.ledger.stored_sweep import read_plan
from gga_sweep.networks.choice import is_in_domainbed
from gga_sweep.records import FINAL, Cell, Record, RunRecords, RunStatus, Scalar
from gga_sweep.report.collect import collect
from gga_sweep.report.wording import count
from gga_sweep.seeding import seed_hash
from gga_sweep.selection import SweepView, build_table
from gga_sweep.selection.methods.training_validation import by_validation
from gga_sweep.spec import Plan
from gga_sweep.spec.arms import PREFIX, Arm
from gga_sweep.spec.location import Location
from gga_sweep.spec.models import RunSpec
from gga_sweep.spec.protocols import DOMAINBED_NAMES

MARKER = "gga-sweep-export.json"
"""Marks a folder as an export, and lists the run folders that a later export may overwrite."""

DONE, MODEL = "done", "model.pkl"
RESNET_IMAGE = (224, 224)
"""Height and width of the images for which DomainBed builds a ResNet (domainbed/networks/network.py, Featurizer)."""


@dataclass(frozen=True, slots=True)
class Exported:
    """The outcome of an export.

    Args:
        folder: the tree's root.
        runs, records, models: how many of each.
        remarks: notes on the tree, as sentences.
    """

    folder: Path
    runs: int
    records: int
    models: int
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Job:
    """A run as DomainBed describes it.

    Args:
        folder: its folder's name, a digest of `train_args`.
        train_args: what DomainBed's launcher would pass to its training.
        selected_step: the step whose weights are to be written; None for a run whose weights are not.
    """

    run: RunRecords
    config: RunSpec
    folder: str
    train_args: Mapping[str, object]
    hparams: Mapping[str, Scalar]
    selected_step: int | None


def export_domainbed(folder: str | Location, out: Path, models: bool = False) -> Exported:
    """Write every run of a sweep that was evaluated as a DomainBed tree. The ledger is not changed.

    Args:
        folder: the sweep's, STORAGE/SWEEP.
        out: an empty or new folder, or an earlier export of the same sweep, which is then replaced.
        models: also write the weights of the run and step selected in each cell, by the sweep's first method.

    Raises:
        InputError: the folder holds no sweep, none that was evaluated, or one that evaluated only what its own
            selection needs; or `out` holds anything else.
    """
    plan, ledger, out = read_plan(folder), Ledger(folder), expanded(out, "--domainbed")
    if plan.sweep.training.evaluate != "all":
        rule = "lacks accuracies that DomainBed's tools read at every evaluation: set training.evaluate and run again"
        raise InputError([Fault("training.evaluate", rule, plan.sweep.training.evaluate, ("all",))], str(folder))
    former = _former_folders(out, ledger)
    view = collect(plan, ledger)
    jobs = _jobs(plan, ledger, view, models)
    if not jobs:
        raise InputError([Fault("DIR", "must hold a run that was evaluated", str(folder))])
    store = PosixStore(out)
    present = [job.folder for job in jobs]
    try:
        _write_marker(store, ledger, view, {*former, *present})  # first, so that a broken export can be repeated
    except StorageError as error:
        raise InputError([Fault("--domainbed", f"cannot be written: {error}", str(out))]) from error
    written = [job for job in jobs if _write_run(store, out, plan, ledger.run(job.run.folder), job)]
    for name in set(former) - set(present):
        _delete_run(store, out, name)
    return Exported(
        folder=out,
        runs=len(jobs),
        records=sum(len(job.run.records) for job in jobs),
        models=len(written),
        remarks=tuple(_remarks(plan, view, jobs, written)),
    )


def written_names(arms: Sequence[Arm]) -> dict[str, str]:
    """Arm -> the algorithm it is written as: DomainBed has algorithms, not arms.

    That is the arm's own name. If only one arm is a registered algorithm without additions, it has the algorithm's name
    instead, unless another arm has that name.
    """
    plain = Counter(arm.algorithm for arm in arms if _is_plain(arm))
    taken = {arm.name for arm in arms}
    return {
        arm.name: arm.algorithm
        if _is_plain(arm) and plain[arm.algorithm] == 1 and arm.algorithm not in taken
        else arm.name
        for arm in arms
    }


def domainbed_weights(weights: Mapping[str, Any]) -> dict[str, Any]:
    """A ResNet's tensors under the names that DomainBed's ERM has for them, with its classifier's.

    Each occurs twice: that model has its featurizer and classifier once by name and once in a sequence
    (domainbed/algorithms.py, class ERM; domainbed/networks/network.py, class ResNet).
    """
    renamed: dict[str, Any] = {}
    for name, tensor in weights.items():
        part, _, inner = name.partition(".")
        if part == "featurizer":
            inner = f"network.{inner}"
        renamed[f"{part}.{inner}"] = tensor
        renamed[f"network.{('featurizer', 'classifier').index(part)}.{inner}"] = tensor
    return renamed


def _is_plain(arm: Arm) -> bool:
    return arm.annealing is None and not arm.factors and ":" not in arm.algorithm


def _former_folders(out: Path, ledger: Ledger) -> tuple[str, ...]:
    """The run folders of an earlier export there; none in a new or empty folder.

    Raises:
        InputError: the folder holds anything else.
    """
    rule = ""
    if isinstance(ledger.folder, Path) and out.resolve().is_relative_to(ledger.folder.resolve()):
        rule = "must lie outside the sweep's own folder"
    elif out.exists() and not out.is_dir():
        rule = "must be a folder"
    elif out.is_dir() and any(out.iterdir()):
        marker = _read_marker(out)
        if marker.get("ledger") == str(ledger.folder.resolve()):
            return tuple(marker["folders"])
        rule = "must be a new or empty folder, or a former export of the same sweep"
    if rule:
        raise InputError([Fault("--domainbed", rule, str(out))])
    return ()


def _read_marker(out: Path) -> dict[str, Any]:
    content = PosixStore(out).read(MARKER)
    try:
        marker = json.loads(content or b"{}")
    except ValueError:
        return {}
    return marker if isinstance(marker, dict) else {}


def _write_marker(store: PosixStore, ledger: Ledger, view: SweepView, folders: set[str]) -> None:
    """With the protocol, which DomainBed's tables do not print."""
    marker = {
        "sweep": view.name,
        "ledger": str(ledger.folder.resolve()),
        "protocol": view.protocol,
        "deviations": view.deviations,
        "folders": sorted(folders),
    }
    store.replace(MARKER, (json.dumps(marker, indent=1) + "\n").encode())


def _delete_run(store: PosixStore, out: Path, name: str) -> None:
    """Delete the files of an export, and the folder unless it holds anything else."""
    for file in (DONE, RESULTS, MODEL):
        store.delete(f"{name}/{file}")
    if (out / name).is_dir() and not any((out / name).iterdir()):
        (out / name).rmdir()


def _jobs(plan: Plan, ledger: Ledger, view: SweepView, models: bool) -> list[_Job]:
    names = written_names(plan.sweep.arms)
    planned = {(run.cell, run.key): run.config for run in plan.runs}
    selected = _selected_steps(plan, view) if models else {}
    jobs = []
    for run in _trained(view):
        place = run.cell, run.key
        config = planned.get(place) or _config_of(ledger.run(run.folder))
        if run.records and config is not None:
            hparams = _hparams(config)
            train_args = _train_args(run, config, names[run.cell.arm], plan.sweep.dataset.domain_names, hparams)
            digest = hashlib.md5(json.dumps(train_args, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
            jobs.append(_Job(run, config, digest, train_args, hparams, selected.get(place)))
    return jobs


def _trained(view: SweepView) -> list[RunRecords]:
    """Every run: in DomainBed an evaluation belongs to a step, and those of averaged weights do not."""
    return [run for run in (*view.records, *view.pair_records) if run.cell.arm not in view.averaged]


def _selected_steps(plan: Plan, view: SweepView) -> dict[tuple[Cell, str], int]:
    """By cell and key, as the sweep's own table has them."""
    table = build_table(view, plan.sweep.selection[0], select_from=plan.sweep.config.select_from)
    return {(each.cell, each.key): each.step for each in table.selected}


def _config_of(folder: RunFolder) -> RunSpec | None:
    """Of a run that a user's own searcher added to those of the plan."""
    header = folder.read_header()
    return None if header is None else header.config


def _hparams(config: RunSpec) -> dict[str, Scalar]:
    """The run's hyperparameters by DomainBed's names (domainbed/hparams_registry.py), and ours beside them."""
    named = {DOMAINBED_NAMES.get(name, name): value for name, value in config.hyperparameters.items()}
    annealing = {} if config.annealing is None else encode(config.annealing)
    return {
        **named,
        **{PREFIX + name: value for name, value in annealing.items()},
        "network": config.training.network,
        "resnet18": config.training.network == "resnet18",
        "freeze_bn": config.training.freeze_batch_norm,
        "data_augmentation": config.training.augmentation != "none",
        "class_balanced": False,
        "nonlinear_classifier": False,
        "resnet50_augmix": config.training.network == "timm/resnet50.ram_in1k",
        "vit": False,
    }


def _train_args(
    run: RunRecords, config: RunSpec, algorithm: str, domains: Sequence[str], hparams: Mapping[str, Scalar]
) -> dict[str, object]:
    """The input of the name of the run's folder: everything that identifies the run, and no path of the export."""
    dataset, trial_seed, draw = run.cell.dataset, run.cell.trial_seed, max(run.draws)
    test_envs = sorted(domains.index(name) for name in run.cell.test_domains)
    return {
        "dataset": dataset,
        "algorithm": algorithm,
        "test_envs": test_envs,
        "holdout_fraction": config.training.holdout,
        "hparams_seed": draw,
        "data_dir": None if config.dataset.root is None else str(config.dataset.root),
        "task": "domain_generalization",
        "trial_seed": trial_seed,
        "seed": seed_hash(dataset, algorithm, test_envs, draw, trial_seed),
        "steps": config.training.steps,
        "hparams": json.dumps(hparams, sort_keys=True),
    }


def _write_run(store: PosixStore, out: Path, plan: Plan, folder: RunFolder, job: _Job) -> bool:
    """Write the run's folder, over that of an earlier export.

    Returns:
        Whether it has a model.
    """
    weights = folder.intact_selected() if _is_kept(job) else None
    header = None if weights is None else folder.read_header()
    args = {
        **job.train_args,
        "checkpoint_freq": job.config.training.evaluate_every,
        "output_dir": str(out / job.folder),
        "uda_holdout_fraction": 0,
        "skip_model_save": header is None,
        "save_model_every_checkpoint": False,
    }
    sizes = plan.sweep.dataset.domain_sizes
    content = {RESULTS: _lines(job, args, sizes, _step_time(job.run))}
    if weights is not None and header is not None:
        model = {
            "args": args,
            "model_input_shape": header.input_shape,
            "model_num_classes": len(header.classes),
            "model_num_domains": len(sizes) - len(job.run.cell.test_domains),
            "model_hparams": dict(job.hparams),
        }
        content[MODEL] = _with_weights(model, weights, _fits_erm(plan, job))
    if job.run.status is RunStatus.DONE:
        content[DONE] = b"done"
    for name in (RESULTS, MODEL, DONE):  # `done` last, as in DomainBed
        path = f"{job.folder}/{name}"
        if name in content:
            store.replace(path, content[name])
        else:
            store.delete(path)
    return MODEL in content


def _lines(job: _Job, args: Mapping[str, object], sizes: Mapping[str, int], step_time: float) -> bytes:
    """`results.jsonl`, by ascending step; NaN as Python's json writes and reads it."""
    holdout = job.config.training.holdout
    smallest = min(size - int(holdout * size) for size in sizes.values())
    steps_per_epoch = smallest / int(job.config.hyperparameters["batch_size"])
    lines = (
        {
            **_accuracies(record, tuple(sizes)),
            "args": args,
            "hparams": job.hparams,
            "step": record.step,
            "epoch": record.step / steps_per_epoch,
            "loss": record.validation.batch_loss,
            "step_time": step_time,
            "mem_gb": 0.0,
        }
        for record in job.run.records
    )
    return "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines).encode()


def _accuracies(record: Record, domains: Sequence[str]) -> dict[str, float]:
    scores = {**record.validation.domains, **record.test.domains}
    return {
        f"env{index}_{split}_acc": score.accuracy
        for index, name in enumerate(domains)
        for split, score in (("in", scores[name].train), ("out", scores[name].validation))
        if score is not None  # as of every run of a sweep that evaluates all
    }


def _step_time(run: RunRecords) -> float:
    steps = run.result.state.step + 1
    seconds = [run.seconds[phase] for phase in ("training", "search") if phase in run.seconds]
    return sum(seconds) / steps if seconds and steps else math.nan


def _is_kept(job: _Job) -> bool:
    """Whether the ledger has the weights of the selected step: it keeps only those of a run's best validation step."""
    best = by_validation(job.run, job.config.metric)
    return best is not None and best.step == job.selected_step


def _fits_erm(plan: Plan, job: _Job) -> bool:
    """Whether it predicts like DomainBed's ERM; an algorithm that adapts to a batch has its own network."""
    transductive = {arm.algorithm for arm in plan.sweep.arms if arm.declared.transductive}
    return is_in_domainbed(job.config.training.network) and job.config.algorithm not in transductive


def _network_in_words(config: RunSpec) -> str:
    """ "small-cnn", "the resnet18 of ARM"."""
    name = config.training.network
    return f"the {name} of {config.algorithm}" if is_in_domainbed(name) else name


def _with_weights(model: Mapping[str, object], weights: bytes, fits_erm: bool) -> bytes:
    import torch

    from gga_sweep.training.checkpoint import parse_weights

    tensors = parse_weights(weights)
    content = io.BytesIO()
    torch.save({**model, "model_dict": domainbed_weights(tensors) if fits_erm else tensors}, content)
    return content.getvalue()


def _remarks(plan: Plan, view: SweepView, jobs: Sequence[_Job], written: Sequence[_Job]) -> Iterator[str]:
    if view.dataset not in DOMAINS:
        yield (
            f"DomainBed's collect_results prints no table of the dataset {view.dataset}, but `gga-sweep report "
            "--domainbed` does."
        )
    yield from _remarks_on_names(written_names(plan.sweep.arms))
    yield from _remarks_on_runs(view, jobs)
    if view.averaged:
        yield f"Left out, because DomainBed has no averaged weights: the rows {'; '.join(view.averaged)}."
    yield from _remarks_on_models(plan, jobs, written)
    yield from view.notes


def _remarks_on_names(names: Mapping[str, str]) -> Iterator[str]:
    for arm, name in names.items():
        if name != arm:
            yield f"The arm {arm} is written as the algorithm {name}."
    alike = Counter(name[:NAME_WIDTH] for name in names.values())
    if cut := [name for name in names.values() if alike[name[:NAME_WIDTH]] > 1]:
        yield f"DomainBed's tables show {NAME_WIDTH} characters of a name, in which these are equal: {'; '.join(cut)}."


def _remarks_on_runs(view: SweepView, jobs: Sequence[_Job]) -> Iterator[str]:
    if left_out := len(_trained(view)) - len(jobs):
        yield f"Left out, because never evaluated: {count(left_out, 'run')}."
    states = Counter(job.run.status for job in jobs if job.run.status is not RunStatus.DONE)
    if states:
        listed = ", ".join(f"{status.lower().replace('_', ' ')}: {n}" for status, n in sorted(states.items()))
        yield (
            f"Written without `done`: {count(states.total(), 'run')} ({listed}). DomainBed's collect_results uses them"
            + ("; our tables leave out those that are not final." if set(states) - FINAL else ", as do our tables.")
        )
    if merged := sum(len(job.run.draws) > 1 for job in jobs):
        yield f"Written once, under the highest of several equal draws: {count(merged, 'run')}."


def _remarks_on_models(plan: Plan, jobs: Sequence[_Job], written: Sequence[_Job]) -> Iterator[str]:
    selected = [job for job in jobs if job.selected_step is not None]
    kept = sum(map(_is_kept, selected))
    if other := len(selected) - kept:
        yield (
            f"Without a model: {count(other, 'selected run')}. The ledger keeps only the weights of the best step by "
            "training-domain validation, and another step was selected."
        )
    if lost := kept - len(written):
        yield f"Without a model: {count(lost, 'selected run')}. Their weights are missing or damaged in the ledger."
    own = [job.config for job in written if not _fits_erm(plan, job)]
    if foreign := sorted({_network_in_words(config) for config in own}):
        yield f"DomainBed has no network like {', '.join(foreign)}: the weights in {MODEL} have our own names."
    if len(own) < len(written):
        yield f"The {'other ' * bool(own)}weights in {MODEL} fit DomainBed's class ERM, whatever the arm's name."
        height, width = plan.sweep.dataset.image_shape[1:]
        if (height, width) != RESNET_IMAGE:
            yield (
                f"DomainBed builds a ResNet for images of {RESNET_IMAGE[0]} x {RESNET_IMAGE[1]} alone; these models "
                f"were trained on {height} x {width}."
            )

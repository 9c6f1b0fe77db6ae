"""Faults of `metric:`: a protocol that stays with accuracy, and splits on which the metric is undefined."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gga_sweep.datasets import domain_labels, split_domain
from gga_sweep.datasets.splits import SplitName
from gga_sweep.errors import Fault
from gga_sweep.metrics import DEFAULT_METRIC, METRICS
from gga_sweep.spec.plan import SweepSpec


def metric_faults(sweep: SweepSpec) -> Iterator[Fault]:
    """Faults of the sweep's metric. Reads labels if the metric needs every class in a split, and no photograph."""
    metric, protocol = sweep.config.metric, sweep.protocol
    if metric != DEFAULT_METRIC and protocol.accuracy_alone:
        rule = f"must be {DEFAULT_METRIC} under protocol {protocol.name}, whose selection and results are by accuracy"
        yield Fault("metric", rule, metric, (DEFAULT_METRIC,))
    elif METRICS[metric].needs_every_class:
        faults = [*_small_splits(sweep)] or [*_splits_without_a_class(sweep)]
        more = f" ({len(faults) - 1} more such splits)" * (len(faults) > 1)
        remedy = "choose other trial seeds, a larger training.holdout, or a metric that is always defined"
        for found in faults[:1]:
            rule = f"{METRICS[metric].label} needs an image of every class in each split: {found}{more}; {remedy}"
            yield Fault("metric", rule, metric)


def _small_splits(sweep: SweepSpec) -> Iterator[str]:
    """Validation splits with fewer images than there are classes, whatever the trial seed."""
    for domain, size in sweep.dataset.domain_sizes.items():
        images = int(sweep.training.holdout * size)
        if 0 < images < sweep.dataset.n_classes:
            yield f"{sweep.dataset.n_classes} classes, but {images} validation images in domain {domain!r}"


def _splits_without_a_class(sweep: SweepSpec) -> Iterator[str]:
    """The splits that lack a class, of those that training-domain validation and the tables read."""
    if not sweep.dataset.available:
        return
    training, sizes = sweep.training, sweep.dataset.domain_sizes
    labels = domain_labels(sweep.config.dataset)
    for trial_seed in sweep.config.trial_seeds:
        for index, (domain, size) in enumerate(sizes.items()):
            if not 0 < int(training.holdout * size) < size:
                continue  # reported already
            split = split_domain(size, sweep.dataset.name, trial_seed, domain, index, training.split, training.holdout)
            for name in _read_splits(sweep, domain):
                counts = np.bincount(labels[domain][getattr(split, name)], minlength=sweep.dataset.n_classes)
                for label in np.flatnonzero(counts == 0):
                    lacking = str(label) if sweep.dataset.classes is None else sweep.dataset.classes[label]
                    yield f"the {name} split of domain {domain!r} lacks class {lacking!r} under trial seed {trial_seed}"


def _read_splits(sweep: SweepSpec, domain: str) -> Iterator[SplitName]:
    if any(domain not in held_out for held_out in sweep.test_domains):
        yield "validation"
    if any(domain in held_out for held_out in sweep.test_domains):
        yield "train"

"""Datasets, their splits, minibatches and augmentation. Importing this loads neither torch nor scikit-learn."""

from gga_sweep.datasets.augmentation import Augmentation, check_augmentation
from gga_sweep.datasets.batched_augmentation import augment_batch
from gga_sweep.datasets.catalogue import BENCHMARKS, Benchmark, Variant, traits_of
from gga_sweep.datasets.dataset import Dataset, DatasetDescription, Domain, digest_of_tensors
from gga_sweep.datasets.dataset_check import DatasetCheck, DomainCount
from gga_sweep.datasets.digits import Ceilings, colored_digits_ceilings
from gga_sweep.datasets.minibatches import Minibatch, draw_minibatch, evaluation_batch, minibatch_indices
from gga_sweep.datasets.parquet import ParquetColumns
from gga_sweep.datasets.prepare import PreparedDataset, prepare_dataset
from gga_sweep.datasets.registry import (
    check_dataset,
    dataset_digest,
    describe,
    domain_labels,
    has_photographs,
    known_datasets,
    load_dataset,
    uncounted_benchmarks,
)
from gga_sweep.datasets.splits import Split, split_domain

__all__ = [
    "BENCHMARKS",
    "Augmentation",
    "Benchmark",
    "Ceilings",
    "Dataset",
    "DatasetCheck",
    "DatasetDescription",
    "Domain",
    "DomainCount",
    "Minibatch",
    "ParquetColumns",
    "PreparedDataset",
    "Split",
    "Variant",
    "augment_batch",
    "check_augmentation",
    "check_dataset",
    "colored_digits_ceilings",
    "dataset_digest",
    "describe",
    "digest_of_tensors",
    "domain_labels",
    "draw_minibatch",
    "evaluation_batch",
    "has_photographs",
    "known_datasets",
    "load_dataset",
    "minibatch_indices",
    "prepare_dataset",
    "split_domain",
    "traits_of",
    "uncounted_benchmarks",
]

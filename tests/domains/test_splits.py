"""Splits: complete, disjoint, and a function of trial seed and domain alone."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gga_sweep.domains import Split, split_domain
from gga_sweep.errors import InputError

schemes = st.sampled_from(["stream", "domainbed"])


def split(
    size: int = 50,
    dataset: str = "mine",
    trial_seed: int = 0,
    name: str = "near",
    index: int = 0,
    scheme: Literal["stream", "domainbed"] = "stream",
    holdout: float = 0.2,
) -> Split:
    return split_domain(size, dataset, trial_seed, name, index, scheme, holdout)


def same(one: Split, other: Split) -> bool:
    return np.array_equal(one.train, other.train) and np.array_equal(one.validation, other.validation)


@settings(max_examples=40, deadline=None)
@given(size=st.integers(10, 500), trial_seed=st.integers(0, 10**6), index=st.integers(0, 5), scheme=schemes)
def test_a_split_is_disjoint_and_complete(
    size: int, trial_seed: int, index: int, scheme: Literal["stream", "domainbed"]
) -> None:
    parts = split(size, trial_seed=trial_seed, index=index, scheme=scheme)

    assert len(parts.validation) == size // 5
    assert parts.train.dtype == parts.validation.dtype == np.int64
    assert sorted([*parts.train, *parts.validation]) == list(range(size))


def test_the_stream_split_depends_on_trial_seed_domain_and_dataset() -> None:
    assert same(split(), split())
    assert same(split(), split(index=3))
    assert not same(split(), split(trial_seed=1))
    assert not same(split(), split(name="far"))
    assert not same(split(), split(dataset="other"))


def test_the_domainbed_split_depends_on_trial_seed_and_domain_index() -> None:
    def domainbed(trial_seed: int = 0, index: int = 0, name: str = "near", dataset: str = "mine") -> Split:
        return split(trial_seed=trial_seed, index=index, name=name, dataset=dataset, scheme="domainbed")

    assert same(domainbed(), domainbed(name="far", dataset="other"))
    assert not same(domainbed(), domainbed(trial_seed=1))
    assert not same(domainbed(), domainbed(index=1))
    assert not same(domainbed(), split())


@pytest.mark.parametrize(("trial_seed", "index", "size"), [(0, 0, 2048), (2, 3, 1670), (1, 1, 17)])
def test_the_domainbed_split_is_that_of_domainbed(trial_seed: int, index: int, size: int) -> None:
    # from the protocol's text: shuffled by RandomState(md5 of the tuple's str, modulo 2**31), the first fifth is out
    seed = int(hashlib.md5(f"({trial_seed}, {index})".encode()).hexdigest(), 16) % 2**31
    keys = list(range(size))
    np.random.RandomState(seed).shuffle(keys)

    parts = split(size, trial_seed=trial_seed, index=index, scheme="domainbed")

    assert parts.validation.tolist() == keys[: int(size * 0.2)]
    assert parts.train.tolist() == keys[int(size * 0.2) :]


def test_the_holdout_sets_the_size_of_the_validation_split() -> None:
    assert len(split(10, holdout=0.3).validation) == 3
    assert len(split(299).validation) == 59


@pytest.mark.parametrize(("size", "holdout"), [(4, 0.2), (10, 0.0), (10, 1.0), (10, -0.5), (0, 0.2)])
def test_an_empty_split_is_refused(size: int, holdout: float) -> None:
    with pytest.raises(InputError, match=rf"domain 'near' \({size} images\), got {holdout}"):
        split(size, holdout=holdout)


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(InputError, match=r"got 'halves' \(allowed: stream, domainbed\)"):
        split(scheme="halves")  # type: ignore[arg-type]

"""Splits: complete, disjoint, and a function of trial seed and domain alone."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gga_sweep.datasets import Domain, Split, split_domain
from gga_sweep.datasets.splits import split_digest, split_digests
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


def test_a_digest_is_blake2b_of_the_ids_as_json() -> None:
    ids = ["art/cat/1.png", "art/d\u00e9j\u00e0/2.png"]
    text = '["art/cat/1.png", "art/d\\u00e9j\\u00e0/2.png"]'  # as somebody else would write it
    assert split_digest(ids) == hashlib.blake2b(text.encode("ascii"), digest_size=8).hexdigest()
    assert len(split_digest([])) == 16


ids = st.lists(st.text(max_size=3), max_size=4)


@settings(max_examples=200, deadline=None)
@given(one=ids, other=ids)
def test_two_digests_are_equal_if_and_only_if_ids_and_order_are(one: list[str], other: list[str]) -> None:
    assert (split_digest(one) == split_digest(other)) == (one == other)
    joined = ["".join(one)]
    assert (split_digest(one) == split_digest(joined)) == (one == joined)
    assert split_digest(iter(one)) == split_digest(one)


def test_a_file_name_that_is_no_text_has_a_digest_of_its_own() -> None:
    assert split_digest(["\udcff.png"]) != split_digest(["\udcfe.png"])


def test_each_domain_has_a_digest_of_its_training_and_of_its_validation_split() -> None:
    names = {"near": ("n0", "n1", "n2"), "far": ("f0", "f1", "f2")}
    images, labels = torch.zeros(3, 1, 8, 8), torch.zeros(3, dtype=torch.int64)
    domains = [Domain(name, images, labels, ids) for name, ids in names.items()]
    splits = {"near": Split(np.array([2, 0]), np.array([1])), "far": Split(np.array([1]), np.array([2, 0]))}

    def digest(*ids: str) -> str:
        return hashlib.blake2b(json.dumps(ids).encode(), digest_size=8).hexdigest()

    found = split_digests(domains, splits)
    assert found == {"near": (digest("n2", "n0"), digest("n1")), "far": (digest("f1"), digest("f2", "f0"))}

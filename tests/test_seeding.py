"""Streams: one for each purpose, the same everywhere and always."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gga_sweep.seeding import Index, seed_hash, stream, stream_seed, tensor_stream

Name = tuple[str, int, str, tuple[Index, ...]]

names: st.SearchStrategy[Name] = st.tuples(
    st.text(max_size=3),
    st.integers(0, 20),
    st.text(max_size=3),
    st.lists(st.one_of(st.integers(-3, 20), st.text(max_size=3)), max_size=3).map(tuple),
)


def _seed(name: Name) -> int:
    dataset, trial_seed, purpose, indices = name
    return stream_seed(dataset, trial_seed, purpose, *indices)


@settings(max_examples=200, deadline=None)
@given(one=names, other=names)
def test_two_streams_have_one_seed_only_if_all_of_their_name_is_equal(one: Name, other: Name) -> None:
    assert (_seed(one) == _seed(other)) == (one == other)
    assert 0 <= _seed(one) < 2**63


def test_a_number_and_its_text_are_different_streams_and_parts_do_not_run_together() -> None:
    assert stream_seed("PACS", 0, "minibatch", 1) != stream_seed("PACS", 0, "minibatch", "1")
    assert stream_seed("PACS", 0, "mask", "ab", "c") != stream_seed("PACS", 0, "mask", "a", "bc")
    assert stream_seed("PACS", 0, "mask", 1, 23) != stream_seed("PACS", 0, "mask", 12, 3)


def test_a_seed_does_not_depend_on_the_process() -> None:
    code = "from gga_sweep.seeding import stream_seed; print(stream_seed('PACS', 1, 'noise', 7, 'sketch'))"
    for hash_seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": hash_seed}
        printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
        assert int(printed.stdout) == stream_seed("PACS", 1, "noise", 7, "sketch")


def test_a_stream_repeats_and_leaves_the_global_generators_alone() -> None:
    np.random.seed(0)
    torch.manual_seed(0)
    state = np.random.get_state()[1].copy(), torch.get_rng_state()
    first = stream("PACS", 0, "split", "photo").permutation(9), torch.rand(9, generator=tensor_stream("PACS", 0, "w"))
    again = stream("PACS", 0, "split", "photo").permutation(9), torch.rand(9, generator=tensor_stream("PACS", 0, "w"))
    assert (first[0] == again[0]).all()
    assert torch.equal(first[1], again[1])
    assert (np.random.get_state()[1] == state[0]).all()
    assert torch.equal(torch.get_rng_state(), state[1])


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_first_numbers_of_neighbouring_streams_are_uniform_and_unrelated(kind: str) -> None:
    def first(index: int) -> float:
        if kind == "numpy":
            return float(stream("PACS", 0, "minibatch", index).random())
        return float(torch.rand(1, generator=tensor_stream("PACS", 0, "noise", index)))

    values = np.array([first(index) for index in range(2000)])
    quarters = np.histogram(values, bins=4, range=(0, 1))[0] / 2000
    assert quarters == pytest.approx([0.25] * 4, abs=0.04)  # four standard errors
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.09


@pytest.mark.parametrize("args", [(0, 0), (3, "lr"), ("dropout",), (1, 2, 3)])
def test_seed_hash_is_domainbeds(args: tuple[object, ...]) -> None:
    assert seed_hash(*args) == int(hashlib.md5(str(args).encode("utf-8")).hexdigest(), 16) % (2**31)

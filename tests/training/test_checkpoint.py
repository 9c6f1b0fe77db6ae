"""Weights and optimiser state as bytes."""

from __future__ import annotations

import io
import pickle

import pytest
import torch
from small_runs import CPU, annealing_of, batch_norm_featurizer, bits, make_dataset, run_config, trained
from torch import nn

from gga_sweep.training.checkpoint import dump_state, dump_weights, parse_state, parse_weights
from gga_sweep.training.trainer import Trainer


def test_a_state_comes_back_with_every_bit() -> None:
    config = run_config(annealing_of(), network="small_runs:batch_norm_featurizer")
    state = trained(config, make_dataset(), until=5).state()

    again = parse_state(dump_state(state))

    assert bits(again) == bits(state)
    assert len(bits(again)) > 20  # weights, batch-norm statistics, both moments of Adam


def test_a_state_goes_into_another_trainer_with_every_bit() -> None:
    config, dataset = run_config(network="small_runs:batch_norm_featurizer"), make_dataset()
    state = dump_state(trained(config, dataset, until=5).state())

    other = Trainer(config, dataset, CPU)
    other.load_state(parse_state(state))

    assert other.next_step == 5
    assert bits(other.state()) == bits(parse_state(state))


@pytest.mark.parametrize("place", [0, 20, 0.25, 0.5, 0.75, -1])
def test_one_flipped_bit_anywhere_is_noticed(place: float) -> None:
    content = bytearray(dump_state({"weights": torch.arange(500.0), "next_step": 7}))
    content[int(place * len(content)) if isinstance(place, float) else place] ^= 0b100

    with pytest.raises(ValueError, match=f"its {len(content)} bytes do not fit their digest"):
        parse_state(bytes(content))


@pytest.mark.parametrize("content", [b"", b"\x00" * 10, b"no checkpoint at all"])
def test_what_never_was_a_checkpoint_is_noticed(content: bytes) -> None:
    with pytest.raises(ValueError, match="do not fit their digest"):
        parse_state(content)


def test_loading_a_state_runs_no_code() -> None:
    with pytest.raises(pickle.UnpicklingError, match=r"io\.BytesIO"):
        parse_state(dump_state({"code": io.BytesIO(b"a call of a class while unpickling")}))


def test_equal_weights_are_equal_bytes_and_others_are_others() -> None:
    network, twin = (nn.Sequential(batch_norm_featurizer((1, 8, 8))[0], nn.Linear(4, 3)) for _ in range(2))
    assert dump_weights(network) != dump_weights(twin)

    twin.load_state_dict(network.state_dict())

    assert dump_weights(network) == dump_weights(twin)
    assert bits(parse_weights(dump_weights(network))) == bits(dict(sorted(network.state_dict().items())))


def test_buffers_are_among_the_weights() -> None:
    network = nn.BatchNorm1d(3)
    before = dump_weights(network)
    network(torch.rand(5, 3))

    assert dump_weights(network) != before
    assert parse_weights(dump_weights(network))["num_batches_tracked"] == 1


def test_a_network_whose_layers_share_a_weight_is_kept_too() -> None:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight

    weights = parse_weights(dump_weights(nn.Sequential(first, second)))

    assert torch.equal(weights["0.weight"], first.weight)
    assert torch.equal(weights["1.weight"], first.weight)


def test_a_weight_that_lies_otherwise_in_memory_gives_the_same_bytes() -> None:
    network, transposed = nn.Linear(3, 2), nn.Linear(3, 2)
    transposed.weight = nn.Parameter(network.weight.detach().t().contiguous().t())
    transposed.bias = network.bias

    assert not transposed.weight.is_contiguous()
    assert dump_weights(transposed) == dump_weights(network)

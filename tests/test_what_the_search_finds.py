"""The study of what the search finds works, in its tiny form: docs/studies/what_the_search_finds.py."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gga_sweep.networks.builtin.small_cnn import small_cnn
from gga_sweep.training.fingerprint import arithmetic

SCRIPT = Path(__file__).parents[1] / "docs" / "studies" / "what_the_search_finds.py"


@pytest.fixture(scope="module")
def study() -> ModuleType:
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[SCRIPT.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(study: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("study")
    study.main(["--tiny", "--output", str(output)])
    return output


@pytest.fixture(scope="module")
def points(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "units.jsonl").read_text().splitlines()]


def test_terms_sum_to_the_change_and_unswitched_steps_have_no_kinks(points: list[dict[str, Any]]) -> None:
    switching = 0
    for point in (point for point in points if point["part"] == "terms"):
        linear = np.outer(point["linear"], point["radii"])
        found = linear + np.array(point["curvature"]) + np.array(point["kinks"]) + np.array(point["switch"])
        np.testing.assert_allclose(found, point["change"], rtol=0, atol=1e-15)
        switched = np.array(point["switched"])
        assert np.all(np.array(point["kinks"])[switched == 0] == 0)
        switching += int((switched > 0).sum())
    assert switching > 0


def test_linear_and_second_order_terms_explain_small_steps_with_held_kinks(points: list[dict[str, Any]]) -> None:
    for point in (point for point in points if point["part"] == "terms"):
        small, middle, *_ = point["radii"]
        linear, second = np.array(point["linear"]), np.array(point["second"])
        curvature = np.array(point["curvature"])
        assert np.abs(curvature[:, 0]).max() < 1e-2 * np.abs(small * linear).max()
        np.testing.assert_allclose(curvature[:, 1], middle**2 * second, rtol=0.1, atol=0.02 * middle**2 * second.std())


def test_best_candidates_gain_where_they_were_searched(points: list[dict[str, Any]]) -> None:
    searched = [point for point in points if point["part"] == "search"]
    assert {point["radius"] for point in searched} == {1e-5, 1e-3}
    for point in searched:
        one, ten, most = (point[kind][0] for kind in ("one candidate", "best of 10", "best of 250"))
        assert max(one, 0) < ten <= most
        assert point["guided"][0] > 0
        assert len(point["guided"]) == 3


def test_stopped_study_resumes_with_the_same_bits(study: ModuleType, folder: Path, tmp_path: Path) -> None:
    whole = (folder / "units.jsonl").read_bytes()
    of_one = len({"terms", "search"}) + 1  # the search has two radii
    rows = tmp_path / "units.jsonl"
    rows.write_bytes(b"".join(whole.splitlines(keepends=True)[:-of_one]))
    with arithmetic(threads=1):
        resumed = study.measure(study.TINY, 2 * study.GROUP, rows)
    assert rows.read_bytes() == whole
    table = (folder / "table.md").read_text()
    assert study.tables(resumed) == table
    assert all(name in table for name in study.TINY)
    assert (folder / "what-the-search-finds.svg").stat().st_size < 200_000


def test_held_kinks_are_those_of_the_record(study: ModuleType) -> None:
    kinks = study.Kinks()
    network = study.with_holdable_kinks(nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), kinks)
    first, second = torch.tensor([[[[1.0, 2.0], [-1.0, -2.0]]]]), torch.tensor([[[[5.0, 4.0], [-1.0, 3.0]]]])

    def forward(images: torch.Tensor) -> float:
        kinks.begin(0)
        kinks.switched = 0
        return float(network(images))

    assert forward(first) == 2
    kinks.recording = False
    assert forward(second) == 5
    assert kinks.switched == 2  # one unit became active, and another pixel is the highest
    kinks.held = study.HELD
    assert forward(second) == 4  # the pixel that was the highest
    kinks.held = frozenset({"relu"})
    assert forward(torch.tensor([[[[-5.0, -4.0], [3.0, 1.0]]]])) == 0  # of -5, -4 and two units held at 0


def test_network_of_the_study_is_small_cnn(study: ModuleType) -> None:
    ours, width = study.cnn_like_small(nn.ReLU, "stride", "group")
    shipped, features = small_cnn((1, 28, 28))
    for parameter, value in zip(ours.parameters(), shipped.parameters(), strict=True):
        parameter.data.copy_(value.data)
    images = torch.rand(2, 1, 28, 28)
    assert width == features
    assert torch.equal(ours(images), shipped(images))


def test_expected_maximum_of_normals(study: ModuleType) -> None:
    drawn = np.random.default_rng(0).standard_normal((100_000, 10)).max(axis=1)
    assert study.expected_maximum(10) == pytest.approx(drawn.mean(), abs=0.01)
    assert study.expected_maximum(1) == pytest.approx(0, abs=1e-9)

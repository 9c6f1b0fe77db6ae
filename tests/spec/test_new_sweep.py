"""A sweep file to start from loads as it is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from PIL import Image

from gga_sweep.datasets import known_datasets, traits_of
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.errors import InputError
from gga_sweep.spec import load
from gga_sweep.spec.new_sweep import new_sweep
from gga_sweep.spec.protocols import PROTOCOLS


@pytest.mark.parametrize("dataset", [dataset.name for dataset in known_datasets()])
def test_a_new_sweep_of_each_dataset_compares_erm_with_and_without_annealing(dataset: str, tmp_path: Path) -> None:
    text = new_sweep("first", DatasetConfig(name=dataset))
    sweep = load(yaml.safe_load(text))
    assert sweep.name == "first"
    assert [arm.name for arm in sweep.arms] == ["ERM", "ERM + GGA"]
    meant = traits_of(dataset).test_domains or sweep.dataset.domain_names
    assert sweep.test_domains == tuple((domain,) for domain in meant)
    assert all(domain in text for domain in sweep.dataset.domain_names)
    (tmp_path / "first.yaml").write_text(text)
    assert load(tmp_path / "first.yaml").config == sweep.config


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_new_sweep_of_each_protocol_loads(protocol: str) -> None:
    assert load(yaml.safe_load(new_sweep("first", DatasetConfig(name="PACS"), protocol))).protocol.name == protocol


def test_own_images_are_named_with_their_domains_whatever_they_are_called(tmp_path: Path) -> None:
    domains = ("on", "07", "a: b", "sketch")
    for domain in domains:
        for label in ("cat", "dog"):
            folder = tmp_path / domain / label
            folder.mkdir(parents=True)
            for number in range(12):
                Image.new("RGB", (16, 16), (number, 0, 0)).save(folder / f"{number}.png")
    text = new_sweep("mine", DatasetConfig(name="ImageFolder", root=tmp_path), "quick")
    sweep = load(yaml.safe_load(text))
    assert {names[0] for names in sweep.test_domains} == set(domains)
    assert sweep.config.dataset.root == tmp_path


@pytest.mark.parametrize(
    ("name", "dataset", "protocol", "said"),
    [
        ("first", "ImageFolder", None, "root"),
        ("first", "PACSS", None, "PACSS"),
        ("first", "PACS", "domainbad", "domainbad"),
        ("a/b", "PACS", None, "name: must begin with"),
    ],
)
def test_what_cannot_be_written_is_refused(name: str, dataset: str, protocol: str | None, said: str) -> None:
    with pytest.raises(InputError, match=said):
        new_sweep(name, DatasetConfig(name=dataset), protocol)

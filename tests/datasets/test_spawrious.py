"""Spawrious: which images of which folders each of the six challenges trains and tests on."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sweep_content import content, faults_of

from gga_sweep.datasets import BENCHMARKS, check_dataset, dataset_digest, describe, draw_minibatch, load_dataset
from gga_sweep.datasets.augmentation import augment_array, draw_numbers
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.datasets.dataset_check import DomainCount
from gga_sweep.datasets.minibatches import minibatch_indices
from gga_sweep.datasets.spawrious import CHALLENGES, Part, list_images
from gga_sweep.datasets.splits import split_domain
from gga_sweep.errors import InputError
from gga_sweep.seeding import stream
from gga_sweep.spec import load

LOCATIONS = ("beach", "desert", "dirt", "jungle", "mountain", "snow")
BREEDS = ("bulldog", "corgi", "dachshund", "labrador")
PER_FOLDER = 3

every_challenge = pytest.mark.parametrize("name", CHALLENGES)


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole download with three images a folder, no two alike, below `spawrious224`."""
    root = tmp_path_factory.mktemp("spawrious")
    rng = np.random.default_rng(0)
    for number in "01":
        for location in LOCATIONS:
            for breed in BREEDS:
                folder = root / "spawrious224" / number / location / breed
                folder.mkdir(parents=True)
                for index in range(PER_FOLDER):
                    pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(folder / f"{location}_{breed}_{index}.png")
    return root


def config(name: str, root: Path | None, image_size: int | None = 8) -> DatasetConfig:
    return DatasetConfig(name=name, root=root, image_size=image_size)


def one_to_one(group: str, test: str, filler: str) -> dict[str, list[Part]]:
    """DomainBed's definition: domain SC_group_k reads folder k - 1, and its breeds in the order of `group`."""
    breeds = ("bulldog", "dachshund", "labrador", "corgi")
    correlated, tested = (dict(zip(breeds, names.split(), strict=True)) for names in (group, test))
    domains = {"Test": [Part(f"{number}/{tested[breed]}/{breed}") for number in (0, 1) for breed in breeds]}
    for number, share in ((0, 0.97), (1, 0.87)):
        most = int(share * 3168)
        domains[f"SC_group_{number + 1}"] = [
            *(Part(f"{number}/{correlated[breed]}/{breed}", most) for breed in breeds),
            *(Part(f"{number}/{filler}/{breed}", 3168 - most) for breed in breeds),
        ]
    return domains


def many_to_many(first: Mapping[str, str], second: Mapping[str, str], test: str) -> dict[str, list[Part]]:
    """The same with a location for each breed and training domain; all images lie in folder 0."""
    a, b, c, d = test.split()
    tested = [("bulldog", a), ("dachshund", b), ("labrador", c), ("corgi", d)]
    tested += [("bulldog", b), ("dachshund", a), ("labrador", d), ("corgi", c)]
    return {
        "Test": [Part(f"0/{location}/{breed}") for breed, location in tested],
        "SC_group_1": [Part(f"0/{location}/{breed}", 3168) for breed, location in first.items()],
        "SC_group_2": [Part(f"0/{location}/{breed}", 3168) for breed, location in second.items()],
    }


DEFINITIONS = {
    "SpawriousO2O_easy": one_to_one("desert jungle dirt snow", "dirt snow desert jungle", "beach"),
    "SpawriousO2O_medium": one_to_one("mountain beach dirt jungle", "jungle dirt beach snow", "desert"),
    "SpawriousO2O_hard": one_to_one("jungle mountain snow desert", "mountain snow desert jungle", "beach"),
    "SpawriousM2M_easy": many_to_many(
        {"bulldog": "desert", "dachshund": "mountain", "labrador": "dirt", "corgi": "jungle"},
        {"bulldog": "mountain", "dachshund": "desert", "labrador": "jungle", "corgi": "dirt"},
        "dirt jungle mountain desert",
    ),
    "SpawriousM2M_medium": many_to_many(
        {"bulldog": "beach", "dachshund": "snow", "labrador": "mountain", "corgi": "desert"},
        {"bulldog": "snow", "dachshund": "beach", "labrador": "desert", "corgi": "mountain"},
        "desert mountain beach snow",
    ),
    "SpawriousM2M_hard": many_to_many(
        {"bulldog": "dirt", "dachshund": "jungle", "labrador": "snow", "corgi": "beach"},
        {"bulldog": "jungle", "dachshund": "dirt", "labrador": "beach", "corgi": "snow"},
        "snow beach dirt jungle",
    ),
}


def test_the_challenges_are_domainbeds() -> None:
    assert {name: {domain: [*parts] for domain, parts in of.items()} for name, of in CHALLENGES.items()} == DEFINITIONS
    assert all(list(parts) == list(BENCHMARKS[name].domain_sizes) for name, parts in CHALLENGES.items())


@every_challenge
def test_published_counts_are_those_of_folders_of_3168_images(name: str) -> None:
    sizes = {domain: sum(part.limit or 3168 for part in parts) for domain, parts in CHALLENGES[name].items()}
    assert BENCHMARKS[name].domain_sizes == sizes
    assert describe(config(name, None)).domain_sizes == sizes


@every_challenge
def test_no_image_is_in_two_domains_and_no_breed_is_tested_where_it_was_trained(name: str) -> None:
    folders = [part.folder for parts in CHALLENGES[name].values() for part in parts]
    assert len(set(folders)) == len(folders)
    trained = {part.folder[2:] for domain, parts in CHALLENGES[name].items() if domain != "Test" for part in parts}
    assert not trained & {part.folder[2:] for part in CHALLENGES[name]["Test"]}


@every_challenge
def test_a_challenge_loads_the_images_of_its_folders_in_domainbeds_order(name: str, unpacked: Path) -> None:
    dataset = load_dataset(config(name, unpacked), None)

    assert dataset.classes == BREEDS
    assert dataset.domain_names == ("Test", "SC_group_1", "SC_group_2")
    for domain in dataset.domains:
        folders = [part.folder for part in DEFINITIONS[name][domain.name]]
        files = [file for folder in folders for file in sorted((unpacked / "spawrious224" / folder).iterdir())]
        assert domain.sample_ids == tuple(str(file.relative_to(unpacked / "spawrious224")) for file in files)
        assert [BREEDS[label] for label in domain.labels] == [file.parent.name for file in files]
        expected = np.stack([np.asarray(Image.open(file)).transpose(2, 0, 1) for file in files])
        assert torch.equal(domain.images, torch.from_numpy(expected))


def test_of_a_folder_the_first_images_by_name_are_taken(unpacked: Path) -> None:
    parts = {"a": [Part("0/snow/corgi", 2), Part("1/dirt/bulldog")], "b": [Part("0/dirt/corgi", 1)]}
    tree = list_images(parts, unpacked)
    assert tree.paths == {
        "a": (
            *(f"0/snow/corgi/snow_corgi_{index}.png" for index in (0, 1)),
            *(f"1/dirt/bulldog/dirt_bulldog_{index}.png" for index in (0, 1, 2)),
        ),
        "b": ("0/dirt/corgi/dirt_corgi_0.png",),
    }
    assert tree.labels == {"a": (1, 1, 0, 0, 0), "b": (1,)}


def test_the_root_may_be_either_folder_and_other_files_are_left_out(unpacked: Path, tmp_path: Path) -> None:
    given = config("SpawriousO2O_easy", unpacked)
    inner = shutil.copytree(unpacked / "spawrious224", tmp_path / "elsewhere")
    for name in ("notes.txt", "._desert_bulldog_0.png", "LARGE.PNG"):
        (inner / "0/desert/bulldog" / name).write_text("no image")
    copied = config("SpawriousO2O_easy", inner)
    assert describe(copied) == describe(given)
    assert dataset_digest(copied, None) == dataset_digest(given, None) == load_dataset(given, None).digest
    assert dataset_digest(config("SpawriousO2O_hard", unpacked), None) != dataset_digest(given, None)


def test_missing_and_empty_parts_are_named_all_together(unpacked: Path, tmp_path: Path) -> None:
    root = shutil.copytree(unpacked, tmp_path / "partial")
    shutil.rmtree(root / "spawrious224/1/dirt/bulldog")  # tested
    shutil.rmtree(root / "spawrious224/0/beach")  # where training images lie that are not correlated
    for file in (root / "spawrious224/0/desert/bulldog").iterdir():
        file.unlink()
    shutil.rmtree(root / "spawrious224/0/mountain")  # of other challenges

    with pytest.raises(InputError) as caught:
        describe(config("SpawriousO2O_easy", root))
    check = check_dataset(config("SpawriousO2O_easy", root))

    named = [str(fault.got) for fault in caught.value.faults]
    assert named == ["1/dirt/bulldog", *(f"0/beach/{breed}" for breed in DOMAINBEDS), "['0/desert/bulldog']"]
    assert "folder must be readable (No such file or directory), got '1/dirt/bulldog'" in str(caught.value)
    assert "folders must hold images (.png, .jpg or .jpeg), got ['0/desert/bulldog']" in str(caught.value)
    assert check.faults == caught.value.faults
    assert not check.loadable
    assert check.domains[0] == DomainCount("Test", None, 25344)
    with pytest.raises(InputError, match="must be the folder that Spawrious was unpacked to"):
        check_dataset(config("SpawriousO2O_easy", tmp_path / "nowhere"))


DOMAINBEDS = ("bulldog", "dachshund", "labrador", "corgi")


def test_data_check_compares_counts_and_opens_every_image(unpacked: Path, tmp_path: Path) -> None:
    root = shutil.copytree(unpacked, tmp_path / "broken")
    (root / "spawrious224/0/dirt/labrador/dirt_labrador_1.png").write_text("no image")
    check = check_dataset(config("SpawriousM2M_easy", root))
    assert check.domains == (
        DomainCount("Test", 24, 25344),
        DomainCount("SC_group_1", 12, 12672),
        DomainCount("SC_group_2", 12, 12672),
    )
    assert (check.images, check.classes) == (48, BREEDS)
    assert [fault.got for fault in check.faults] == [24, 12, 12, "0/dirt/labrador/dirt_labrador_1.png"]


def test_the_augmentation_crops_nothing_as_domainbeds_of_spawrious(unpacked: Path) -> None:
    dataset = load_dataset(config("SpawriousO2O_easy", unpacked), None)
    domain = dataset.domain("SC_group_1")
    split = split_domain(len(domain), dataset.name, 0, domain.name, 1, "domainbed")
    batch = draw_minibatch(dataset, domain, split, 6, trial_seed=0, step=3, augmentation="domainbed")
    chosen = minibatch_indices(split.train, 6, dataset.name, 0, 3, domain.name)
    for place, index in enumerate(chosen):
        numbers = draw_numbers(8, 8, stream(dataset.name, 0, "augment", 3, domain.name, place), crops=False)
        assert (numbers.top, numbers.left, numbers.height, numbers.width) == (0, 0, 8, 8)
        expected = torch.from_numpy(augment_array(domain.images[int(index)].numpy(), numbers))
        assert torch.equal(batch.images[place], dataset.prepare(expected[None])[0])


def test_a_sweep_names_how_it_departs_from_domainbed(unpacked: Path) -> None:
    def sweep(**changes: object) -> tuple[str, ...]:
        dataset = {"name": "SpawriousO2O_easy", "root": str(unpacked)}
        return load(content(dataset=dataset, defaults={"batch_size": 4}, **changes)).deviations

    meant, every = sweep(protocol="gga-paper", test_domains=["Test"]), sweep(protocol="gga-paper", test_domains="all")
    assert [line for line in every if line not in meant] == ["SpawriousO2O_easy was made to be tested on Test alone"]
    assert any("the first by name" in line for line in meant)
    assert not any("crops are taken" in line for line in meant)
    assert sweep(test_domains=["Test"]) == ()
    assert "test_domains: [Test]" in describe(config("SpawriousO2O_easy", unpacked)).remarks[0]


def test_a_sweep_on_missing_parts_is_refused_before_any_work(unpacked: Path, tmp_path: Path) -> None:
    root = shutil.copytree(unpacked, tmp_path / "partial")
    shutil.rmtree(root / "spawrious224/0/snow/corgi")
    faults = faults_of(content(dataset={"name": "SpawriousO2O_easy", "root": str(root)}, test_domains=["Test"]))
    assert faults == ["dataset.root: folder must be readable (No such file or directory), got '0/snow/corgi'"]

"""RotatedMNIST and ColoredMNIST, compared with torchvision's reading of the files and DomainBed's definitions."""

from __future__ import annotations

import gzip
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from small_sweep import small_sweep, train_without_ray
from torch import Tensor
from torchvision.datasets import MNIST
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from gga_sweep.datasets import check_dataset, dataset_digest, describe, has_photographs, load_dataset
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.datasets.dataset_check import DomainCount
from gga_sweep.errors import InputError
from gga_sweep.records import Record, RunStatus
from gga_sweep.seeding import stream
from gga_sweep.spec import load

N_TRAIN, N_TEST = 50, 14
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx_images(n: int, seed: int, side: int = 28, magic: int = 0x803) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (n, side, side), dtype=np.uint8)
    return struct.pack(">4I", magic, n, side, side) + pixels.tobytes()


def idx_labels(n: int, seed: int, magic: int = 0x801) -> bytes:
    labels = np.random.default_rng(seed).integers(0, 10, n, dtype=np.uint8)
    return struct.pack(">2I", magic, n) + labels.tobytes()


def contents(n_train: int = N_TRAIN, n_test: int = N_TEST) -> dict[str, bytes]:
    made = (idx_images(n_train, 0), idx_labels(n_train, 1), idx_images(n_test, 2), idx_labels(n_test, 3))
    return dict(zip(FILES, made, strict=True))


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random digits, where torchvision puts MNIST's files."""
    folder = tmp_path_factory.mktemp("mnist")
    write(folder / "MNIST" / "raw", contents())
    return folder


@pytest.fixture(scope="module")
def digits(root: Path) -> tuple[Tensor, Tensor]:
    """Images and labels as torchvision reads them, the training set before the test set."""
    parts = [MNIST(str(root), train=train, download=False) for train in (True, False)]
    return torch.cat([part.data for part in parts]), torch.cat([part.targets for part in parts])


def config(name: str, root: Path | None) -> DatasetConfig:
    return DatasetConfig(name=name, root=root)


def dealt(name: str, n_domains: int) -> list[np.ndarray]:
    shuffled = stream(name, 0, "deal").permutation(N_TRAIN + N_TEST)
    return [
        np.array([index for place, index in enumerate(shuffled) if place % n_domains == i]) for i in range(n_domains)
    ]


def test_rotated_mnist_deals_the_digits_and_rotates_each_domain_as_domainbed(
    root: Path, digits: tuple[Tensor, Tensor]
) -> None:
    dataset = load_dataset(config("RotatedMNIST", root), None)

    assert dataset.domain_names == ("0", "15", "30", "45", "60", "75")
    assert (dataset.input_shape, len(dataset.classes), dataset.normalise) == ((1, 28, 28), 10, False)
    for domain, indices in zip(dataset.domains, dealt("RotatedMNIST", 6), strict=True):
        expected = [
            transforms.to_tensor(
                transforms.rotate(
                    transforms.to_pil_image(digits[0][index]),
                    int(domain.name),
                    interpolation=InterpolationMode.BILINEAR,
                    fill=(0,),
                )
            )
            for index in indices
        ]
        assert torch.equal(dataset.prepare(domain.images), torch.stack(expected))
        assert domain.labels.tolist() == digits[1][torch.from_numpy(indices)].tolist()
        assert domain.sample_ids == tuple(f"mnist-{index}" for index in indices)
    taken = [name for domain in dataset.domains for name in domain.sample_ids]
    assert sorted(taken) == sorted(f"mnist-{index}" for index in range(N_TRAIN + N_TEST))


def test_colored_mnist_flips_labels_and_colours_as_domainbed(root: Path, digits: tuple[Tensor, Tensor]) -> None:
    dataset = load_dataset(config("ColoredMNIST", root), None)

    assert dataset.domain_names == ("90", "80", "10")
    assert (dataset.input_shape, len(dataset.classes), dataset.normalise) == ((2, 28, 28), 2, False)
    for domain, often, indices in zip(dataset.domains, (0.1, 0.2, 0.9), dealt("ColoredMNIST", 3), strict=True):
        label_draws = stream("ColoredMNIST", 0, "flip", domain.name).random(len(indices))
        colour_draws = stream("ColoredMNIST", 0, "colour", domain.name).random(len(indices))
        for row, index in enumerate(indices):
            label = int(digits[1][index] < 5)
            label = 1 - label if label_draws[row] < 0.25 else label
            colour = 1 - label if colour_draws[row] < often else label
            image = torch.stack([digits[0][index], digits[0][index]]).float() / 255
            image[1 - colour] = 0
            assert domain.labels[row] == label
            assert torch.equal(dataset.prepare(domain.images[row : row + 1])[0], image)


def test_flips_are_as_frequent_as_defined(tmp_path: Path) -> None:
    n = 6000
    blank = struct.pack(">4I", 0x803, n, 28, 28) + bytes([255]) * (n * 28 * 28)
    zeros = struct.pack(">2I", 0x801, n) + bytes(n)  # every digit is below 5
    write(tmp_path, {**contents(), FILES[0]: blank, FILES[1]: zeros})
    dataset = load_dataset(config("ColoredMNIST", tmp_path), None)
    for domain, often in zip(dataset.domains, (0.1, 0.2, 0.9), strict=True):
        rows = [row for row, name in enumerate(domain.sample_ids) if int(name.partition("-")[2]) < n]
        labels = domain.labels[rows].float()
        colours = (domain.images[rows][:, 1, 0, 0] > 0).float()
        assert float(labels.mean()) == pytest.approx(0.75, abs=0.04)
        assert float((colours != labels).float().mean()) == pytest.approx(often, abs=0.04)


@pytest.mark.parametrize("name", ["RotatedMNIST", "ColoredMNIST"])
def test_a_description_has_the_counts_of_what_loads_and_of_what_is_published(name: str, root: Path) -> None:
    there, absent = describe(config(name, root)), describe(config(name, None))
    dataset = load_dataset(config(name, root), None)

    assert there.domain_sizes == dataset.domain_sizes
    assert (there.classes, there.image_shape, there.available) == (dataset.classes, dataset.input_shape, True)
    assert dataset_digest(config(name, root), None) == dataset.digest
    assert not has_photographs(config(name, root))
    assert sum(absent.domain_sizes.values()) == 70_000
    assert (absent.domain_names, absent.image_shape, absent.available) == (
        dataset.domain_names,
        dataset.input_shape,
        False,
    )
    assert describe(config(name, root / "nowhere")) == absent


def test_the_published_domains_are_every_sixth_and_every_third_digit() -> None:
    assert list(describe(config("RotatedMNIST", None)).domain_sizes.values()) == [11667] * 4 + [11666] * 2
    assert list(describe(config("ColoredMNIST", None)).domain_sizes.values()) == [23334, 23333, 23333]


def test_data_check_compares_the_counts_with_the_published_ones(root: Path) -> None:
    check = check_dataset(config("RotatedMNIST", root))
    assert check.domains[:2] == (DomainCount("0", 11, 11667), DomainCount("15", 11, 11667))
    assert [str(fault) for fault in check.faults][:1] == [
        "dataset.root: domain '0' was published with 11667 images, got 11"
    ]
    assert len(check.faults) == 6
    assert check.loadable


@pytest.mark.parametrize("layout", ["directly", "gz", "gz beside plain", "plain and gz mixed"])
def test_other_layouts_of_the_files_hold_the_same_dataset(layout: str, root: Path, tmp_path: Path) -> None:
    plain, packed = contents(), {f"{name}.gz": gzip.compress(content) for name, content in contents().items()}
    if layout == "directly":
        write(tmp_path, plain)
    elif layout == "gz":
        write(tmp_path / "MNIST" / "raw", packed)
    elif layout == "gz beside plain":
        write(tmp_path / "MNIST" / "raw", {**plain, **dict.fromkeys(packed, b"not read")})
    else:
        write(tmp_path, {FILES[0]: plain[FILES[0]], **{f"{name}.gz": packed[f"{name}.gz"] for name in FILES[1:]}})
    for name in ("RotatedMNIST", "ColoredMNIST"):
        assert dataset_digest(config(name, tmp_path), None) == dataset_digest(config(name, root), None)


def test_another_pixel_or_label_changes_the_digest(root: Path, tmp_path: Path) -> None:
    for name in (FILES[2], FILES[3]):
        changed = contents()
        changed[name] = changed[name][:-1] + bytes([(changed[name][-1] + 1) % 10])
        write(tmp_path / name, changed)
        assert dataset_digest(config("RotatedMNIST", tmp_path / name), None) != dataset_digest(
            config("RotatedMNIST", root), None
        )


def test_missing_files_are_named_with_the_folders_looked_in(tmp_path: Path) -> None:
    with pytest.raises(InputError) as none:
        dataset_digest(config("RotatedMNIST", tmp_path), None)
    write(tmp_path / "MNIST" / "raw", {name: contents()[name] for name in FILES[:3]})
    with pytest.raises(InputError) as some:
        describe(config("RotatedMNIST", tmp_path))

    assert f"lacks {list(FILES)} (looked in {tmp_path / 'MNIST' / 'raw'}, {tmp_path})" in str(none.value)
    assert f"lacks ['{FILES[3]}'] (looked in {tmp_path / 'MNIST' / 'raw'})" in str(some.value)


def packed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (FILES[0], idx_images(N_TRAIN, 0)[:-1], "must have 39,216 bytes for 50 entries, one or more, has 39,215"),
        (FILES[0], idx_images(N_TRAIN, 0) + b"x", "must have 39,216 bytes for 50 entries, one or more, has 39,217"),
        (FILES[0], idx_images(N_TRAIN, 0, magic=0x801), "must begin with the magic number 0x00000803, got 0x00000801"),
        (FILES[1], idx_images(N_TRAIN, 0), "must begin with the magic number 0x00000801, got 0x00000803"),
        (FILES[1], idx_labels(N_TRAIN - 1, 1), "must hold a label for each of 50 images, got 49"),
        (FILES[3], struct.pack(">2I", 0x801, 3) + bytes([0, 10, 1]), "must hold labels in 0..9, got 10"),
        (FILES[2], idx_images(N_TEST, 2, side=32), "must hold images of 28 x 28 pixels, got 32 x 32"),
        (FILES[2], b"\0\0\x08", "must begin with a header of 16 bytes, has 3"),
        (FILES[2], struct.pack(">4I", 0x803, 0, 28, 28), "must have 16 bytes for 0 entries, one or more, has 16"),
        (FILES[2], struct.pack(">4I", 0x803, 2**32 - 1, 28, 28), "for 4,294,967,295 entries, one or more, has 16"),
        (
            f"{FILES[0]}.gz",
            packed(idx_images(N_TRAIN, 0))[:-20],
            "must be a whole .gz file (Compressed file ended before",
        ),
        (f"{FILES[0]}.gz", idx_images(N_TRAIN, 0), "must be a whole .gz file (Not a gzipped file"),
        (
            f"{FILES[0]}.gz",
            packed(b"x" * 99)[:10] + b"\xff" * 40,
            "must be a whole .gz file (Error -3 while decompressing",
        ),
    ],
    ids=[
        *("short", "long", "magic of labels", "magic of images", "fewer labels", "label 10", "another size"),
        *("no header", "empty", "untrue count", "truncated gz", "no gz", "broken gz"),
    ],
)
def test_a_file_that_is_not_mnists_is_refused_by_name(file: str, content: bytes, message: str, tmp_path: Path) -> None:
    write(tmp_path, {name: made for name, made in contents().items() if name != file.removesuffix(".gz")})
    write(tmp_path, {file: content})
    with pytest.raises(InputError) as caught:
        describe(config("ColoredMNIST", tmp_path))
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / file))


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    write(tmp_path, contents())
    (tmp_path / FILES[0]).unlink()
    (tmp_path / FILES[0]).mkdir()
    with pytest.raises(InputError, match=f"lacks \\['{FILES[0]}'\\]"):
        describe(config("ColoredMNIST", tmp_path))


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    write(tmp_path, contents())
    before = describe(config("RotatedMNIST", tmp_path)).domain_sizes
    write(tmp_path, contents(N_TRAIN + 6))
    after = describe(config("RotatedMNIST", tmp_path)).domain_sizes
    assert after == {name: size + 1 for name, size in before.items()}


def test_mnist_has_one_size_and_needs_a_root() -> None:
    with pytest.raises(InputError, match=r"dataset.image_size: RotatedMNIST has images of one size, got 32"):
        describe(DatasetConfig(name="RotatedMNIST", image_size=32))
    with pytest.raises(InputError, match=r"dataset.root: RotatedMNIST needs the folder that holds MNIST's four files"):
        load_dataset(config("RotatedMNIST", None), None)


@pytest.mark.parametrize("name", ["RotatedMNIST", "ColoredMNIST"])
def test_a_sweep_on_mnist_trains_and_equals_one_on_packed_files(name: str, root: Path, tmp_path: Path) -> None:
    write(tmp_path / "packed", {f"{file}.gz": packed(content) for file, content in contents().items()})

    def train(folder: Path, storage: str) -> list[tuple[Record, ...]]:
        held_out = describe(config(name, None)).domain_names[-1]
        dataset = {"name": name, "root": str(folder)}
        content = small_sweep(dataset=dataset, test_domains=[held_out], arms=[{"algorithm": "ERM"}])
        sweep = load(content, storage=tmp_path / storage)
        runs = train_without_ray(sweep)
        assert {run.read_state().status for run in runs} == {RunStatus.DONE}
        return [run.read_records() for run in runs]

    assert train(root, "a") == train(tmp_path / "packed", "b")


def test_planning_a_sweep_on_mnist_loads_no_torch(root: Path) -> None:
    code = (
        "import sys; from gga_sweep.spec import load, plan_sweep, read_contents; "
        f"sweep = load({{'name': 'tiny', 'dataset': {{'name': 'RotatedMNIST', 'root': {str(root)!r}}}, "
        "'arms': [{'algorithm': 'ERM'}], 'defaults': {'batch_size': 4}}); "
        "print(len(plan_sweep(sweep, read_contents(sweep)).runs), 'torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["18", "False"]

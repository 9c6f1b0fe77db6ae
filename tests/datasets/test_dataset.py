"""A dataset's parts must fit together, and its digest must see every one of them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision import transforms

from gga_sweep.datasets import Dataset, Domain, digest_of_tensors
from gga_sweep.errors import InputError


def domain(name: str = "near", n: int = 6, channels: int = 3) -> Domain:
    generator = torch.Generator().manual_seed(len(name))
    images = torch.randint(0, 256, (n, channels, 8, 8), dtype=torch.uint8, generator=generator)
    return Domain(name, images, torch.arange(n) % 2, tuple(f"{name}-{index}" for index in range(n)))


def dataset(*domains: Domain, normalise: bool = True) -> Dataset:
    return Dataset("mine", ("no", "yes"), domains, "digest", normalise)


def test_a_domain_is_found_by_its_name() -> None:
    near, far = domain("near"), domain("far")
    assert dataset(near, far).domain("far") is far
    assert dataset(near, far).domain_names == ("near", "far")
    assert dataset(near, far).input_shape == (3, 8, 8)


def test_an_unknown_domain_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"domain of mine, got 'nowhere' \(allowed: near, far\)"):
        dataset(domain("near"), domain("far")).domain("nowhere")


def test_taking_images_copies_them() -> None:
    near = domain()
    before = near.images.clone()

    images, labels = near.take(np.array([3, 0, 3]))

    assert torch.equal(images, before[[3, 0, 3]])
    assert labels.tolist() == [1, 0, 1]
    images.zero_()
    assert torch.equal(near.images, before)


def test_photographs_are_prepared_as_torchvision_would() -> None:
    photographs = domain().images
    reference = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

    prepared = dataset(domain("near"), domain("far")).prepare(photographs)

    assert prepared.dtype == torch.float32
    torch.testing.assert_close(prepared, torch.stack([reference(image / 255) for image in photographs]))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_stored_images_are_not_overwritten_when_prepared(dtype: torch.dtype) -> None:
    stored = torch.arange(192).view(4, 3, 4, 4).to(dtype)
    before = stored.clone()
    assert not torch.equal(dataset(domain("near"), domain("far")).prepare(stored), before)
    assert torch.equal(stored, before)


def test_without_normalisation_bytes_become_fractions_and_floats_stay() -> None:
    plain = dataset(domain("near"), domain("far"), normalise=False)
    assert torch.equal(plain.prepare(torch.tensor([0, 51, 255], dtype=torch.uint8)), torch.tensor([0.0, 0.2, 1.0]))
    floats = torch.rand(2, 1, 4, 4)
    assert torch.equal(plain.prepare(floats), floats)


def test_every_misfit_is_named_at_once() -> None:
    wrong_labels = replace(domain("wrong labels"), labels=torch.full((6,), 7))
    too_few = replace(domain("too few"), sample_ids=("one",))
    doubles = replace(domain("doubles"), images=torch.rand(6, 3, 8, 8).double())
    grey = domain("grey", channels=1)

    with pytest.raises(InputError) as raised:
        Dataset("mine", ("no", "yes"), (wrong_labels, too_few, doubles, grey, grey), "", normalise=True)

    text = str(raised.value)
    assert "digest: must be set" in text
    assert "different names" in text
    assert "one shape" in text
    assert "domains[wrong labels]: must have int64 labels in 0..1, got 'torch.int64 [7]'" in text
    assert "domains[too few]: must hold as many images, labels and sample ids, and at least one, got (6, 6, 1)" in text
    assert "domains[doubles]: must hold images of a known type, got 'torch.float64'" in text
    assert "domains[grey]: must hold images (n, 3, height, width), got (6, 1, 8, 8)" in text


def test_no_domain_is_no_dataset() -> None:
    with pytest.raises(InputError, match="domains: must be at least one"):
        dataset()


@pytest.mark.parametrize(
    "changed",
    [
        replace(domain(), name="other"),
        replace(domain(), labels=1 - domain().labels),
        replace(domain(), sample_ids=tuple("abcdef")),
        replace(domain(), images=domain().images.flip(0)),
        replace(domain(), images=domain().images.view(6, 3, 4, 16)),
        replace(domain(), images=domain().images.float()),
    ],
    ids=["name", "labels", "sample ids", "pixels", "shape", "type"],
)
def test_the_digest_of_tensors_sees_a_change_of(changed: Domain) -> None:
    assert digest_of_tensors([domain()]) == digest_of_tensors([domain()])
    assert digest_of_tensors([changed]) != digest_of_tensors([domain()])


def test_the_digest_of_tensors_sees_the_last_pixel_of_a_large_domain() -> None:
    large = domain(n=600)
    changed = large.images.clone()
    changed[-1, -1, -1, -1] ^= 1
    assert digest_of_tensors([large]) != digest_of_tensors([replace(large, images=changed)])


def test_importing_the_package_loads_no_heavy_library() -> None:
    heavy = "{'torch', 'torchvision', 'sklearn', 'ray', 'mlflow', 'pydantic'}"
    program = f"import sys, gga_sweep.datasets; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""What the key leaves out and the bits still depend on."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata

import numpy as np
import pytest
import torch

from gga_sweep.training.fingerprint import fingerprint, set_arithmetic


@pytest.fixture(autouse=True)
def arithmetic_as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_a_fingerprint_names_versions_device_and_arithmetic() -> None:
    found = fingerprint(torch.device("cpu"))

    assert found["device"] == "cpu"
    assert found["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    assert found["python"] == platform.python_version()
    assert found["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert found["numpy"] == np.__version__
    assert "cuda" not in found


def test_a_fingerprint_is_the_same_at_every_call() -> None:
    assert fingerprint(torch.device("cpu")) == fingerprint(torch.device("cpu"))


def test_a_package_that_runs_from_its_sources_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version

    def without_ours(package: str) -> str:
        if package == "gga-sweep":
            raise metadata.PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(metadata, "version", without_ours)

    assert fingerprint(torch.device("cpu"))["gga-sweep"] == "not installed"


@pytest.mark.parametrize("threads", [1, 2])
def test_arithmetic_uses_the_configured_threads(threads: int) -> None:
    set_arithmetic(threads)

    assert torch.get_num_threads() == threads


def test_arithmetic_leaves_no_kernel_to_chance_or_to_a_stopwatch() -> None:
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = True

    set_arithmetic(1)

    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32

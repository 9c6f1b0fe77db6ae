"""A selected model taken out of its folder again, and tried on other images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from run_configs import run_config

from gga_sweep.errors import DamagedFileError, InputError
from gga_sweep.execution.model import evaluate_model, load_model, open_run_folder
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_folder import RunFolder
from gga_sweep.ledger.run_header import RunHeader
from gga_sweep.networks.network import Network, build_network
from gga_sweep.records import RunStatus
from gga_sweep.training.checkpoint import dump_weights

SIZE = 8


def write_run(
    tmp_path: Path, channels: int, normalise: bool, classes: tuple[str, ...] = ("dog", "cat"), selected: bool = True
) -> tuple[RunFolder, Network]:
    """A run whose selected weights are those of a random network."""
    shape = (channels, SIZE, SIZE)
    network = build_network("small-cnn", shape, len(classes), None, torch.Generator().manual_seed(3)).eval()
    folder = Ledger(tmp_path / "sweep").run("a-run")
    folder.claim({})
    config = run_config(training__network="small-cnn", training__weights="nowhere.pt")
    folder.write_header(RunHeader("k" * 64, config, "d" * 32, classes, shape, normalise, {}, 0.0, {}))
    if selected:
        folder.write_selected(dump_weights(network))
    return folder, network


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Noise at the size of the model: two domains, two classes."""
    rng = np.random.default_rng(0)
    for domain, images in (("day", 3), ("night", 5)):
        for name in ("cat", "dog"):
            (tmp_path / "tree" / domain / name).mkdir(parents=True)
            for index in range(images):
                pixels = rng.integers(0, 256, size=(SIZE, SIZE, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "tree" / domain / name / f"{index}.png")
    return tmp_path / "tree"


def reference(network: Network, tree: Path, domain: str, gray: bool, normalise: bool) -> tuple[float, float]:
    """Accuracy and mean cross-entropy, image by image; the model's labels are dog = 0, cat = 1."""
    hits, losses = [], []
    for label, name in enumerate(("dog", "cat")):
        for file in sorted((tree / domain / name).iterdir()):
            pixels = np.asarray(Image.open(file)).astype(np.float64) / 255
            if normalise:
                pixels = (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
            image = torch.tensor(pixels).permute(2, 0, 1).float()
            if gray:
                image = image.mean(0, keepdim=True)
            with torch.no_grad():
                logits = network(image[None])[0]
            hits.append(int(logits.argmax()) == label)
            losses.append(float(torch.logsumexp(logits, 0) - logits[label]))
    return float(np.mean(hits)), float(np.mean(losses))


def test_selected_weights_are_loaded(tmp_path: Path) -> None:
    folder, network = write_run(tmp_path, 3, normalise=True)
    loaded = load_model(folder)
    assert not loaded.training
    assert loaded.state_dict().keys() == network.state_dict().keys()
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize("shape", ["[-1,8,8]", "[3,1099511627776,8]", "[3,8,9223372036854775807]", "[3,16,16]"])
def test_weights_of_another_network_are_damaged(tmp_path: Path, shape: str) -> None:
    folder, _ = write_run(tmp_path, 3, normalise=True)
    file = tmp_path / "sweep" / "runs" / "a-run" / "run.json"
    content = file.read_text()
    file.write_text(content.replace('"input_shape":[3,8,8]', f'"input_shape":{shape}'))
    assert file.read_text() != content
    with pytest.raises(DamagedFileError, match=r"does not hold the weights of its run\.json's network"):
        load_model(folder)


@pytest.mark.parametrize(("channels", "normalise"), [(3, True), (3, False), (1, False)])
def test_evaluation_equals_a_loop_over_images(tmp_path: Path, tree: Path, channels: int, normalise: bool) -> None:
    folder, network = write_run(tmp_path, channels, normalise)
    results = evaluate_model(folder, tree)
    assert {domain: count for domain, (count, _) in results.items()} == {"day": 6, "night": 10}
    for domain, (_, score) in results.items():
        expected = reference(network, tree, domain, gray=channels == 1, normalise=normalise)
        assert (score.accuracy, score.loss) == pytest.approx(expected, abs=1e-5)


def test_tree_of_one_domain_is_evaluated(tmp_path: Path, tree: Path) -> None:
    folder, _ = write_run(tmp_path, 3, normalise=True)
    (tree / "night").rename(tmp_path / "night")
    assert list(evaluate_model(folder, tree)) == ["day"]


def test_tree_of_other_classes_is_refused(tmp_path: Path, tree: Path) -> None:
    folder, _ = write_run(tmp_path, 3, normalise=True, classes=("dog", "elk"))
    with pytest.raises(InputError, match=r"--data: .*got \['cat', 'dog'\] \(allowed: dog, elk\)"):
        evaluate_model(folder, tree)


def test_missing_tree_is_a_fault_of_the_flag(tmp_path: Path) -> None:
    folder, _ = write_run(tmp_path, 3, normalise=True)
    with pytest.raises(InputError, match=r"--data: must be a folder that holds domain/class/image, got '/missing'"):
        evaluate_model(folder, Path("/missing"))


def test_model_of_two_channels_is_refused(tmp_path: Path, tree: Path) -> None:
    folder, _ = write_run(tmp_path, 2, normalise=False)
    with pytest.raises(InputError, match=r"RUN_DIR: must be a model of 1 or 3 channels.*got 2"):
        evaluate_model(folder, tree)


def test_run_never_evaluated_has_no_model(tmp_path: Path) -> None:
    folder, _ = write_run(tmp_path, 3, normalise=True, selected=False)
    with pytest.raises(InputError, match=r"RUN_DIR: must hold selected weights.*got 'a-run'"):
        load_model(folder)


def test_removed_weights_are_refused_with_the_command_that_restores_them(tmp_path: Path) -> None:
    folder, _ = write_run(tmp_path, 3, normalise=True)
    folder.write_state(RunStatus.DONE, 7)
    folder.discard_weights()
    with pytest.raises(
        InputError, match=r"this run's were removed.*`gga-sweep train FILE --run kkkkkkkk`.*got 'a-run'"
    ):
        load_model(folder)


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    folder, network = write_run(tmp_path, 3, normalise=True)
    folder.write_state(RunStatus.DONE, 7)
    with torch.no_grad():
        next(network.parameters()).add_(1)
    folder.write_selected(dump_weights(network))
    with pytest.raises(DamagedFileError, match="run a-run: its selected is not what the run left"):
        load_model(folder)


@pytest.mark.parametrize(
    "content",
    [b"", b"no weights", dump_weights(torch.nn.Linear(2, 2))],
    ids=["empty", "not safetensors", "of another network"],
)
def test_file_without_the_networks_weights_is_refused(tmp_path: Path, content: bytes) -> None:
    folder, _ = write_run(tmp_path, 3, normalise=True)
    folder.write_selected(content)
    with pytest.raises(DamagedFileError, match="run a-run: its selected does not hold the weights"):
        load_model(folder)


def test_folder_is_opened_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = write_run(tmp_path, 3, normalise=True)
    monkeypatch.chdir(tmp_path / "sweep")
    opened = open_run_folder(Path("runs/a-run"))
    assert opened.read_header() == folder.read_header()


def test_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"RUN_DIR: must be a run's folder.*got 'nothing'"):
        load_model(open_run_folder(tmp_path / "sweep" / "runs" / "nothing"))


def test_path_with_dots_is_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = write_run(tmp_path, 3, normalise=True)
    (tmp_path / "sweep" / "runs" / "a-run" / "below").mkdir()
    for place, path in (("runs/a-run", "."), ("runs/a-run/below", ".."), ("runs", "../runs/./a-run")):
        monkeypatch.chdir(tmp_path / "sweep" / place)
        assert open_run_folder(Path(path)).read_header() == folder.read_header()


def test_path_outside_runs_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path, 3, normalise=True)
    for path in (tmp_path / "sweep" / "copies" / "a-run", tmp_path / "sweep", Path("/"), Path("/a-run")):
        with pytest.raises(InputError, match=rf"RUN_DIR: must be a run's folder.*got '{path}'"):
            open_run_folder(path)

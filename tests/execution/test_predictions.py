"""A run's selected model asked again, image by image, against its records and against arithmetic in numpy."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from augmented import augment
from ledger_in_memory import MemoryStore
from PIL import Image
from safetensors.numpy import load as load_weights
from safetensors.numpy import save as save_weights
from small_ledger import KEY, RUN, advance_to_the_end, open_small_run
from small_runs import annealing_of, make_dataset, run_config

from gga_sweep.algorithms.base import Algorithm
from gga_sweep.algorithms.erm import ERM
from gga_sweep.annealing import GGA, GGAL
from gga_sweep.datasets import Dataset, Domain, load_dataset
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.errors import GGASweepError, InputError
from gga_sweep.execution.predictions import Prediction, predict
from gga_sweep.execution.recorded_run import RecordedRun
from gga_sweep.ledger.run_folder import RunFolder
from gga_sweep.seeding import stream
from gga_sweep.spec.models import RunSpec
from gga_sweep.training.fingerprint import fingerprint

DATASET = make_dataset(per_domain=330)  # a training split of 264: more than one batch of an evaluation
INSTALLED = f"{__name__}:DATASET"
STEP_OF_BEST = {"lr": 0.003, "batch_size": 6}  # neither the first evaluation nor the last


class Inverted(ERM):
    """Predicts with the opposite of its network, which it knows how to train."""

    HYPERPARAMETERS: Mapping[str, Any] = {}
    NUMERICS = 1

    def predict(self, images: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return -super().predict(images, mask)


def small_config(annealing: GGA | GGAL | None = None, **changes: Any) -> RunSpec:
    return run_config(annealing, dataset=INSTALLED, **{"evaluate_every": 1, "hyperparameters": STEP_OF_BEST, **changes})


def record(config: RunSpec, dataset: Dataset = DATASET) -> tuple[RunFolder, MemoryStore]:
    store = MemoryStore()
    advance_to_the_end(open_small_run(store, config, dataset))
    return RunFolder(store, RUN), store


@pytest.fixture(scope="module")
def erm() -> tuple[RunFolder, MemoryStore]:
    return record(small_config())


@pytest.fixture
def copy_of_erm(erm: tuple[RunFolder, MemoryStore]) -> tuple[RunFolder, MemoryStore]:
    store = MemoryStore()
    store.files = dict(erm[1].files)
    return RunFolder(store, RUN), store


def change_header(store: MemoryStore, **changes: object) -> None:
    header = json.loads(store.files[f"runs/{RUN}/run.json"])
    store.files[f"runs/{RUN}/run.json"] = json.dumps({**header, **changes}).encode()


def best_line(store: MemoryStore) -> dict[str, Any]:
    """Of `records.jsonl`, the first line of those with the highest mean validation accuracy."""
    lines = [json.loads(line) for line in store.files[f"runs/{RUN}/records.jsonl"].splitlines()]

    def accuracy(line: dict[str, Any]) -> float:
        domains = line["validation"]["domains"].values()
        return sum(scores["validation"]["accuracy"] for scores in domains) / len(domains)

    return next(line for line in lines if accuracy(line) == max(map(accuracy, lines)))


def recorded_accuracies(line: dict[str, Any]) -> dict[tuple[str, str, str], float]:
    return {
        (role, domain, split): scores[split]["accuracy"]
        for role, part in (("training", "validation"), ("test", "test"))
        for domain, scores in line[part]["domains"].items()
        for split in ("train", "validation")
    }


def counted_accuracies(rows: Iterable[Prediction]) -> dict[tuple[str, str, str], float]:
    hits = defaultdict(list)
    for row in rows:
        assert row.correct == (row.label == row.predicted)
        hits[row.role, row.domain, row.split].append(row.correct)
    return {place: sum(found) / len(found) for place, found in hits.items()}


def numpy_logits(weights: Mapping[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    """Of `linear_featurizer` and its classifier, in float64."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    features = np.tanh(flat @ weights["featurizer.1.weight"].T + weights["featurizer.1.bias"])
    found: np.ndarray = features @ weights["classifier.weight"].T + weights["classifier.bias"]
    return found


def assert_is_the_network(rows: list[Prediction], images: np.ndarray, labels: list[str], store: MemoryStore) -> None:
    """Rows against logits in numpy; images and true classes are those of the rows."""
    logits = numpy_logits(load_weights(store.files[f"runs/{RUN}/selected"]), images)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    classes = np.array(["x", "y", "z"])
    assert [row.predicted for row in rows] == classes[logits.argmax(axis=1)].tolist()
    assert [row.label for row in rows] == labels
    assert [row.probability for row in rows] == pytest.approx(probabilities.max(axis=1).tolist(), rel=1e-5)


def independent_split(domain: Domain, trial_seed: int = 0) -> dict[str, list[int]]:
    order = stream("Small", trial_seed, "split", domain.name).permutation(len(domain)).tolist()
    held_out = int(0.2 * len(domain))
    return {"train": order[held_out:], "validation": order[:held_out]}


def test_every_image_is_predicted_as_by_the_network_in_numpy(erm: tuple[RunFolder, MemoryStore]) -> None:
    folder, store = erm
    rows = iter(list(predict(folder).rows()))
    for domain in DATASET.domains:
        for split, indices in independent_split(domain).items():
            part = [next(rows) for _ in indices]
            assert {(row.domain, row.split) for row in part} == {(domain.name, split)}
            assert {row.role for row in part} == {"test" if domain.name == "c" else "training"}
            assert [row.sample_id for row in part] == [f"{domain.name}-{index}" for index in indices]
            labels = ["xyz"[index % 3] for index in indices]
            assert_is_the_network(part, domain.images.numpy()[indices], labels, store)
    assert next(rows, None) is None
    assert 0 < predict(folder).step < 7  # neither the first evaluation nor the last


RUNS: dict[str, RunSpec] = {
    "ERM": small_config(),
    "GGA": small_config(annealing_of()),
    "GGA-L": small_config(GGAL(domain_gradients="layerwise")),
    "two test domains": small_config(test_domains=("a", "d")),
    "DomainBed's splits": small_config(split="domainbed", trial_seed=3),
    "batch norm and dropout": small_config(network="small_runs:batch_norm_featurizer"),
    "its own predict": small_config(algorithm=f"{__name__}:Inverted", hyperparameters={"lr": 0.03}),
    "diverged": small_config(hyperparameters={"lr": 1e37}),
    "equal steps": small_config(hyperparameters={"lr": 1e-6}),
}


@pytest.mark.parametrize("config", RUNS.values(), ids=RUNS)
def test_predicted_accuracies_are_those_recorded_at_the_best_step(config: RunSpec) -> None:
    folder, store = record(config)
    found, line = predict(folder), best_line(store)
    assert counted_accuracies(found.rows()) == recorded_accuracies(line)
    assert found.step == line["validation"]["step"]
    assert (found.largest_difference, found.warning) == (0, None)
    assert len(found) == 4 * 330


def test_prediction_uses_the_threads_of_training_and_leaves_the_process_as_it_was(
    copy_of_erm: tuple[RunFolder, MemoryStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, store = copy_of_erm
    config = small_config(threads=2).model_dump(mode="json")
    change_header(store, config=config)
    before, deterministic, calls = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), []
    monkeypatch.setattr(torch, "set_num_threads", calls.append)
    torch.use_deterministic_algorithms(False)
    try:
        predict(folder)
        assert not torch.are_deterministic_algorithms_enabled()
        assert calls == [2, before]
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=True)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_one_split_can_be_predicted(erm: tuple[RunFolder, MemoryStore], split: str) -> None:
    found = predict(erm[0], split=split)  # type: ignore[arg-type]
    assert list(found.rows()) == [row for row in predict(erm[0]).rows() if row.split == split]
    assert found.warning is None


def test_unknown_split_is_refused(erm: tuple[RunFolder, MemoryStore]) -> None:
    with pytest.raises(InputError, match=r"--split: .* got 'test' \(allowed: train, validation\)"):
        predict(erm[0], split="test")  # type: ignore[arg-type]


def test_weights_without_records_are_refused(copy_of_erm: tuple[RunFolder, MemoryStore]) -> None:
    folder, store = copy_of_erm
    del store.files[f"runs/{RUN}/records.jsonl"]
    vouch_for(store)
    with pytest.raises(InputError, match=rf"RUN_DIR: must hold the records.*got '{RUN}'"):
        predict(folder)


def spoil(store: MemoryStore) -> None:
    """The weights of a network that calls everything `x`."""
    weights = load_weights(store.files[f"runs/{RUN}/selected"])
    weights["classifier.bias"] = np.array([100, 0, 0], np.float32)
    store.files[f"runs/{RUN}/selected"] = save_weights(weights)
    vouch_for(store)


def vouch_for(store: MemoryStore) -> None:
    """As if the run had left its files as they are now."""
    folder = RunFolder(store, RUN)
    folder.mark(folder.read_state().status)


def test_predictions_unlike_the_records_have_a_warning(copy_of_erm: tuple[RunFolder, MemoryStore]) -> None:
    folder, store = copy_of_erm
    spoil(store)
    found = predict(folder)
    now = counted_accuracies(found.rows())
    differences = {
        place: abs(now[place] - accuracy) for place, accuracy in recorded_accuracies(best_line(store)).items()
    }
    (_, domain, split), largest = max(differences.items(), key=lambda item: item[1])
    assert largest > 0.1
    assert found.largest_difference == largest
    assert f"recorded at step {found.step}, by up to {largest:.3g} (domain {domain}, {split}:" in (found.warning or "")
    assert "although the environment is the same" in (found.warning or "")


def test_warning_names_changes_of_the_environment(copy_of_erm: tuple[RunFolder, MemoryStore]) -> None:
    folder, store = copy_of_erm
    present = fingerprint(torch.device("cpu"))
    then = {**present, "torch": "2.0", "cudnn": "90100"}
    del then["numpy"]
    change_header(store, fingerprint=then)
    same = predict(folder)
    spoil(store)
    other = predict(folder)
    expected = {"torch": ("2.0", present["torch"]), "cudnn": ("90100", "none"), "numpy": ("none", present["numpy"])}
    assert same.environment == other.environment == expected
    assert same.warning is None  # the numbers are the same all the same
    changed = f"another environment: torch {present['torch']} (then 2.0), cudnn none (then 90100), numpy "
    assert changed in (other.warning or "")


def test_gpu_run_is_predicted_on_a_cpu(
    copy_of_erm: tuple[RunFolder, MemoryStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, store = copy_of_erm
    rows = list(predict(folder).rows())
    change_header(store, fingerprint={**fingerprint(torch.device("cpu")), "device": "NVIDIA H200"})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = predict(folder)
    assert found.environment == {"device": ("NVIDIA H200", "cpu")}
    assert list(found.rows()) == rows


@pytest.mark.gpu
def test_gpu_run_is_predicted_on_a_gpu_as_recorded() -> None:
    store = MemoryStore()
    config = small_config(network="small-cnn")
    advance_to_the_end(RecordedRun.open(RunFolder(store, RUN), KEY, config, DATASET, torch.device("cuda")))
    found = predict(RunFolder(store, RUN))
    assert found.environment == {}
    assert (found.largest_difference, found.warning) == (0, None)


def test_cpu_run_is_predicted_on_the_cpu(erm: tuple[RunFolder, MemoryStore], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # a CUDA device that is not there would raise
    assert predict(erm[0]).warning is None


def test_ids_of_a_split_have_the_digest_in_the_header(erm: tuple[RunFolder, MemoryStore]) -> None:
    header = json.loads(erm[1].files[f"runs/{RUN}/run.json"])
    ids = defaultdict(list)
    for row in predict(erm[0]).rows():
        ids[row.domain, row.split].append(row.sample_id)
    for (domain, split), names in ids.items():
        digest = hashlib.blake2b(json.dumps(names).encode(), digest_size=8).hexdigest()
        assert header["split_digests"][domain][split == "validation"] == digest


def test_other_splits_are_refused(copy_of_erm: tuple[RunFolder, MemoryStore]) -> None:
    folder, store = copy_of_erm
    digests = json.loads(store.files[f"runs/{RUN}/run.json"])["split_digests"]
    change_header(store, split_digests={**digests, "b": digests["a"]})
    with pytest.raises(GGASweepError, match=f"run {RUN}: the splits drawn here are not .* trained on: b$"):
        predict(folder)


def as_in_the_file(rows: Iterable[Prediction]) -> list[tuple[object, ...]]:
    return [
        (row.domain, row.role, row.split, row.sample_id, row.label, row.predicted, row.correct, row.probability)
        for row in rows
    ]


def read_csv(path: Path) -> list[tuple[object, ...]]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        lines = csv.DictReader(file)
        return [
            (
                *(line[name] for name in ("domain", "role", "split", "sample_id", "label", "predicted")),
                {"1": True, "0": False}[line["correct"]],
                np.float32(line["probability"]),
            )
            for line in lines
        ]


def test_csv_holds_every_prediction_in_full(erm: tuple[RunFolder, MemoryStore], tmp_path: Path) -> None:
    found = predict(erm[0])
    found.to_csv(tmp_path / "predictions.csv")
    assert read_csv(tmp_path / "predictions.csv") == as_in_the_file(found.rows())

    frame = pd.read_csv(tmp_path / "predictions.csv")
    means = frame.groupby(["role", "domain", "split"])["correct"].mean()
    assert means.to_dict() == pytest.approx(recorded_accuracies(best_line(erm[1])))
    assert max(len(text) for text in (tmp_path / "predictions.csv").read_text().split(",")) < 20  # no float64 tails


def test_csv_keeps_unusual_names(erm: tuple[RunFolder, MemoryStore], tmp_path: Path) -> None:
    found = predict(erm[0], split="validation")
    names = ['a,"b"', "two\nlines", "caf\u00e9", "not text \udcff", "cr\r", " "]
    part = replace(found.parts[0], sample_ids=tuple(names[index % 6] for index in range(66)))
    renamed = replace(found, parts=(part,), classes=("x,", '"', "\n"))
    renamed.to_csv(tmp_path / "predictions.csv")
    assert read_csv(tmp_path / "predictions.csv") == as_in_the_file(renamed.rows())
    assert b"not text \xff" in (tmp_path / "predictions.csv").read_bytes()


def test_nan_is_written_as_nan(erm: tuple[RunFolder, MemoryStore], tmp_path: Path) -> None:
    found = predict(erm[0], split="validation")
    part = replace(found.parts[0], probabilities=np.full(66, np.nan, np.float32))
    replace(found, parts=(part,)).to_csv(tmp_path / "predictions.csv")
    assert np.isnan([line[-1] for line in read_csv(tmp_path / "predictions.csv")]).all()  # type: ignore[arg-type]


SIZE = 8


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Coloured noise around a colour of the class: domains `a`, `b` and `c`, classes `x`, `y` and `z`."""
    rng = np.random.default_rng(0)
    for domain in "abc":
        for label, name in enumerate("xyz"):
            (tmp_path / "tree" / domain / name).mkdir(parents=True)
            for index in range(10):
                pixels = rng.integers(0, 180, size=(SIZE, SIZE, 3))
                pixels[:, :, label] += 40
                file = tmp_path / "tree" / domain / name / f"{index}.png"
                Image.fromarray(pixels.astype(np.uint8)).save(file)
    return tmp_path / "tree"


def record_tree(tree: Path, **training: Any) -> tuple[RunFolder, MemoryStore, Dataset]:
    images = DatasetConfig(name="ImageFolder", root=tree, image_size=SIZE)
    dataset = load_dataset(images, None)
    config = small_config(**{"augmentation": "domainbed", **training}).model_copy(update={"dataset": images})
    return *record(config, dataset), dataset


def images_as_seen(dataset: Dataset, domain: str, indices: list[int], step: int | None) -> np.ndarray:
    """What the network is fed; augmented as at a step, if one is given."""
    images = [dataset.domain(domain).images[index] for index in indices]
    if step is not None:
        streams = [stream("ImageFolder", 0, "augment-validation", step, domain, index) for index in indices]
        images = [augment(image, rng) for image, rng in zip(images, streams, strict=True)]
    pixels = torch.stack(images).permute(0, 2, 3, 1).numpy() / 255
    return np.asarray((pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("augmented", [True, False])
def test_training_domains_are_augmented_as_at_the_best_step(tree: Path, augmented: bool) -> None:
    folder, store, dataset = record_tree(tree, augment_validation=augmented)
    found = predict(folder)
    assert found.step > 0
    assert counted_accuracies(found.rows()) == recorded_accuracies(best_line(store))
    assert found.warning is None
    for domain in "abc":
        indices = {name: index for index, name in enumerate(dataset.domain(domain).sample_ids)}
        rows = [row for row in found.rows() if row.domain == domain]
        step = found.step if augmented and domain != "c" else None
        images = images_as_seen(dataset, domain, [indices[row.sample_id] for row in rows], step)
        assert_is_the_network(rows, images, [row.sample_id.split("/")[1] for row in rows], store)


def test_predictions_have_the_precision_of_the_evaluations(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, store, _ = record_tree(tree, precision="bfloat16")
    rows = list(predict(folder).rows())
    assert counted_accuracies(rows) == recorded_accuracies(best_line(store))

    monkeypatch.setattr(Algorithm, "evaluated_logits", Algorithm.predict)  # float32
    exact = [row.probability for row in predict(folder).rows()]
    assert [row.probability for row in rows] != exact
    assert [row.probability for row in rows] == pytest.approx(exact, abs=0.02)


def test_moved_images_are_read_from_the_given_folder(tree: Path, tmp_path: Path) -> None:
    folder, _, _ = record_tree(tree)
    before = list(predict(folder).rows())
    moved = tree.rename(tmp_path / "moved")
    with pytest.raises(InputError, match=rf"--data: must be given: .* had them, got '{tree}'"):
        predict(folder)
    assert list(predict(folder, moved).rows()) == before


def test_cached_images_give_the_same_predictions(tree: Path, tmp_path: Path) -> None:
    folder, _, _ = record_tree(tree)
    assert list(predict(folder, cache=tmp_path / "cache").rows()) == list(predict(folder).rows())
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 3


def test_other_images_are_refused_with_both_digests(tree: Path, tmp_path: Path) -> None:
    folder, _, dataset = record_tree(tree)
    (tree / "a" / "x" / "0.png").write_bytes((tree / "a" / "x" / "1.png").read_bytes())
    now = load_dataset(DatasetConfig(name="ImageFolder", root=tree, image_size=SIZE), None).digest
    for data in (None, tree):
        with pytest.raises(InputError) as error:
            predict(folder, data)
        assert error.value.source == str(tree)
        assert error.value.faults[0].field == "dataset"
        assert (error.value.faults[0].got, error.value.faults[0].allowed) == (now, (dataset.digest,))


def test_embedded_dataset_accepts_no_root(copy_of_erm: tuple[RunFolder, MemoryStore], tmp_path: Path) -> None:
    folder, store = copy_of_erm
    config = small_config().model_dump(mode="json")
    change_header(store, config={**config, "dataset": {"name": "RotatedDigits"}})
    with pytest.raises(InputError, match="--data: RotatedDigits is embedded and has none"):
        predict(folder, tmp_path)

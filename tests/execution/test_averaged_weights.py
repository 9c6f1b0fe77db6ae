"""What a run that averages its weights leaves in its folder, how it is read, and that it predicts what is recorded."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ledger_in_memory import MemoryStore
from small_ledger import RUN, advance_to_the_end, open_small_run
from small_runs import CPU, bits, make_dataset, run_config

from gga_sweep.errors import DamagedFileError, InputError
from gga_sweep.execution.model import load_model
from gga_sweep.execution.predictions import predict
from gga_sweep.ledger.index import read_through
from gga_sweep.ledger.run_folder import Kept, RunFolder
from gga_sweep.ledger.run_reader import AVERAGED, DETERMINISTIC
from gga_sweep.records import RunStatus
from gga_sweep.spec.models import RunSpec
from gga_sweep.training.checkpoint import parse_state
from gga_sweep.training.trainer import Trainer

DATASET = make_dataset()
INSTALLED = f"{__name__}:DATASET"
SWAD = run_config(averaging="swad", dataset=INSTALLED, hyperparameters={"lr": 0.05})
PLAIN = run_config(dataset=INSTALLED, hyperparameters={"lr": 0.05})


def recorded(config: RunSpec = SWAD, kept: Kept = "selected") -> tuple[RunFolder, MemoryStore]:
    store = MemoryStore()
    advance_to_the_end(open_small_run(store, config, DATASET, kept=kept))
    return RunFolder(store, RUN), store


def files(store: MemoryStore) -> dict[str, bytes]:
    return {name: content for name in DETERMINISTIC if (content := store.read(f"runs/{RUN}/{name}")) is not None}


def test_folder_holds_the_average_of_the_trainer() -> None:
    folder, _ = recorded()
    trainer = Trainer(SWAD, DATASET, CPU)
    while not trainer.finished:
        done = trainer.advance(1e9)
    assert done.averaged is not None
    assert folder.read_averaged() == folder.read_result().averaged == done.averaged.averaged
    assert folder.record_of("averaged") == done.averaged.averaged.record
    assert bits(load_model(folder, "averaged").state_dict()) == bits(done.averaged.state)
    assert bits(load_model(folder).state_dict()) != bits(done.averaged.state)


def test_averaging_changes_no_other_file() -> None:
    (folder, store), (plain, without) = recorded(), recorded(PLAIN)
    assert {name: content for name, content in files(store).items() if name not in AVERAGED} == files(without)
    assert set(files(store)) - set(files(without)) == set(AVERAGED) == folder.digests().keys() - plain.digests().keys()
    assert plain.read_averaged() is None


def test_index_holds_the_average() -> None:
    folder, store = recorded()
    first, again = (read_through(store, [RUN])[RUN] for _ in range(2))
    assert first.averaged == again.averaged == folder.read_averaged()
    assert again.averaged is not None


def test_damaged_average_fails_the_run_and_damaged_weights_are_refused() -> None:
    folder, store = recorded()
    store.replace(f"runs/{RUN}/averaged", store.files[f"runs/{RUN}/selected"])
    with pytest.raises(DamagedFileError, match="its averaged is not what the run left"):
        load_model(folder, "averaged")
    line = store.files[f"runs/{RUN}/averaged.jsonl"].replace(b"7", b"6")
    store.replace(f"runs/{RUN}/averaged.jsonl", line)
    assert folder.read_result().state.status is RunStatus.FAILED
    assert folder.read_result().averaged is None


def test_averaged_model_predicts_as_recorded() -> None:
    folder, _ = recorded()
    found = predict(folder, weights="averaged")
    record = folder.record_of("averaged")
    assert record is not None
    assert (found.step, found.largest_difference) == (7, 0)
    scores = {**record.validation.domains, **record.test.domains}
    assert {part.accuracy for part in found.parts if part.domain == "c" and part.split == "train"} == {
        scores["c"].train.accuracy
    }
    assert [part.probabilities.tolist() for part in found.parts] != [
        part.probabilities.tolist() for part in predict(folder).parts
    ]


@pytest.mark.parametrize("ask", [load_model, lambda folder, weights: predict(folder, weights=weights)])
def test_run_without_averaged_weights_is_refused(ask: Callable[[RunFolder, str], object]) -> None:
    folder, _ = recorded(PLAIN)
    with pytest.raises(InputError, match="must hold averaged weights; this run has not averaged its weights"):
        ask(folder, "averaged")


def test_run_that_keeps_no_weights_keeps_the_digest_of_its_average() -> None:
    (folder, store), (_, whole) = recorded(kept="none"), recorded()
    assert files(store) == {name: content for name, content in files(whole).items() if name.endswith(".jsonl")}
    assert folder.read_state().removed == ("selected", "averaged")
    assert folder.read_state().digests == RunFolder(whole, RUN).read_state().digests
    folder.check_digests()
    with pytest.raises(InputError, match="must hold averaged weights; this run's were removed"):
        load_model(folder, "averaged")


def test_diverged_run_deletes_the_average_of_an_earlier_attempt() -> None:
    config = SWAD.model_copy(update={"hyperparameters": {**SWAD.hyperparameters, "lr": 1e37}})
    folder, store = recorded(config)
    assert folder.read_state().status is RunStatus.DIVERGED
    assert not set(AVERAGED) & set(files(store))


def test_average_after_the_checkpoint_is_deleted_when_resuming() -> None:
    _, store = recorded()
    begun = MemoryStore()
    run = open_small_run(begun, SWAD, DATASET)
    for _ in range(5):
        run.advance(0)
    run.preempt("stopped by a test")
    for name in AVERAGED:
        begun.replace(f"runs/{RUN}/{name}", files(store)[name])
    resumed = open_small_run(begun, SWAD, DATASET)
    assert not set(AVERAGED) & set(files(begun))
    advance_to_the_end(resumed)
    assert files(begun) == files(store)


def test_requeued_run_has_no_average() -> None:
    folder, store = recorded()
    folder.requeue("put back by a test")
    assert files(store) == {}


def test_last_checkpoint_has_the_digests_of_the_average() -> None:
    folder, store = recorded(kept="all")
    written = parse_state(folder.read_checkpoint() or b"")["recorded"]
    assert {name: written[name] for name in AVERAGED} == {name: folder.digests()[name] for name in AVERAGED}
    del store.files[f"runs/{RUN}/status.json"]  # lost between the two
    advance_to_the_end(open_small_run(store, SWAD, DATASET, kept="all"))
    assert files(store) == files(recorded()[1])
    assert RunFolder(store, RUN).read_state().digests.keys() >= set(AVERAGED)

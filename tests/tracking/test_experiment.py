from __future__ import annotations

from pathlib import Path

import pytest

from gga_sweep.errors import GGASweepError
from gga_sweep.tracking.experiment import find_experiment, find_or_create_experiment
from gga_sweep.tracking.mlflow_api import MlflowClient


@pytest.fixture
def client(uri: str) -> MlflowClient:
    return MlflowClient(uri)


def test_an_experiment_bears_the_sweeps_name_and_is_made_once(client: MlflowClient) -> None:
    first = find_or_create_experiment(client, Path("/data/results/demo"))
    assert find_or_create_experiment(client, Path("/data/results/demo")) == first
    assert client.get_experiment(first).name == "demo"
    assert client.get_experiment(first).artifact_location == "file:///data/results/demo/mlflow-artifacts"
    assert find_experiment(client, Path("/data/results/demo")).experiment_id == first  # type: ignore[union-attr]
    assert find_experiment(client, Path("/data/other")) is None


def test_a_sweep_of_the_same_name_in_another_storage_is_kept_apart(client: MlflowClient) -> None:
    first = find_or_create_experiment(client, Path("/data/results/demo"))
    second = find_or_create_experiment(client, Path("/elsewhere/demo"))
    assert second != first
    assert client.get_experiment(second).name.startswith("demo (")
    assert find_or_create_experiment(client, Path("/elsewhere/demo")) == second
    assert find_or_create_experiment(client, Path("/data/results/demo")) == first


def test_a_folder_with_odd_characters_finds_its_experiment_again(client: MlflowClient) -> None:
    folder = Path("/data/it's 100 %/é/demo")
    assert find_or_create_experiment(client, folder) == find_or_create_experiment(client, folder)


def test_a_deleted_experiment_is_restored_with_its_runs(client: MlflowClient) -> None:
    experiment = find_or_create_experiment(client, Path("/data/demo"))
    client.create_run(experiment)
    client.delete_experiment(experiment)
    assert find_or_create_experiment(client, Path("/data/demo")) == experiment
    assert len(client.search_runs([experiment])) == 1


def test_when_all_names_are_taken_the_sweep_must_be_renamed(client: MlflowClient) -> None:
    client.create_experiment("demo")
    taken = client.get_experiment(find_or_create_experiment(client, Path("/data/demo")))
    client.set_experiment_tag(taken.experiment_id, "gga_sweep.folder", "file:///a/third")
    with pytest.raises(GGASweepError, match=r"'demo'.*rename the sweep"):
        find_or_create_experiment(client, Path("/data/demo"))

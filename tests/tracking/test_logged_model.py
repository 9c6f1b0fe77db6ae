"""A winner's model, loaded with MLflow alone."""

from __future__ import annotations

import mlflow
import numpy as np
import pytest
import torch
from invented_ledger import invented_report, progress, show, start

from gga_sweep.execution.model import _setting, load_algorithm
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.records import RunStatus
from gga_sweep.spec import Plan
from gga_sweep.tracking.mlflow_api import MlflowClient
from gga_sweep.tracking.projection import Projection
from gga_sweep.tracking.sweep_outcome import publish_outcome
from gga_sweep.training.build import build_algorithm
from gga_sweep.training.checkpoint import dump_weights


@pytest.mark.filterwarnings("ignore:.*Any type hint:UserWarning")  # MLflow's own, of importing `mlflow.pyfunc`
def test_mlflow_loads_a_winner_and_predicts_as_the_run_does(
    uri: str, plan: Plan, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = plan.runs[0]
    folder = start(ledger, run)
    progress(folder, run, 3)
    header = folder.read_header()
    assert header is not None
    torch.manual_seed(0)
    folder.write_selected(dump_weights(build_algorithm(header.config, _setting(header)).network))
    folder.write_state(RunStatus.DONE, 4)
    client = MlflowClient(uri)
    projection = Projection(client, plan.sweep, ledger, live=False)
    show(projection, run, ledger)
    publish_outcome(projection, plan.runs, invented_report(plan, ledger))
    [model] = client.search_logged_models([projection.experiment_id])
    assert model.status == "READY"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    loaded = mlflow.pyfunc.load_model(f"models:/{model.model_id}")
    images = np.random.default_rng(0).random((3, *header.input_shape), dtype=np.float32)
    with torch.inference_mode():
        expected = load_algorithm(folder).predict(torch.from_numpy(images)).softmax(dim=1).numpy()
    np.testing.assert_array_equal(loaded.predict(images), expected)
    assert loaded.metadata.metadata["classes"] == list(header.classes)
    example = loaded.metadata.load_input_example(f"models:/{model.model_id}")
    assert loaded.predict(example.astype(np.float32)).shape == (1, 10)
    [output] = client.get_run(projection.runs[run.cell.arm, run.key].run_id).outputs.model_outputs
    assert output.model_id == model.model_id

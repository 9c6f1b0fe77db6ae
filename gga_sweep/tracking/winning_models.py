"""The winners' models, logged in MLflow: each with signature and input example, listed under Models."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

from gga_sweep.execution.private_folder import private_folder
from gga_sweep.ledger.run_header import RunHeader
from gga_sweep.selection import Selected
from gga_sweep.tracking import names
from gga_sweep.tracking.mlflow_api import LoggedModel, LoggedModelOutput, import_models
from gga_sweep.tracking.projection import Projection
from gga_sweep.tracking.tracked_run import TrackedRun

_LOADER = "gga_sweep.tracking.logged_model"
_DATA = "data"
_EXAMPLE = "input_example.json"
_READY = "READY"


def log_models(
    projection: Projection, winners: Mapping[str, tuple[TrackedRun, Selected]], progressed: Callable[[], None]
) -> None:
    """Log the model of each winner that kept its weights, once. Any other model of the sweep is deleted.

    Args:
        winners: by MLflow's id of the run.
        progressed: called after each.
    """
    shown = set[str]()
    for model in list(_models(projection)):
        found = winners.get(model.source_run_id or "")
        is_complete = str(model.status) == _READY and model.source_run_id not in shown
        if is_complete and found is not None and model.tags.get(names.WEIGHTS_STEP) == str(found[1].step):
            shown.add(model.source_run_id)
        else:
            projection.client.delete_logged_model(model.model_id)
    for run_id, (run, winner) in winners.items():
        if run_id not in shown:
            _log_model(projection, run, winner)
        progressed()


def _models(projection: Projection) -> Iterator[LoggedModel]:
    token = None
    ledger = projection.common_tags[names.LEDGER]
    while True:
        page = projection.client.search_logged_models([projection.experiment_id], page_token=token)
        yield from (model for model in page if model.tags.get(names.LEDGER) == ledger)
        token = page.token
        if not token:
            return


def _log_model(projection: Projection, run: TrackedRun, winner: Selected) -> None:
    stored = projection.ledger.run(winner.folder)
    kept, header = stored.selected_record(), stored.readable_header()
    weights = stored.intact_selected() if kept is not None and kept.step == winner.step else None
    configuration = stored.read_file("run.json")
    if weights is None or header is None or configuration is None:
        return
    tags = {names.LEDGER: projection.common_tags[names.LEDGER], names.WEIGHTS_STEP: str(winner.step)}
    place = {name: run.tags[name] for name in (names.ARM, names.TEST_DOMAINS, names.TRIAL_SEED)}
    model = projection.client.create_logged_model(
        projection.experiment_id, name=_name(winner.folder), source_run_id=run.run_id, tags={**place, **tags}
    )
    with private_folder() as above:
        folder = Path(above) / "model"
        (folder / _DATA).mkdir(parents=True)
        (folder / _DATA / names.CONFIG_FILE).write_bytes(configuration)
        (folder / _DATA / names.WEIGHTS_FILE).write_bytes(weights)
        _describe(folder, header, model.model_id, run.run_id)
        projection.client.log_model_artifacts(model.model_id, str(folder))
    projection.client.log_outputs(run.run_id, [LoggedModelOutput(model.model_id, winner.step)])
    projection.client.finalize_logged_model(model.model_id, _READY)


def _name(folder: str) -> str:
    """MLflow allows no `/ : . % " '` in a model's name."""
    return "".join("_" if character in "/:.%\"'" else character for character in folder)


def _describe(folder: Path, header: RunHeader, model_id: str, run_id: str) -> None:
    """Write the model's declaration: how it is loaded, its signature, an example of its input."""
    import numpy as np

    Model, ModelSignature, Schema, TensorSpec = import_models()  # noqa: N806
    single = np.dtype(np.float32)
    signature = ModelSignature(
        Schema([TensorSpec(single, (-1, *header.input_shape))]),
        Schema([TensorSpec(single, (-1, len(header.classes)))]),
    )
    model = Model(
        run_id=run_id,
        model_id=model_id,
        model_uuid=model_id,
        signature=signature,
        metadata={"classes": list(header.classes)},
        saved_input_example_info={"artifact_path": _EXAMPLE, "type": "ndarray", "format": "tf-serving"},
    )
    (folder / _EXAMPLE).write_text(json.dumps(np.zeros((1, *header.input_shape)).tolist()))
    (folder / "requirements.txt").write_text(f"gga-sweep=={metadata.version('gga-sweep')}\n")
    # `mlflow.pyfunc` has a function for this; importing it takes seconds and prints warnings.
    model.add_flavor("python_function", loader_module=_LOADER, data=_DATA, python_version=platform.python_version())
    model.save(str(folder / "MLmodel"))

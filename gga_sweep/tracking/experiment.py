"""The MLflow experiment of a sweep."""

from __future__ import annotations

import hashlib

from gga_sweep.errors import GGASweepError
from gga_sweep.spec.location import Location
from gga_sweep.tracking import names
from gga_sweep.tracking.mlflow_api import Experiment, MlflowClient, ViewType


def find_experiment(client: MlflowClient, folder: Location) -> Experiment | None:
    """The experiment of the sweep in that folder, deleted or not."""
    found = client.search_experiments(
        view_type=ViewType.ALL, filter_string=f"tags.`{names.FOLDER}` = '{folder.absolute().as_uri()}'"
    )
    return min(found, key=lambda experiment: int(experiment.experiment_id), default=None)


def find_or_create_experiment(client: MlflowClient, folder: Location) -> str:
    """The id of a sweep's experiment.

    It has the name of the sweep. If a sweep in another folder has that name (in another storage, or this one before it
    was moved: MLflow cannot change where artifacts are), a mark follows it.

    Raises:
        GGASweepError: the marked name is taken too.
    """
    if experiment := find_experiment(client, folder):
        return _restored(client, experiment)
    uri = folder.absolute().as_uri()
    mark = hashlib.blake2b(uri.encode(), digest_size=4).hexdigest()
    for name in (folder.name, f"{folder.name} ({mark})"):
        present = client.get_experiment_by_name(name)
        if present is None:
            return str(client.create_experiment(name, f"{uri}/{names.ARTIFACTS_FOLDER}", {names.FOLDER: uri}))
        if present.tags.get(names.FOLDER) == uri:  # a slow server has created it in the meantime
            return _restored(client, present)
    raise GGASweepError(f"MLflow has experiments of other folders named {folder.name!r} and {name!r}; rename the sweep")


def _restored(client: MlflowClient, experiment: Experiment) -> str:
    if experiment.lifecycle_stage != "active":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)

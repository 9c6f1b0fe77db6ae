"""The images of a run as MLflow's dataset inputs."""

from __future__ import annotations

import json

from gga_sweep.ledger.json_codec import digest
from gga_sweep.ledger.run_header import RunHeader
from gga_sweep.tracking.mlflow_api import Dataset, DatasetInput, InputTag

_CONTEXT = "mlflow.data.context"
_LONGEST_DIGEST = 36  # MLflow stores no more


def dataset_inputs(header: RunHeader) -> list[DatasetInput]:
    """What a run is trained, validated and tested on.

    The digests are of the images and of the run's splits, so that runs with equal ones saw the same images.

    Args:
        header: of a run whose domains could be split.
    """
    tested = header.config.test_domains
    training = [domain for domain in header.split_digests if domain not in tested]
    parts = {
        "train": ("training split", {domain: header.split_digests[domain][0] for domain in training}),
        "validation": ("validation split", {domain: header.split_digests[domain][1] for domain in training}),
        "test": ("training split", {domain: header.split_digests[domain][0] for domain in tested}),
    }
    return [_input(header, context, split, digests) for context, (split, digests) in parts.items()]


def _input(header: RunHeader, context: str, split: str, digests: dict[str, str]) -> DatasetInput:
    config = header.config.dataset
    whole = json.dumps([header.dataset_digest, context, digests], sort_keys=True)
    described = {"dataset_digest": header.dataset_digest, "split": split, "domains": list(digests)}
    dataset = Dataset(
        name=config.name,
        digest=digest(whole.encode())[:_LONGEST_DIGEST],
        source_type="local",
        source=json.dumps({"uri": str(config.root or config.name)}),
        profile=json.dumps({**described, "classes": len(header.classes)}),
    )
    return DatasetInput(dataset, [InputTag(_CONTEXT, context)])

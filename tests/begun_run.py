"""Runs of RotatedDigits that have begun, for ledgers whose runs are invented."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_folder import RunFolder
from gga_sweep.ledger.run_header import RunHeader
from gga_sweep.spec import Contents, PlannedRun

CONTENTS = Contents(dataset="d" * 32)
FINGERPRINT: Mapping[str, str] = MappingProxyType({"torch": "2.9"})


def begin_run(
    ledger: Ledger,
    run: PlannedRun,
    fingerprint: Mapping[str, str] = FINGERPRINT,
    input_shape: tuple[int, int, int] = (1, 28, 28),
) -> RunFolder:
    """Start its first attempt and write its header."""
    folder = ledger.run(run.folder)
    folder.claim({})
    folder.write_header(
        RunHeader(
            key=run.key,
            config=run.config,
            dataset_digest=CONTENTS.dataset,
            classes=tuple("0123456789"),
            input_shape=input_shape,
            normalise=False,
            fingerprint=fingerprint,
            start_time=0.0,
            split_digests={},
        )
    )
    return folder

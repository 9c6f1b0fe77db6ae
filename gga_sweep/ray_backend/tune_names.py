"""The keys of trials' configurations and results."""

from __future__ import annotations

# Configurations of trials in a launch. A user's own searcher uses names of the search space instead.
RUN = "run"
"""The key of a run."""
NEXT = "next"
"""A run of a `RunSource` as plain data."""

# Results, beside `tracking.names.validation_metrics`. Never a number of a test domain.
KEY = "key"
"""Of the run."""
STEP = "step"
"""Of the last evaluation: the `time_attr` of schedulers."""
PROGRESS_STEP = "progress/step"
"""That training has reached; for display only. Missing if the run was not opened."""
REMARKS = "remarks"
"""The run's remarks since the last result, one a line."""
SUPERSEDED = "superseded"
"""In the last result: a launch took over the run, whose state is not this trial's any more."""
REFUSED = "storage_refused"
"""In the last result of a trial in a launch: why the storage cannot be used any more."""

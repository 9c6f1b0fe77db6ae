"""Images that evaluations forward with `training.evaluate: selection`, over those with `all`: `make bench`.

Counted, not timed: the mean over the test domains of each dataset, of whole runs under its shipped protocol file. A new
best is an evaluation whose validation accuracy is the best so far: only there, and at the last step, are test domains
evaluated.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from gga_sweep.spec import load
from gga_sweep.spec.counted_work import TYPICAL_NEW_BESTS, evaluated_images, evaluations
from gga_sweep.spec.runs import outline_sweep

SHARE_IN_THE_DEMO = 162 / 180
"""Evaluations before the last that were new bests, in 36 runs of the demo with 6 evaluations each."""

SWEEPS = ("gga-paper-pacs", "gga-paper-domainnet")


def ratio(sweep: str, new_bests: float) -> float:
    """Mean over test domains of images forwarded, over those of `all`."""
    loaded = load(sweep, storage=Path("nowhere"))
    runs = {run.config.test_domains: run.config for run in outline_sweep(loaded).runs}
    found = []
    for config in runs.values():
        of = {
            evaluate: evaluated_images(
                config.model_copy(update={"training": config.training.model_copy(update={"evaluate": evaluate})}),
                loaded.dataset,
                new_bests=new_bests,
            )
            for evaluate in ("all", "selection")
        }
        found.append(of["selection"] / of["all"])
    return fmean(found)


def main() -> None:
    print(f"{'sweep':24}{'evaluations':>12}{'all new bests':>15}{'share of the demo':>19}{'as many as the demo':>21}")
    for sweep in SWEEPS:
        count = evaluations(load(sweep, storage=Path("nowhere")).training)
        columns = (count - 1, SHARE_IN_THE_DEMO * (count - 1), TYPICAL_NEW_BESTS)
        shown = "".join(
            f"{ratio(sweep, new_bests):>{width}.3f}" for new_bests, width in zip(columns, (15, 19, 21), strict=True)
        )
        print(f"{sweep:24}{count:>12}{shown}")


if __name__ == "__main__":
    main()

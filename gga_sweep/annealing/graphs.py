"""A scoring replayed as a CUDA graph: one launch instead of hundreds of small ones."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

Measure = Callable[[], Tensor]


def capture(measure: Measure) -> Measure:
    """Record what `measure` launches on the present CUDA device; the result launches the same again.

    `measure` must read and write the same memory at each call, copy nothing from the CPU and wait for nothing.
    """
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # libraries initialise outside the recording
        measure()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        measured = measure()

    def replay() -> Tensor:
        graph.replay()
        return measured.clone()

    return replay


class GraphedMeasure:
    """A measurement that is made once, recorded, and from then on replayed.

    The recording is used only if its first replay, at another point than that of the recording, reproduces the bits of
    the measurement. Otherwise every call measures, after a warning.

    Args:
        measure: see `capture`.
        record: replaces `capture` without a CUDA device.
    """

    def __init__(self, measure: Measure, record: Callable[[Measure], Measure] = capture) -> None:
        self._measure = measure
        self._record = record
        self._recorded: Measure | None = None
        self._trusted: bool | None = None

    def __call__(self) -> Tensor:
        if self._recorded is None:
            measured = self._measure()
            self._recorded = self._record(self._measure)
            return measured
        if self._trusted is None:
            measured = self._measure()
            self._trusted = torch.equal(measured, self._recorded())
            if not self._trusted:
                warnings.warn(
                    "the scoring does not replay as a CUDA graph; it is computed again each time", stacklevel=2
                )
            return measured
        return self._recorded() if self._trusted else self._measure()

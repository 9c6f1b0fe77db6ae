"""Descriptions of the experiment, the parent, the runs and the summaries. MLflow shows them as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from gga_sweep.ledger.json_codec import digest
from gga_sweep.report.document import Section
from gga_sweep.report.headline import score_section
from gga_sweep.report.markdown import escape, sections_to_markdown
from gga_sweep.report.verdict import verdict_in_words, verdicts_in_words
from gga_sweep.report.wording import domains_in_words, entry_in_words
from gga_sweep.selection import Entry, Verdict
from gga_sweep.spec.plan import PlannedRun, SweepSpec
from gga_sweep.tracking import names
from gga_sweep.tracking.views import views

if TYPE_CHECKING:
    from gga_sweep.report.make_report import Report

_MARK = re.compile(r"\n\n\[//\]: # \(gga-sweep ([0-9a-f]+)\)\Z")  # Markdown shows nothing of it
_LONGEST_LIST = 400  # characters of hyperparameters


def sweep_note(experiment_id: str, report: Report | None = None) -> str:
    """The description of the experiment and the parent: verdict, links to the views, result tables.

    Args:
        report: None while there are no results. A table that does not fit into a tag is left out.
    """
    parts = [] if report is None else [_in_lines(escape(_first_sentence(report)))]
    links = " \N{MIDDLE DOT} ".join(f"[{view.heading}](.{view.address(experiment_id)})" for view in views())
    parts.append(f"{links} \N{MIDDLE DOT} tables and plots are artifacts of the parent of its runs.")
    for part in () if report is None else _tables(report):
        if len("\n\n".join([*parts, part])) < names.LONGEST_VALUE - 100:
            parts.append(part)
    text = "\n\n".join(parts)
    return f"{text}\n\n[//]: # (gga-sweep {_digest(text)})"


def is_ours(note: str | None) -> bool:
    """Whether nobody has edited a sweep's description, or it has none."""
    if not note:
        return True
    mark = _MARK.search(note)
    return mark is not None and mark[1] == _digest(note[: mark.start()])


def run_note(sweep: SweepSpec, run: PlannedRun) -> str:
    """One sentence on a run."""
    listed = ", ".join(f"{name} {value}" for name, value in run.hyperparameters.items())
    if len(listed) > _LONGEST_LIST:
        listed = f"{len(run.hyperparameters)} values, see the parameters"
    test, seed = domains_in_words(run.cell.test_domains), run.cell.trial_seed
    place = f"{run.cell.arm} on {sweep.config.dataset.name}, test domain {test}, trial seed {seed}"
    return escape(f"{place}. Hyperparameters: {listed or 'none'}.")


def summary_note(arm: str, test_domains: str, metric: str, entry: Entry, verdict: Verdict | None) -> str:
    """The score of an arm on a test domain or on average, and the verdict on it.

    Args:
        metric: its name in words.
    """
    where = "on average over the test domains" if test_domains == names.AVERAGE else f"on test domain {test_domains}"
    text = f"{arm}, {metric} {where}: {entry_in_words(entry)} % ({entry.n} of {entry.expected} trial seeds)."
    return escape(text if verdict is None else f"{text} {verdict_in_words(verdict)}")


def _first_sentence(report: Report) -> str:
    """The verdict; of several, their summary."""
    return next(iter(verdicts_in_words(report.comparison.verdicts)), f"{report.table.title}: no arm has a baseline.")


def _in_lines(verdict: str) -> str:
    """The verdict in paragraphs: MLflow shows one line of a description until it is opened."""
    return verdict.replace(". The smallest detectable", ".\n\nThe smallest detectable", 1)


def _tables(report: Report) -> Iterator[str]:
    yield _table(score_section(report.table))
    if further := verdicts_in_words(report.comparison.verdicts)[1:]:
        yield "\n".join(f"- {escape(sentence)}" for sentence in further)
    yield from (_table(section) for section in report.sections if section.name == "differences")


def _table(section: Section) -> str:
    return sections_to_markdown([replace(section, notes=(), verdict=())]).strip()


def _digest(text: str) -> str:
    return digest(text.encode())[:16]

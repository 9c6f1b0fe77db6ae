"""A report whose every name is one that may be anything."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from invented_sweep import invented_comparison, invented_sweep
from made_runs import changed_run

from gga_sweep.records import RunRecords
from gga_sweep.report.document import Footnote, Section, Sheet
from gga_sweep.report.make_report import Report
from gga_sweep.selection import build_table

MARKUP = (
    "<script>alert(1)</script>",
    "</style><script>",
    "</title>",
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    '"',
    "'",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "&",
    "&lt;",
    "&#60;script&#62;",
    "url(#x)",
    "$\\",
    " [",
    " (",
    "\0",
    "\x1b]0;title\x07",
    "\u2028",
    "\udcff",
)
NAMES = st.lists(st.sampled_from(MARKUP) | st.text(max_size=3), min_size=1, max_size=4).map("".join).filter(bool)


def named(name: str) -> Report:
    """A small sweep's report in which everything that can bear a name bears this one."""
    sweep = invented_sweep(arms=(name, f"{name} & annealed"), test_domains=("0", "45"), trial_seeds=(0, 1), name=name)
    other = f"{name} too"  # of two domains one would hide the other
    domains = {"0": name, "45": other}

    def renamed(run: RunRecords, number: int) -> RunRecords:
        return changed_run(
            run,
            cell=replace(run.cell, dataset=name, test_domains=tuple(domains[one] for one in run.cell.test_domains)),
            folder=f"{name}{number}",
            reason=name if run.reason else None,
            hyperparameters={**run.hyperparameters, name: name},
            records=tuple(
                replace(
                    record,
                    test=replace(record.test, domains={domains[one]: s for one, s in record.test.domains.items()}),
                )
                for record in run.records
            ),
        )

    sweep = replace(
        sweep,
        dataset=name,
        protocol=name,
        deviations=(name,),
        notes=(name,),
        test_domains=((name,), (other,)),
        records=tuple(renamed(run, number) for number, run in enumerate(sweep.records)),
        blocks=dict.fromkeys(sweep.arms, name),
    )
    return Report(
        sweep,
        build_table(sweep),
        invented_comparison(sweep),
        fingerprint={name: {name: name}},
        provenance={name: name},
        published=Section("published", name, (Sheet(name, (name,), ((name,),)),), (Footnote(name, name, (name,)),)),
        others=(build_table(sweep, "shared-draw"),),
        chosen=name,
    )

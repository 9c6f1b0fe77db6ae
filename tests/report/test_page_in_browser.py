"""The page in a browser: its policy lets its script run."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from empty_plots import leave_plots_empty

from gga_sweep.report.html import render_html
from gga_sweep.report.make_report import Report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_the_script_runs_under_the_policy_and_opens_the_part_in_the_address(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_plots_empty(monkeypatch)
    page = tmp_path / "report.html"
    page.write_text(render_html(report), "utf-8")
    flags = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom")
    done = subprocess.run(
        [str(BROWSER), *flags, f"{page.as_uri()}#selected"], capture_output=True, text=True, timeout=90
    )
    arms = re.findall(r'<span class="arm"[^>]* role="button"[^>]* aria-pressed="true"', done.stdout)
    assert len(arms) == len(report.view.arms)
    assert done.stdout.count('<th scope="col" aria-sort="none"><button') > 10
    assert re.search(r'<section id="selected">\s*<details open="">', done.stdout)

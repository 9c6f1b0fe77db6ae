"""The page in a browser: its script works under its policy, and the page fits its screen."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from empty_plots import leave_plots_empty
from invented_sweep import invented_report, invented_sweep

from gga_sweep.report.html import render_html
from gga_sweep.report.make_report import Report
from gga_sweep.selection import SweepView

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")

OUTER = """<!DOCTYPE html><iframe src="report.html{hash}" style="width: {width}px; height: 900px; border: 0"></iframe>
<script>
onload = () => {{
  const page = document.querySelector("iframe").contentDocument;
  const all = (selector, within = page) => [...within.querySelectorAll(selector)];
  const shown = (elements) => elements.filter((one) => one.getClientRects().length > 0);
  const found = {{}};
  {script}
  document.body.dataset.found = JSON.stringify(found);
}};
</script>"""
"""The page refuses scripts that are not its own, so the one that acts on it stands around it."""

ARMS = ("ERM", *(f"ERM + GGA, radius {i}e-6" for i in range(1, 6)), "CORAL", "CORAL + GGA")
MANY = tuple(f"{'a very long name ' * 6}{i}"[-100:] for i in range(40))


def in_browser(report: Report, folder: Path, script: str, *, width: int = 1280, part: str = "") -> Any:
    """What a script finds on the page."""
    (folder / "report.html").write_text(render_html(report), "utf-8")
    outer = folder / "outer.html"
    outer.write_text(OUTER.format(hash=part, width=width, script=script), "utf-8")
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom")
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [str(BROWSER), *flags, profile, "--window-size=1400,1000", outer.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    (found,) = re.findall(r'data-found="([^"]*)"', done.stdout)
    return json.loads(unescape(found))


def eight_arms(**changes: Any) -> SweepView:
    sweep = invented_sweep(arms=ARMS, test_domains=("0", "75"), trial_seeds=range(3), **changes)
    return replace(sweep, baselines=dict.fromkeys(ARMS[1:], "ERM"))


def test_arms_are_switched_tables_sorted_and_filtered_and_parts_opened(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_plots_empty(monkeypatch)
    script = """
    const table = page.querySelector("table.answer");
    const rows = () => shown(all("tbody th", table)).map((head) => head.lastChild.textContent);
    const averages = () => all("tbody tr", table).map((row) => parseFloat(row.cells[1].textContent));
    const sort = all("thead button", table)[1];
    found.opened = page.querySelector("#selected > details").open;
    found.closed = page.querySelector("#more > details").open;
    sort.click(); found.descending = averages();
    sort.click(); found.ascending = averages();
    sort.click(); found.rows = rows();
    const [first, second] = all("#arms .arm");
    second.click(); found.without = rows();
    second.click(); found.again = rows();
    second.dispatchEvent(new MouseEvent("dblclick", { bubbles: true })); found.alone = rows();
    page.querySelector("#arms button").click(); found.every = rows();
    const filter = page.querySelector("#arms input");
    filter.value = "1E-4"; filter.dispatchEvent(new Event("input")); found.filtered = rows();
    first.dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
    found.lit = all("tr.lit").every((row) => row.dataset.arm === "0") && all("tr.lit").length > 0;
    """
    found = in_browser(report, tmp_path, script, part="#selected")
    arms = list(report.view.arms)
    assert (found["opened"], found["closed"], found["lit"]) == (True, False, True)
    assert found["rows"] == found["again"] == found["every"] == arms
    assert found["descending"] == sorted(found["descending"], reverse=True)
    assert found["ascending"] == found["descending"][::-1]
    assert found["without"] == [arms[0], arms[2]]
    assert found["alone"] == [arms[1]]
    assert found["filtered"] == [arm for arm in arms if "1e-4" in arm]


def test_eight_arms_take_less_than_five_thousand_pixels_and_the_answer_is_on_the_first_screen(tmp_path: Path) -> None:
    script = """
    found.height = page.documentElement.scrollHeight;
    const bottom = (selector) => page.querySelector(selector).getBoundingClientRect().bottom;
    found.answer = ["p.verdict", "table.answer", "#accuracy svg"].map(bottom);
    """
    found = in_browser(invented_report(eight_arms()), tmp_path, script)
    assert 2000 < found["height"] < 5000
    assert max(found["answer"]) < 900


@pytest.mark.parametrize(("arms", "screen"), [(ARMS, 400), (MANY, 400), (MANY, 1280)])
def test_nothing_is_wider_than_the_screen_and_the_legend_has_every_arm(
    arms: tuple[str, ...], screen: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_plots_empty(monkeypatch)
    sweep = invented_sweep(arms=arms, test_domains=("0", "75"), trial_seeds=(0, 1), draws=2)
    report = invented_report(replace(sweep, baselines=dict.fromkeys(arms[1:], arms[0])))
    script = """
    found.width = page.documentElement.scrollWidth;
    const legend = page.getElementById("arms");
    const bottom = legend.getBoundingClientRect().top + legend.clientHeight;
    found.arms = all(".arm", legend).filter((arm) => arm.getBoundingClientRect().bottom <= bottom).length;
    """
    found = in_browser(report, tmp_path, script, width=screen)
    assert found == {"width": pytest.approx(screen - 8, abs=8), "arms": len(arms)}

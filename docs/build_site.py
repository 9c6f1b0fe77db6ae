"""Builds the documentation site: `docs/build_site.py FOLDER`. Needs no network; a broken link is an error.

The site has the pages of docs/, the Markdown files listed in `PAGES`, and pages generated from the code.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import gga_sweep
import gga_sweep.annealing

ROOT = Path(__file__).parents[1]
INFRA = sorted(ROOT.glob("infra/*/README.md"))
DOCS = ROOT / "docs"
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "infra/README.md": "infra.md",
    **{
        f"infra/{file.parent.name}/README.md": f"infra-{file.parent.name}.md" for file in ROOT.glob("infra/*/README.md")
    },
}
"""Markdown files outside docs/, and the names of their pages."""

CONTENTS = {
    "Start": ["tutorial", "glossary", "gallery"],
    "Guides": [
        "running",
        "python",
        "sweep-files",
        "networks",
        "annealing",
        "selection",
        "data",
        "domainbed",
        "ledger",
        "infra",
    ],
    "Reference": ["command-line", "python-names"],
    "Results": ["findings", "benchmarks", "reliability", "scaling"],
    "Project": ["contributing", "changelog", "security"],
}
"""The pages of the table of contents. A page that is missing here is an error."""

IN_YOUR_OWN_LOOP = ["anneal_step", "add_gradient_noise", "gradient_agreement", "GGA", "GGAL", "SearchOutcome"]

LINK = re.compile(r"(\]\()([^)#\s]+)([^)\s]*\))")


def main() -> None:
    """Write the sources into FOLDER-source, and the site into FOLDER."""
    target = Path(sys.argv[1])
    source = target.with_name(target.name + "-source")
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(DOCS, source, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for file in DOCS.glob("*.md"):
        (source / file.name).write_text(relinked(file), encoding="utf-8")
    for name, page in PAGES.items():
        (source / page).write_text(relinked(ROOT / name), encoding="utf-8")
    with (source / "index.md").open("a", encoding="utf-8") as index:
        index.write(contents())
    with (source / "infra.md").open("a", encoding="utf-8") as infra:
        infra.write(toctree(sorted(page for page in PAGES.values() if page.startswith("infra-"))))
    (source / "command-line.md").write_text(command_line(), encoding="utf-8")
    with (source / "gallery.md").open("a", encoding="utf-8") as gallery:
        gallery.write(shipped_files())
    (source / "python-names.md").write_text(python_names(), encoding="utf-8")
    shutil.copy(DOCS / "conf.py", source)
    options = ["--fail-on-warning", "--keep-going", "--quiet", "--jobs", "1"]
    subprocess.run([sys.executable, "-m", "sphinx", *options, source, target], check=True)
    print(f"The site is in {target / 'index.html'}.")


def relinked(source: Path) -> str:
    """The text of a Markdown file, with its relative links as the site needs them.

    Args:
        source: a file of the repository.
    """

    def link(match: re.Match[str]) -> str:
        if "://" in match[2] or match[2].startswith("mailto:"):
            return match[0]
        file = (source.parent / match[2]).resolve()
        name = file.relative_to(ROOT).as_posix()
        if name.startswith("search_spaces/"):
            return f"{match[1]}gallery.md#{file.stem})"
        return f"{match[1]}{PAGES.get(name, name.removeprefix('docs/'))}{match[3]}"

    return LINK.sub(link, source.read_text(encoding="utf-8"))


def toctree(pages: list[str], caption: str = "") -> str:
    """A hidden table of contents of Sphinx."""
    named = [f":caption: {caption}"] if caption else []
    return "\n".join(["", "```{toctree}", ":hidden:", *named, "", *pages, "```", ""])


def contents() -> str:
    """The table of contents of the site."""
    return "".join(toctree(pages, caption) for caption, pages in CONTENTS.items())


def command_line() -> str:
    """The reference of the command line, as typer writes it."""
    command = [sys.executable, "-m", "typer", "gga_sweep.cli", "utils", "docs", "--name", "gga-sweep"]
    text = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    return text.replace("# `gga-sweep`", "# Command line", 1)


def shipped_files() -> str:
    """Every shipped sweep file, for the gallery."""
    files = sorted((ROOT / "search_spaces").glob("*.yaml"))
    return "".join(f"\n## {file.stem}\n\n```yaml\n{file.read_text(encoding='utf-8')}```\n" for file in files)


def python_names() -> str:
    """The public Python names, with signatures and docstrings."""
    return "\n".join(
        [
            "# The public Python names\n",
            "`import gga_sweep` provides these names, and loads torch, Ray and MLflow when first used. Examples",
            "are on the [first page](index.md#python).\n",
            "## gga_sweep\n",
            *(documented("gga_sweep", name) for name in gga_sweep.__all__),
            "## gga_sweep.annealing\n",
            "For your own training loop; it imports torch alone.\n",
            *(documented("gga_sweep.annealing", name) for name in IN_YOUR_OWN_LOOP),
        ]
    )


def documented(module: str, name: str) -> str:
    """The directive that documents a class or a function."""
    kind = "autoclass" if isinstance(getattr(sys.modules[module], name), type) else "autofunction"
    options = ":members:\n" if kind == "autoclass" else ""
    return f"### {name}\n\n```{{eval-rst}}\n.. {kind}:: {module}.{name}\n" + options.replace(":", "   :", 1) + "```\n"


if __name__ == "__main__":
    main()

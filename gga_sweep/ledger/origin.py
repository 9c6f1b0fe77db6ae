"""Which package, and which command, launched a sweep."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

_COMMAND = "gga-sweep"
_SECRET = "--tracking-uri"  # its address may hold a password


@dataclass(frozen=True, slots=True)
class Origin:
    """What a launch ran.

    Args:
        version: of the package.
        commit: of its Git checkout, or that it was installed from; empty if unknown.
        changed: whether the package's files differ from that commit.
        command: the command line; empty for a launch from Python.
    """

    version: str
    commit: str = ""
    changed: bool = False
    command: str = ""


def find_origin(arguments: Sequence[str] | None = None) -> Origin:
    """The origin of a launch by this process.

    Args:
        arguments: of the command line, the program first; None: those of this process.
    """
    program, *rest = sys.argv if arguments is None else arguments
    command = shlex.join([_COMMAND, *_without_secret(rest)]) if Path(program).name == _COMMAND else ""
    commit, changed = _installed_from() or _checkout() or ("", False)
    return Origin(metadata.version("gga-sweep"), commit, changed, command)


def _without_secret(arguments: Sequence[str]) -> Iterator[str]:
    left = iter(arguments)
    for argument in left:
        if argument == _SECRET:
            next(left, None)
        elif not argument.startswith(f"{_SECRET}="):
            yield argument


def _installed_from() -> tuple[str, bool] | None:
    """The commit that pip installed the package from; None if it was installed otherwise."""
    found = json.loads(metadata.distribution("gga-sweep").read_text("direct_url.json") or "{}")
    commit = found.get("vcs_info", {}).get("commit_id")
    return None if commit is None else (commit, False)


def _checkout() -> tuple[str, bool] | None:
    """The commit of the checkout that holds the package; None if no Git repository tracks it."""
    if _git("ls-files", "--error-unmatch", "errors.py") is None:
        return None
    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--", ".")
    return None if commit is None else (commit, bool(changes))


def _git(*arguments: str) -> str | None:
    """What Git prints in the package's folder; None if it fails, or is not there."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # of a hook's repository
    folder = Path(__file__).parents[1]
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, env=own, capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()

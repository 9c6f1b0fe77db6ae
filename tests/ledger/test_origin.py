"""Which package and command launched a sweep."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from gga_sweep.ledger import origin
from gga_sweep.ledger.origin import find_origin


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of one module in a repository of its own."""
    folder = tmp_path / "package"
    (folder / "ledger").mkdir(parents=True)
    (folder / "errors.py").write_text("")
    git(tmp_path, "init")
    monkeypatch.setattr(origin, "__file__", str(folder / "ledger" / "origin.py"))
    return folder


def test_the_commit_is_that_of_the_checkout_with_a_mark_of_changes(package: Path) -> None:
    assert find_origin(["x"]).commit == ""  # in a repository that does not track it
    git(package, "add", ".")
    git(package, "commit", "-m", "one")
    found = find_origin(["x"])
    assert (found.commit, found.changed) == (git(package, "rev-parse", "HEAD"), False)
    (package / "errors.py").write_text("changed")
    assert find_origin(["x"]).changed


def test_the_repository_of_a_hook_is_not_taken_for_the_packages_own(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(package, "add", ".")
    git(package, "commit", "-m", "one")
    expected = find_origin(["x"])
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert find_origin(["x"]) == expected


def test_a_machine_without_git_has_no_commit(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert (find_origin(["x"]).commit, find_origin(["x"]).changed) == ("", False)


def test_the_commit_of_an_installation_is_the_one_pip_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    class Installed:
        version = "1.2"

        def read_text(self, name: str) -> str:
            assert name == "direct_url.json"
            return '{"url": "https://a.b/c", "vcs_info": {"vcs": "git", "commit_id": "abc"}}'

    monkeypatch.setattr(origin.metadata, "distribution", lambda name: Installed())
    assert find_origin(["x"]).commit == "abc"


def test_the_command_is_kept_without_the_address_of_the_tracking_store() -> None:
    password = "https://a:secret@b"
    for hidden in (["--tracking-uri", password], [f"--tracking-uri={password}"]):
        found = find_origin(["/usr/bin/gga-sweep", "run", "a b.yaml", *hidden, "--resume"])
        assert found.command == "gga-sweep run 'a b.yaml' --resume"
    assert find_origin(["/usr/bin/python", "run"]).command == ""
    assert find_origin(["x"]).version == metadata.version("gga-sweep")

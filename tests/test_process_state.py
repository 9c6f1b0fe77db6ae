"""What is set for the length of a block is put back, also where blocks of two threads overlap."""

from __future__ import annotations

import logging
import os
import random
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from gga_sweep.process_state import environment_variables, imported_meanwhile, kept, replaced


def test_variables_are_set_within_the_block_unless_the_user_set_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GGA_TEST_THEIRS", "theirs")
    with environment_variables({"GGA_TEST_OURS": "ours", "GGA_TEST_THEIRS": "ours"}):
        assert (os.environ["GGA_TEST_OURS"], os.environ["GGA_TEST_THEIRS"]) == ("ours", "theirs")
    assert "GGA_TEST_OURS" not in os.environ
    assert os.environ["GGA_TEST_THEIRS"] == "theirs"


def test_of_overlapping_blocks_the_last_puts_back_what_was_before_the_first() -> None:
    class Owner:
        name = "before"

    logger = logging.getLogger("gga_sweep.overlapping")
    logger.setLevel(logging.ERROR)
    first, second = ExitStack(), ExitStack()
    for stack in (first, second):
        stack.enter_context(environment_variables({"GGA_TEST_OURS": "ours"}))
        stack.enter_context(replaced(Owner, "name", "inside"))
        stack.enter_context(kept(loggers=(logger.name,)))
        logger.setLevel(logging.DEBUG)
    first.close()
    assert (os.environ["GGA_TEST_OURS"], Owner.name, logger.level) == ("ours", "inside", logging.DEBUG)
    second.close()
    assert ("GGA_TEST_OURS" in os.environ, Owner.name, logger.level) == (False, "before", logging.ERROR)


def test_what_others_set_within_the_block_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GGA_TEST_THEIRS", "theirs")
    before = random.getstate()
    with kept(("GGA_TEST_THEIRS", "GGA_TEST_NEW")):
        os.environ.update({"GGA_TEST_THEIRS": "changed", "GGA_TEST_NEW": "new"})
        random.random()
    assert (os.environ["GGA_TEST_THEIRS"], "GGA_TEST_NEW" in os.environ) == ("theirs", False)
    assert random.getstate() == before


def test_modules_are_imported_while_a_block_runs_and_are_there_when_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gga_test_slow.py").write_text("import threading\nthread = threading.current_thread().name\n")
    (tmp_path / "gga_test_broken.py").write_text("raise RuntimeError\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "gga_test_slow", raising=False)
    with imported_meanwhile("gga_test_broken", "gga_test_slow"):
        pass
    assert sys.modules["gga_test_slow"].thread == "imports"
    assert "gga_test_broken" not in sys.modules
    with pytest.raises(KeyError), imported_meanwhile("gga_test_slow"):
        raise KeyError  # the block's own error

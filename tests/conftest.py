"""Puts this folder on the path of all tests: helpers that several folders share stand here."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: on small networks threads wait for each other

"""Here too the small sweep of tests/sweep can be imported."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "sweep"))

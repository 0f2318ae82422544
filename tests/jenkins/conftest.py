"""The Declarative runner for all tests of this folder."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from declarative_runner import runner

__all__ = ["runner"]

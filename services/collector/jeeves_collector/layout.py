"""Where the collector keeps its files: the layout is code.

<data folder>/collector/
state.sqlite            jobs (shared frame)
memory.sqlite           what is remembered between runs
clones/<hash>/          git repositories
work/<job id>/          one job
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CollectorLayout:
    """The folder of one collector."""

    root: Path

    @classmethod
    def of_work_dir(cls, work_dir: Path) -> "CollectorLayout":
        """The layout that a job's work folder belongs to."""
        return cls(work_dir.resolve().parent.parent)

    @property
    def memory(self) -> Path:
        """SQLite file of `CollectorState`."""
        return self.root / "memory.sqlite"

    @property
    def clones(self) -> Path:
        """Folder of git clones."""
        return self.root / "clones"

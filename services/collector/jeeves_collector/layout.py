"""Where the collector keeps its files: the layout is code.

<data folder>/collector/
state.sqlite            jobs (shared frame)
memory.sqlite           conversions that are remembered
ledger.sqlite           what each source gave, and where an unfinished run stands
clones/<hash>/          git repositories
archives/<sha256>/      unpacked archives
hosts/                  rate and daily quota of each host
locks/<source>.lock     held by the job that reads a source
staged/<source>.sqlite  posts of a dump, until all of it was read
reports/<job id>.json   what happened in a job
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

    @property
    def ledger(self) -> Path:
        """SQLite file of `Ledger`."""
        return self.root / "ledger.sqlite"

    @property
    def archives(self) -> Path:
        """Folder of unpacked archives."""
        return self.root / "archives"

    @property
    def hosts(self) -> Path:
        """Folder of the hosts' gates."""
        return self.root / "hosts"

    @property
    def locks(self) -> Path:
        """Folder of the sources' locks."""
        return self.root / "locks"

    @property
    def staged(self) -> Path:
        """Folder of what dumps are sorted in."""
        return self.root / "staged"

    def report(self, job_id: str) -> Path:
        """JSON of a job's `CollectionReport`."""
        return self.root / "reports" / f"{job_id}.json"

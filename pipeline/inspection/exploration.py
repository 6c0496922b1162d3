"""A written table of posts, and how to open it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from shlex import quote


@dataclass(frozen=True)
class Exploration:
    """The written table, its number of posts, and the command that opens it."""

    path: Path
    posts: int

    @property
    def command(self) -> str:
        """The command that opens the file in Embedding Atlas."""
        return f"embedding-atlas {quote(str(self.path))} --vector vector --text text --image picture"

    def to_dict(self) -> dict[str, str]:
        """Its entries in the object of `--json`."""
        return {"explore": str(self.path), "explore_command": self.command}

    def to_text(self) -> str:
        """Where it is, and how to open it."""
        how = f"`{self.command}` opens it; `pip install embedding-atlas` installs that"
        return f"{self.posts} posts with vectors: {self.path}\n{how}"

"""Write packaging/completions: what `gpuboard completion SHELL` prints, under the name that each shell looks for."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpuboard.cli.completion import completion_script

FOLDER = Path(__file__).resolve().parent / "completions"
FILES = {"bash": "gpuboard.bash", "zsh": "_gpuboard", "fish": "gpuboard.fish"}


def main() -> None:
    """Write the three files."""
    FOLDER.mkdir(exist_ok=True)
    for shell, name in FILES.items():
        (FOLDER / name).write_text(completion_script(shell))


if __name__ == "__main__":
    main()

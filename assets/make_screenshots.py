"""Draw the README's pictures from scripted data: `python assets/make_screenshots.py` writes SVG here."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
os.environ |= {"TZ": "UTC", "LC_ALL": "C.UTF-8", "TERM": "xterm-256color", "COLORTERM": "truecolor"}
time.tzset()

from tests.support.screens import opened, settled  # noqa: E402
from tests.support.tui_source import ScriptedSource  # noqa: E402

PICTURES = {
    "board": ((120, 34), []),
    "queue": ((120, 20), ["3"]),
    "timeline": ((120, 26), ["2"]),
    "new-job": ((120, 26), ["n", "tab", *"python", "space", *"train.py", "tab", "backspace", "4"]),
}


async def draw(name: str, size: tuple[int, int], keys: list[str]) -> None:
    """Draw one picture."""
    async with opened(ScriptedSource(), size) as pilot:
        await pilot.press(*keys)
        await asyncio.sleep(0.6)  # the form asks when the typing pauses
        await settled(pilot)
        picture = pilot.app.export_screenshot()
    (HERE / f"{name}.svg").write_text(at_home(picture))


def at_home(picture: str) -> str:
    """Return the picture without fonts and links from elsewhere: the reader's own monospace will do."""
    picture = re.sub(r"@font-face\s*{[^}]*}", "", picture)
    picture = re.sub(r"<!--.*?-->", "", picture, flags=re.DOTALL)
    return picture.replace("Fira Code", "DejaVu Sans Mono")


def main() -> int:
    """Draw them all."""
    for name, (size, keys) in PICTURES.items():
        asyncio.run(draw(name, size, keys))
        print(f"assets/{name}.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())

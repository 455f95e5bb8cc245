"""The processes on a device, as the expanded card and the device's page list them."""

import pytest

from gpuboard.model.views.devices import ProcessView
from gpuboard.tui.instants import epoch_s
from gpuboard.tui.processwords import process_head, process_row
from tests.support.screens import opened, settled
from tests.support.tui_source import GIB, NOW, at

JOB = ProcessView(
    pid=41051, user="bea", command="python notebook.py", memory_bytes=22 * GIB, job_id=398,
    container="gb-398-1", started_at=at("09:10"),
)  # fmt: skip
FOREIGN = ProcessView(pid=7, user="root", command="xmrig", memory_bytes=GIB, belongs="foreign")


def said(process, width):
    return "".join(text for text, _ in process_row(process, epoch_s(NOW), width)).split()


def test_process_tells_person_job_container_memory_age_and_command():
    """Each under its own head; what is not known is a dash."""
    heads = process_head(76)[0][0].split()
    assert heads == ["PID", "PERSON", "JOB", "CONTAINER", "MEMORY", "AGE", "COMMAND"]
    assert said(JOB, 76) == [
        "41051",
        "bea",
        "398",
        "gb-398-1",
        "22G",
        "4h30",
        "python",
        "notebook.py",
    ]
    assert said(FOREIGN, 76) == ["7", "root", "foreign", "-", "1.0G", "-", "xmrig"]


@pytest.mark.parametrize("width", [30, 60, 66, 200])
def test_narrow_table_leaves_the_container_out_and_stays_in_line(width):
    head = process_head(width)[0][0]
    row = "".join(text for text, _ in process_row(JOB, epoch_s(NOW), width))
    assert ("CONTAINER" in head) == ("gb-398-1" in row) == (width >= 66)
    assert head.index("COMMAND") == (row.index("python") if width > 60 else 41)


@pytest.mark.parametrize("key", ["i", "enter"], ids=["page", "card"])
async def test_page_and_card_show_the_same_table(key, source):
    async with opened(source) as pilot:
        await pilot.press("j", "right", key)
        assert "398     gb-398-1" in await settled(pilot)

"""The line above every tab that tells how the box is."""

import msgspec
import pytest

from gpuboard.tui.header import box_items, host_parts
from gpuboard.tui.ink import width_of
from gpuboard.tui.theme import Glyphs
from tests.support.tui_source import board


def line(view, width):
    left, right = host_parts(view, Glyphs(), width, is_stale=False)
    return tuple("".join(text for text, _ in parts) for parts in (left, right))


def test_eighty_columns_tell_cpu_memory_shm_disk_load_and_engine():
    """Memory before load, as more often is the reason."""
    assert line(board(), 80) == (
        " hopper cpu 23% mem 35% shm 5% disk 830G load 12 docker ok",
        " 1/8 free 2 run 5 wait",
    )


def test_longer_name_costs_the_load_which_cpu_tells_too():
    view = board()
    view = msgspec.structs.replace(
        view, host=msgspec.structs.replace(view.host, hostname="gpu-box")
    )
    assert line(view, 80)[0] == " gpu-box cpu 23% mem 35% shm 5% disk 830G docker ok"


def test_wide_line_tells_amounts_and_versions():
    left, right = line(board(), 160)
    assert left == (
        " hopper · cpu 23% · mem 181/512G · shm 12/256G · disk 830G free · load 12"
        " · docker 27.3.1 · driver 550.90"
    )
    assert right == " 1 of 8 free · 2 running · 5 queued "


@pytest.mark.parametrize("width", range(30, 170))
def test_line_never_loses_a_part_of_a_fact(width):
    """Only whole facts are said, and the counts always are."""
    left, right = line(board(), width)
    assert width_of(left) + width_of(right) <= width or left == " hopper"
    assert right.endswith(("5 queued ", "5 wait"))
    assert not left.replace(" ·", "").endswith(("cpu", "mem", "shm", "disk", "load", "docker"))


def test_engines_fault_is_said_in_any_width_instead_of_its_health():
    view = board()
    view = msgspec.structs.replace(
        view, host=msgspec.structs.replace(view.host, engine_fault="does not answer")
    )
    for width in (80, 160):
        left, _ = line(view, width)
        assert "engine: does not answer" in left
        assert "docker" not in left


def test_boxes_that_do_not_fit_are_counted_and_the_shown_one_is_named():
    names = ["hopper", "curie", "meitner"]

    def said(room):
        return "".join(text for parts, _ in box_items(names, "curie", room) for text, _ in parts)

    assert said(24) == " hopper  curie  meitner "
    assert said(23) == " curie  +2 "
    assert said(9) == " cur…  +2 "

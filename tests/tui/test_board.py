"""The board: cards in their places, one expanded, sharers and instances told apart, sorted and filtered."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.strip import Strip

from gpuboard.model.requests import CancelRequest
from gpuboard.model.views.devices import ProcessView, SharerView
from gpuboard.tui.boardlayout import arrange, next_cell, units_of
from gpuboard.tui.boardorder import ORDERS, chosen
from gpuboard.tui.devicewords import holder_words, status_of
from gpuboard.tui.histories import KEPT, Histories
from gpuboard.tui.ink import Ink, changed_part
from gpuboard.tui.instants import epoch_s
from gpuboard.tui.theme import ASCII, THEMES, Glyphs, Palette
from tests.support.screens import assert_screen, opened, screen_text, settled, until
from tests.support.tui_source import GIB, NOW, at, board, device, devices, leased


def shared(index, *owners):
    """A device shared by jobs of these people."""
    sharers = [
        SharerView(user=user, mine=user == "ann", job_id=500 + n, job_name=f"small-{n}",
                   memory_bytes=10 * GIB, used_bytes=(7 + n) * GIB, until_at=at("16:00"))
        for n, user in enumerate(owners)
    ]  # fmt: skip
    first = sharers[0]
    return device(
        index, "leased", user=", ".join(owners), mine="ann" in owners, job_id=first.job_id,
        job_name=first.job_name, since_at=at("11:00"), until_at=at("16:00"), sharers=sharers,
        given_bytes=10 * GIB * len(owners), shareable_bytes=79 * GIB, utilization=61,
        memory_used_bytes=22 * GIB,
    )  # fmt: skip


def instances(index, *states):
    """A GPU that is cut up by MIG."""
    return [
        msgspec.structs.replace(
            leased(index, "bea", 600 + n, f"slice-{n}", "11:00", "16:00") if state == "leased" else device(index, state),
            uuid=f"MIG-{index}-{n}", label=f"{index}:{n}", kind="mig", parent=f"GPU-{index:04d}",
            name="NVIDIA A100 40GB MIG 1g.5gb", utilization=None, memory_total_bytes=5 * GIB, memory_used_bytes=n * GIB,
        )
        for n, state in enumerate(states)
    ]  # fmt: skip


class TestLayout:
    @given(
        st.lists(st.sampled_from([0, 0, 0, 1, 4, 7]), min_size=1, max_size=24),
        st.integers(20, 220),
        st.integers(3, 70),
        st.integers(-1, 30),
    )
    def test_every_device_has_a_place_of_its_own(self, kinds, width, height, expanded):
        found = []
        for index, count in enumerate(kinds):
            found += instances(index, *["free"] * count) if count else [device(index, "free")]
        opened_one = expanded if 0 <= expanded < len(found) else None
        layout = arrange(found, width, height, opened_one)
        boxes = [*layout.cells.values(), *layout.heads.values()]
        assert set(layout.cells) == set(range(len(found)))
        taken = set()
        for box in boxes:
            assert box.x >= 0
            assert box.right <= max(width, 38)
            assert box.bottom <= layout.height
            cells = {(box.x, line) for line in range(box.y, box.bottom)}
            assert not cells & taken
            taken |= cells

    def test_instances_lie_together_below_the_head_of_their_gpu(self):
        found = [*instances(0, "free", "leased"), device(1, "free")]
        assert units_of(found) == [(0, 1), (2,)]
        layout = arrange(found, 80, 20)
        head = layout.heads[0, 1]
        assert layout.cells[0].y == head.bottom
        assert layout.cells[1].y == layout.cells[0].bottom

    def test_arrows_go_to_the_nearest_card_and_stay_at_the_edge(self):
        cells = arrange(devices(), 80, 20).cells
        assert next_cell(cells, 0, 1, 0) == 1
        assert next_cell(cells, 1, 1, 0) == 1
        assert next_cell(cells, 0, 0, 1) == 2
        assert next_cell(cells, 0, 0, -1) == 0


class TestOrder:
    def test_every_order_keeps_all_and_instances_together(self):
        found = [*devices(), *instances(9, "free", "leased", "free")]
        for order in ORDERS:
            sorted_ones = chosen(found, order, "", only_mine=False)
            assert sorted(each.uuid for each in sorted_ones) == sorted(each.uuid for each in found)
            places = [n for n, each in enumerate(sorted_ones) if each.parent]
            assert places == list(range(places[0], places[0] + 3))
        assert chosen(found, "use", "", only_mine=False)[0].label == "0"
        assert chosen(found, "free", "", only_mine=False)[0].state == "free"

    def test_words_find_people_jobs_states_and_commands(self):
        for words, labels in (
            ("bea", ["3"]), ("idle", ["3"]), ("xmrig", ["5"]), ("train-llm ann", ["0", "1"]),
            ("drained fan", ["6"]), ("nothing-like-it", []),
        ):  # fmt: skip
            found = chosen(devices(), "number", words, only_mine=False)
            assert [each.label for each in found] == labels
        assert [each.label for each in chosen(devices(), "number", "", only_mine=True)] == [
            "0",
            "1",
        ]


def test_every_state_has_a_word_and_a_shape_of_its_own():
    violation = ProcessView(pid=1, user="x", command="x", belongs="violation")
    states = [
        *devices()[1:], shared(8, "ann", "bea"), device(9, "free"), leased(10, "bea", 1, "x", "11:00", "16:00"),
        device(11, "leased", processes=[violation]),
    ]  # fmt: skip
    for glyphs in (Glyphs(), ASCII):
        found = [status_of(each, glyphs, epoch_s(NOW)) for each in states]
        words = [status.word for status in found]
        assert len(set(words)) == len(words)
        shapes = {status.glyph for status in found}
        # who uses it from outside and who uses it against a lease share the shape of an alarm
        assert len(shapes) == len(words) - 1


def test_sharers_are_all_named():
    words = holder_words(shared(0, "ann", "bea", "carl"), ASCII)
    assert words == "you 500 | bea 501 | carl 502"


class TestHistories:
    def test_charts_are_the_same_object_while_they_look_the_same(self):
        made = Histories()
        for second in range(KEPT + 5):
            made.add(_busy(second, 0))
        flat = made.charts_of("GPU-0000")
        for second in range(KEPT + 5, KEPT + 9):
            made.add(_busy(second, 0))
            assert made.charts_of("GPU-0000") is flat
        for second in (KEPT + 9, KEPT + 10):
            made.add(_busy(second, 50))
        assert made.charts_of("GPU-0000") is not flat
        past = made.of("GPU-0000")
        assert (past.utilization[-1], past.temperature[-1], past.power[-1]) == (50, 31, 10)

    def test_a_column_is_charted_when_both_its_seconds_are_over(self):
        made = Histories()
        for second, percent in enumerate((100, 100, 100)):
            made.add(_busy(second, percent))
        chart = made.charts_of("GPU-0000")
        assert chart.lines("utilization", 3, 1, Glyphs()) == ["  ⣿"]
        made.add(_busy(3, 100))
        assert made.charts_of("GPU-0000").lines("utilization", 3, 1, Glyphs()) == [" ⣿⣿"]


def _busy(second, percent):
    clock = f"{10 + second // 3600}:{second // 60 % 60:02d}:{second % 60:02d}"
    devices = [device(0, "free", utilization=percent)]
    return board(devices=devices, at=f"2026-11-23T{clock}Z")


_PARTS = st.lists(st.tuples(st.text("ab━─ 1字", max_size=12), st.sampled_from(["text", "dim"])))


@given(_PARTS, _PARTS)
def test_changed_part_makes_the_one_line_the_other(one, other):
    """Drawn over the line before, at its column, it gives the line after, letters and styles."""
    ink = Ink(Palette(THEMES[0]), Glyphs())
    before, after = (ink.line(parts, 30) for parts in (one, other))
    changed = changed_part(before, after)
    column, part = changed if changed is not None else (0, Strip([]))
    width = part.cell_length
    drawn = [before.crop(0, column), part, before.crop(column + width)]
    assert letters(Strip.join(drawn)) == letters(after)


def letters(line):
    return [(letter, segment.style) for segment in line for letter in segment.text]


class TestScreens:
    @pytest.mark.parametrize("size", [(80, 24), (160, 45)], ids=lambda size: f"{size[0]}x{size[1]}")
    async def test_shared_and_cut_up_gpus_look_as_they_were_last_seen(self, size, source):
        source.board = board(
            devices=[
                shared(0, "ann", "bea"), shared(1, "carl", "dora", "bea"),
                *instances(2, "free", "leased", "leased", "faulty"), device(3, "free"),
            ]
        )  # fmt: skip
        async with opened(source, size) as pilot:
            assert_screen(f"board-shared-{size[0]}x{size[1]}", await settled(pilot))
            await pilot.press("down", "down", "down", "enter")
            assert_screen(f"board-instance-{size[0]}x{size[1]}", await settled(pilot))

    async def test_keys_of_the_board(self, source):
        """Expand and shrink, sort, filter, only mine, the device's page: one app for all."""
        async with opened(source) as pilot:
            grid = pilot.app.query_one("#grid")
            await pilot.press("j", "right", "enter")
            await until(pilot, lambda: "gb-398-1" in screen_text(pilot.app))
            assert "4h30" in screen_text(pilot.app)
            await pilot.press("enter")
            await until(pilot, lambda: "gb-398-1" not in screen_text(pilot.app))
            for order in (*ORDERS[1:], ORDERS[0]):
                await pilot.press("s")
                await until(pilot, lambda order=order: pilot.app.pane._order == order)
                assert grid.current.label == "3", "the cursor stays on its device"
            await pilot.press("u")
            await until(pilot, lambda: "only mine, 2 of 8 GPUs" in screen_text(pilot.app))
            await pilot.press("u", "slash", "b", "e", "a", "enter")
            await until(pilot, lambda: "with 'bea', 1 of 8 GPUs" in screen_text(pilot.app))
            await pilot.press("i")
            await until(pilot, lambda: type(pilot.app.screen).__name__ == "DeviceScreen")
            await pilot.press("escape", "slash", "escape")
            await until(pilot, lambda: " 0 H100" in screen_text(pilot.app))
            await pilot.resize_terminal(120, 30)
            await pilot.resize_terminal(200, 50)
            assert "FAULTY" in await settled(pilot)

    async def test_K_on_a_shared_gpu_stops_mine_only(self, source):
        source.board = board(devices=[shared(0, "bea", "ann")])
        async with opened(source) as pilot:
            await pilot.press("K")
            await until(pilot, lambda: "gpuboard cancel 501" in screen_text(pilot.app))
            await pilot.press("y")
            await until(pilot, lambda: source.called("cancel") == [CancelRequest(jobs=["501"])])

    async def test_double_click_expands_a_card(self, source):
        async with opened(source) as pilot:
            await pilot.click("#grid", offset=(45, 6), times=2)
            await until(pilot, lambda: "gb-398-1" in screen_text(pilot.app))

    async def test_flat_card_is_not_painted_again(self, source):
        """A still second costs no paint, and a bar that changes draws its own columns only."""
        source.board = board(devices=[device(0, "free")])
        async with opened(source) as pilot:
            grid, cards = pilot.app.query_one("#grid"), None
            for second in range(KEPT + 3):
                pilot.app.histories.add(
                    msgspec.structs.replace(
                        source.board, at=f"2026-11-23T14:{second // 60:02d}:{second % 60:02d}Z"
                    )
                )
            source.push_board(at="2026-11-23T13:40:01Z")
            await until(pilot, lambda: pilot.app.now_iso.endswith("01Z"))
            cards = dict(grid._cards)
            source.push_board(at="2026-11-23T13:40:02Z")
            await until(pilot, lambda: pilot.app.now_iso.endswith("02Z"))
            await settled(pilot)
            assert all(grid._cards[key] is card for key, card in cards.items())
            assert grid.render_line(1) is grid.render_line(1)

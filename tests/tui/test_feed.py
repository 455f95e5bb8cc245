"""The feed: snapshots as they come, reconnection, staleness, and an end that waits for nobody."""

import subprocess
import sys
import threading

from gpuboard.errors import Unavailable
from gpuboard.model.views.events import EventView
from gpuboard.tui.feed import FeedThread
from tests.support.screens import opened, screen_text, until
from tests.support.tui_source import ScriptedSource


class Heard:
    """Collects what a feed thread reports."""

    def __init__(self):
        self.snapshots = []
        self.events = []
        self.histories = []
        self.changed = threading.Condition()

    def thread(self, source):
        thread = FeedThread(
            source, self._into(self.snapshots), self._into(self.events), self._into(self.histories)
        )
        thread.retry_s = 0.001
        return thread

    def _into(self, found):
        def report(item):
            with self.changed:
                found.append(item)
                self.changed.notify_all()

        return report

    def wait(self, condition):
        with self.changed:
            assert self.changed.wait_for(condition, 15)


def test_feed_reconnects_by_itself_and_asks_for_the_events_it_missed():
    source, heard = ScriptedSource(), Heard()
    thread = heard.thread(source)
    thread.start()
    source.push(EventView(7, "2026-11-23T13:40:00Z", "job.running", "runs"))
    heard.wait(lambda: heard.events)
    source.push(Unavailable("the daemon ended the feed"))
    heard.wait(
        lambda: (
            source.connections == 2 and len(heard.histories) == 2 and not heard.snapshots[-1].fault
        )
    )
    assert source.called("feed") == [None, 7]
    assert any(snapshot.fault == "the daemon ended the feed" for snapshot in heard.snapshots)
    thread.stop()
    source.push_board(queued=1)
    thread.join(10)
    assert not thread.is_alive()


def test_lost_feed_keeps_the_last_data():
    source, heard = ScriptedSource(), Heard()
    thread = heard.thread(source)
    thread.start()
    heard.wait(lambda: heard.snapshots and heard.snapshots[-1].reservations)
    source.is_down = True
    source.push(OSError("broken"))
    heard.wait(lambda: heard.snapshots[-1].fault == "the daemon does not answer")
    assert heard.snapshots[-1].board == source.board
    thread.stop()
    thread.join(10)


def test_snapshots_are_never_changed_after_they_were_given():
    source, heard = ScriptedSource(), Heard()
    thread = heard.thread(source)
    thread.start()
    heard.wait(lambda: heard.snapshots and heard.snapshots[-1].reservations)
    before = heard.snapshots[-1]
    source.push_board(queued=99)
    heard.wait(lambda: heard.snapshots[-1].board.queued == 99)
    assert before.board.queued == 5
    thread.stop()
    source.push_board(queued=1)
    thread.join(10)


async def test_silent_daemon_turns_the_board_grey_with_its_age(source, monkeypatch):
    async with opened(source) as pilot:
        monkeypatch.setattr("gpuboard.tui.app.STALE_S", 0.2)
        await until(pilot, lambda: "no answer for" in screen_text(pilot.app))
        assert "412 train-llm" in screen_text(pilot.app)
        monkeypatch.setattr("gpuboard.tui.app.STALE_S", 1e9)
        source.push_board(queued=6, at="2026-11-23T13:40:05Z")
        await until(pilot, lambda: "6 wait" in screen_text(pilot.app))
        assert "no answer" not in screen_text(pilot.app)


async def test_daemon_that_is_not_there_is_said_and_waited_for(source):
    from gpuboard.tui.app import GpuboardApp

    source.is_down = True
    app = GpuboardApp(source)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "the daemon does not answer" in screen_text(app))
        source.is_down = False
        await until(pilot, lambda: "train-llm" in screen_text(app))


def test_unread_tabs_and_dialogs_are_not_imported_for_the_first_frame():
    words = """
import sys
import gpuboard.tui.app
loaded = [name for name in sys.modules if name.startswith("gpuboard.tui.dialogs.") or name.startswith("textual.widgets._")]
heavy = {"textual.widgets._markdown", "textual.widgets._text_area", "textual.widgets._data_table"}
assert not [name for name in loaded if name.startswith("gpuboard.tui.dialogs.")], loaded
assert not heavy & set(loaded), loaded
assert "docker" not in sys.modules and "aiohttp" not in sys.modules and "sqlite_utils" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", words], check=True, timeout=60)

"""Every key does what the binding table says."""

import threading

import msgspec
import pytest
from textual.events import Key
from textual.widgets import Input

from gpuboard.errors import InvalidRequest, PermissionDenied, Refused
from gpuboard.model.requests import CancelRequest
from gpuboard.tui.bindings import (
    SECTIONS,
    known_ids,
)
from gpuboard.tui.settings import Settings, load_settings
from tests.support.screens import opened, screen_text, settled, until
from tests.support.tui_source import job


def current(pilot):
    return type(pilot.app.screen).__name__


async def typed(pilot, text):
    """Write into the field that has the keyboard, as one paste: key by key takes seconds."""
    await until(pilot, lambda: isinstance(pilot.app.focused, Input))
    pilot.app.focused.insert_text_at_cursor(text)
    await pilot.pause()


async def on_the_queue(pilot):
    """Show the queue, and wait for its rows."""
    await pilot.press("3")
    await until(pilot, lambda: pilot.app.query_one("#pane-queue")._known)
    await until(pilot, lambda: pilot.app.errands.is_idle)


class TestTabs:
    @pytest.mark.parametrize(
        ("key", "seen"),
        [
            ("1", "H100"),
            ("2", "GPU 7"),
            ("3", "diffusion-xl"),
            ("4", "prep-data"),
            ("5", "GPU-hours"),
        ],
    )
    async def test_number_shows_a_tab(self, key, seen, source):
        async with opened(source) as pilot:
            await pilot.press(key)
            assert seen in await settled(pilot)

    async def test_click_on_a_tab_shows_it(self, source):
        async with opened(source) as pilot:
            await pilot.click("#tabs", offset=(33, 0))
            assert "diffusion-xl" in await settled(pilot)

    async def test_click_on_the_key_bar_does_what_the_key_does(self, source):
        async with opened(source) as pilot:
            await pilot.click("#keys", offset=(3, 0))
            await until(pilot, lambda: current(pilot) == "NewJobScreen")

    async def test_q_leaves(self, source):
        async with opened(source) as pilot:
            await pilot.press("q")
            await until(pilot, lambda: not pilot.app.is_running)


class TestBoard:
    async def test_arrows_and_letters_move_over_the_cards(self, source):
        async with opened(source) as pilot:
            await pilot.press("right", "j", "j")
            await pilot.press("i")
            await pilot.pause()
            assert "GPU 5" in screen_text(pilot.app)
            assert "xmrig" in screen_text(pilot.app)

    async def test_click_chooses_a_card(self, source):
        async with opened(source) as pilot:
            await pilot.click("#grid", offset=(45, 6))
            await pilot.press("l")
            await until(pilot, lambda: source.called("log") == ["398"])

    async def test_key_without_a_job_says_so(self, source):
        async with opened(source) as pilot:
            await pilot.press("j", "w")
            await until(pilot, lambda: "no job under the cursor" in screen_text(pilot.app))

    async def test_z_freezes_the_display_and_goes_on(self, source):
        async with opened(source) as pilot:
            await pilot.press("z")
            source.push_board(queued=77, at="2026-11-23T13:40:01Z")
            await until(pilot, lambda: pilot.app.snapshot.board.queued == 77)
            assert "PAUSED" in screen_text(pilot.app)
            assert "77 wait" not in screen_text(pilot.app)
            await pilot.press("z")
            assert "77 wait" in await settled(pilot)

    async def test_t_walks_through_the_themes(self, source):
        async with opened(source) as pilot:
            seen = set()
            for _ in range(3):
                await pilot.press("t")
                await pilot.pause()
                seen.add(pilot.app.theme)
            assert seen == {"gpuboard-dark", "gpuboard-light", "gpuboard-contrast"}

    async def test_end_of_my_job_is_told(self, source):
        from gpuboard.model.views.events import EventView

        async with opened(source) as pilot:
            source.push(
                EventView(
                    50,
                    "2026-11-23T13:40:02Z",
                    "job.failed",
                    "job 412 failed: exit code 1",
                    job_id=412,
                    user="ann",
                )
            )
            await until(pilot, lambda: "job 412 failed: exit code 1" in screen_text(pilot.app))


class TestQueue:
    async def test_filter_shows_matching_rows_only_and_esc_drops_it(self, source):
        async with opened(source) as pilot:
            await pilot.press("3", "slash")
            await typed(pilot, "carl")
            text = await settled(pilot)
            assert "diffusion-xl" in text
            assert "big-batch" not in text
            await pilot.press("escape")
            assert "big-batch" in await settled(pilot)

    async def test_u_shows_only_mine(self, source):
        async with opened(source) as pilot:
            await pilot.press("3", "u")
            text = await settled(pilot)
            assert "eval-llm" in text
            assert "notebook" not in text

    async def test_cursor_stays_on_its_job_when_the_queue_moves(self, source):
        async with opened(source) as pilot:
            await on_the_queue(pilot)
            await pilot.press("j", "j", "j")
            source.jobs = [job(500, "carl", "new", "queued", place=0), *source.jobs]
            source.push(source.queue_view())
            await until(pilot, lambda: "500" in screen_text(pilot.app))
            await pilot.press("w")
            await until(pilot, lambda: "Why job 416" in screen_text(pilot.app))

    async def test_hold_asks_first(self, source):
        async with opened(source) as pilot:
            await on_the_queue(pilot)
            await pilot.press("j", "j", "j", "H")
            await until(pilot, lambda: current(pilot) == "ConfirmScreen")
            assert "gpuboard hold 416" in screen_text(pilot.app)
            assert source.called("hold") == []
            await pilot.press("y")
            await until(pilot, lambda: source.called("hold") == [["416"]])

    async def test_held_job_is_released(self, source):
        source.jobs[-1] = msgspec.structs.replace(source.jobs[-1], mine=True, user="ann")
        async with opened(source) as pilot:
            await on_the_queue(pilot)
            await pilot.press("G", "H")
            await until(pilot, lambda: current(pilot) == "ConfirmScreen")
            await pilot.press("y")
            await until(pilot, lambda: source.called("release") == [["421"]])

    async def test_ten_thousand_rows_paint_only_what_is_seen(self, source):
        source.jobs = [job(i, "bea", f"sweep-{i}", "queued", place=i) for i in range(10_000)]
        async with opened(source) as pilot:
            await on_the_queue(pilot)
            await pilot.press("G")
            text = await settled(pilot)
            assert "sweep-9999" in text
            rows = pilot.app.query_one("#pane-queue RowList")
            assert len(rows._shown) < 500


class TestCancel:
    async def test_cancel_says_the_effect_and_the_command_and_waits_for_y(self, source):
        async with opened(source) as pilot:
            await pilot.press("K")
            await until(pilot, lambda: current(pilot) == "ConfirmScreen")
            text = screen_text(pilot.app)
            assert "gpuboard cancel 412" in text
            assert "SIGKILL" in text
            await pilot.press("enter")
            await pilot.pause()
            assert source.called("cancel") == []
            await pilot.press("y")
            await until(pilot, lambda: source.called("cancel") == [CancelRequest(jobs=["412"])])

    async def test_esc_leaves_the_job_alone(self, source):
        async with opened(source) as pilot:
            await pilot.press("K")
            await until(pilot, lambda: current(pilot) == "ConfirmScreen")
            await pilot.press("escape")
            await until(pilot, lambda: current(pilot) == "Screen")
            assert source.called("cancel") == []

    async def test_other_peoples_jobs_cannot_be_cancelled_here(self, source):
        async with opened(source) as pilot:
            await pilot.press("j", "right", "K")
            await until(pilot, lambda: "is bea's, not yours" in screen_text(pilot.app))
            assert current(pilot) == "Screen"

    async def test_admin_may_cancel_anybodys(self, source):
        source.board = msgspec.structs.replace(source.board, is_admin=True)
        async with opened(source) as pilot:
            await pilot.press("j", "right", "K")
            await until(pilot, lambda: current(pilot) == "ConfirmScreen")
            assert "It belongs to bea" in " ".join(screen_text(pilot.app).replace("│", " ").split())

    async def test_refusal_of_the_daemon_is_told(self, source):
        source.fault = PermissionDenied("job 412 is not yours", hint="ask bea")
        async with opened(source) as pilot:
            await pilot.press("K", "y")
            await until(pilot, lambda: "job 412 is not yours" in screen_text(pilot.app))

    async def test_small_k_d_and_ctrl_c_cancel_nothing(self, source):
        async with opened(source) as pilot:
            await pilot.press("k", "d", "ctrl+c")
            await pilot.pause()
            assert current(pilot) == "Screen"
            assert source.called("cancel") == []


class TestPorts:
    """Where a job's ports lead, on its page."""

    async def test_the_ssh_line_to_a_jobs_ports_is_copied(self, source):
        async with opened(source) as pilot:
            await pilot.press("4", "enter")
            await until(pilot, lambda: "8888 at 127.0.0.1:20017" in screen_text(pilot.app))
            await pilot.press("y")
            await until(pilot, lambda: pilot.app.clipboard == "ssh -L 8888:127.0.0.1:20017 hopper")

    async def test_a_job_without_ports_has_nothing_to_copy(self, source):
        async with opened(source) as pilot:
            await pilot.press("4", "down", "enter")
            await until(pilot, lambda: current(pilot) == "JobScreen")
            await settled(pilot)
            await pilot.press("y")
            await until(pilot, lambda: "no port of this job" in screen_text(pilot.app))
            assert pilot.app.clipboard == ""


class TestNewJob:
    async def test_form_says_where_it_would_start_while_one_types(self, source):
        async with opened(source) as pilot:
            await pilot.press("n")
            await until(pilot, lambda: current(pilot) == "NewJobScreen")
            await pilot.press("tab")
            await typed(pilot, "python train.py")
            await until(pilot, lambda: "would start now on GPU 2" in screen_text(pilot.app))
            assert "gpuboard submit -g 1 -- python train.py" in screen_text(pilot.app)

    async def test_typing_is_debounced(self, source):
        async with opened(source) as pilot:
            await pilot.press("n")
            await until(pilot, lambda: current(pilot) == "NewJobScreen")
            await pilot.press("tab")
            await pilot.press(*"train.py")
            await until(pilot, lambda: source.called("dry_run"))
            assert len(source.called("dry_run")) <= 4

    async def test_wider_job_is_told_its_start(self, source):
        async with opened(source) as pilot:
            await pilot.press("n")
            await until(pilot, lambda: current(pilot) == "NewJobScreen")
            await typed(pilot, "ubuntu:24.04")
            await pilot.press("tab", "tab", "backspace", "4")
            await until(pilot, lambda: "about 16:00, no later than 17:10" in screen_text(pilot.app))

    async def test_enter_submits_what_is_typed(self, source):
        async with opened(source) as pilot:
            await pilot.press("n")
            await until(pilot, lambda: current(pilot) == "NewJobScreen")
            for text in (
                "ubuntu:24.04",
                "echo 'a b'",
                "",
                "2h",
                "/data:/data:ro",
                "8888, 6006/tcp",
                "A=1 B=x=y",
                "hello",
            ):
                await typed(pilot, text)
                await pilot.press("tab")
            await pilot.press("enter")
            await until(pilot, lambda: source.called("submit"))
            request = source.called("submit")[0]
            assert request.image == "ubuntu:24.04"
            assert request.command == ["echo", "a b"]
            assert request.time_limit == "2h"
            assert request.env == {"A": "1", "B": "x=y"}
            assert request.ports == [8888, 6006]
            assert [(m.source, m.target, m.read_only) for m in request.mounts] == [
                ("/data", "/data", True)
            ]
            await until(pilot, lambda: "job 430 is in the queue" in screen_text(pilot.app))

    @pytest.mark.parametrize(
        ("typed_words", "command"),
        [
            ("cd /w && python a.py", ["sh", "-c", "cd /w && python a.py"]),
            ("python a.py > log", ["sh", "-c", "python a.py > log"]),
            ("for i in 1 2; do echo $i; done", ["sh", "-c", "for i in 1 2; do echo $i; done"]),
            ("echo 'a && b' '#1'", ["echo", "a && b", "#1"]),
        ],
    )
    def test_shell_operators_are_given_to_a_shell_and_quoted_ones_are_words(
        self, typed_words, command
    ):
        from gpuboard.tui.dialogs.newjob import NewJobScreen

        values = {field.name: "" for field in NewJobScreen.FIELDS} | {"command": typed_words}
        assert NewJobScreen().request(values).command == command

    async def test_image_is_completed_from_the_local_ones(self, source):
        async with opened(source) as pilot:
            await pilot.press("n")
            await until(pilot, lambda: source.called("images") and pilot.app.errands.is_idle)
            await typed(pilot, "nvcr")
            await until(pilot, lambda: "nvcr.io/nvidia/jax:24.10" in screen_text(pilot.app))
            await pilot.press("right")
            await until(
                pilot,
                lambda: (
                    pilot.app.screen.query_one("#field-image").value == "nvcr.io/nvidia/jax:24.10"
                ),
            )

    @pytest.mark.parametrize(
        ("field", "words"),
        [("--time", "2:99 is not a span"), ("gpus", "the box has 8"), ("image", "no such image")],
    )
    async def test_error_stands_at_its_field(self, field, words, source):
        source.refusal = InvalidRequest(words, field=field, hint="try less")
        async with opened(source) as pilot:
            await pilot.press("n", "tab")
            await typed(pilot, "true")
            await until(pilot, lambda: words in screen_text(pilot.app))
            lines = screen_text(pilot.app).splitlines()
            row = next(i for i, line in enumerate(lines) if words in line)
            label = {"--time": "time", "gpus": "GPUs", "image": "image"}[field]
            assert f" {label} " in lines[row - 1]

    async def test_local_mistakes_are_told_without_asking(self, source):
        async with opened(source) as pilot:
            await pilot.press("n", "tab")
            await typed(pilot, "echo 'open")
            await until(pilot, lambda: "quotes do not match" in screen_text(pilot.app))
            assert source.called("dry_run") == []

    async def test_again_fills_the_form_from_an_old_job(self, source):
        async with opened(source) as pilot:
            await pilot.press("4", "enter")
            await until(pilot, lambda: source.called("job") and pilot.app.errands.is_idle)
            await pilot.press("r")
            await until(pilot, lambda: current(pilot) == "NewJobScreen")
            assert pilot.app.screen.values()["command"] == "python train-llm.py --epochs 30"


class TestBooking:
    async def test_booking_says_what_it_would_get_and_books(self, source):
        async with opened(source) as pilot:
            await pilot.press("b")
            await until(pilot, lambda: "can be booked: GPU 2" in screen_text(pilot.app))
            assert all(request.dry_run for request in source.called("reserve"))
            await pilot.press("enter")
            await until(
                pilot, lambda: any(not request.dry_run for request in source.called("reserve"))
            )
            await until(pilot, lambda: "booking 11" in screen_text(pilot.app))

    async def test_refusal_gives_the_nearest_windows(self, source):
        source.refusal = Refused(
            "only 1 of 4 GPUs is free then", hint="nearest: 16:00 until 17:00", field="gpus"
        )
        async with opened(source) as pilot:
            await pilot.press("b")
            await until(pilot, lambda: "only 1 of 4 GPUs is free then" in screen_text(pilot.app))
            assert "nearest: 16:00 until 17:00" in screen_text(pilot.app)

    async def test_window_widened_on_the_timeline_fills_the_form(self, source):
        async with opened(source) as pilot:
            await pilot.press("2")
            await settled(pilot)
            await pilot.press(
                "down",
                "down",
                "down",
                "down",
                "down",
                *["right"] * 4,
                *["shift+right"] * 3,
                "shift+down",
                "enter",
            )
            await until(pilot, lambda: current(pilot) == "BookingScreen")
            values = pilot.app.screen.values()
            assert values["gpus"] == "2"
            assert values["duration"] == "40m"
            assert values["at"] == "2026-11-23 14:20"

    async def test_own_booking_is_cancelled_after_a_dialog(self, source):
        async with opened(source) as pilot:
            await pilot.press("2", "v", "G", "K")
            await until(pilot, lambda: current(pilot) == "CancelBookingScreen")
            assert "gpuboard unreserve 9" in screen_text(pilot.app)
            await pilot.press("y")
            await until(pilot, lambda: source.called("unreserve") == [9])

    async def test_other_peoples_bookings_are_theirs(self, source):
        async with opened(source) as pilot:
            await pilot.press("2", "v", "K")
            await until(pilot, lambda: "is dora's, not yours" in screen_text(pilot.app))


class TestTimeline:
    async def test_zoom_and_scroll_ask_for_the_span_that_is_shown(self, source):
        async with opened(source) as pilot:
            await pilot.press("2")
            await settled(pilot)
            first = source.called("timeline")[-1]
            await pilot.press("minus")
            await settled(pilot)
            wider = source.called("timeline")[-1]
            assert wider[0] < first[0]
            assert wider[1] > first[1]
            await pilot.press("0")
            await settled(pilot)
            assert "now" in screen_text(pilot.app)

    async def test_enter_on_a_run_opens_the_job(self, source):
        async with opened(source) as pilot:
            await pilot.press("2")
            await settled(pilot)
            await pilot.press("enter")
            await until(pilot, lambda: source.called("job") == ["412"])


class TestPaletteAndHelp:
    async def test_help_names_every_binding(self, source):
        async with opened(source, (120, 200)) as pilot:
            await pilot.press("question_mark")
            text = await settled(pilot)
            for name in known_ids():
                assert name in text

    async def test_palette_finds_a_job_by_name(self, source):
        async with opened(source) as pilot:
            await pilot.press("ctrl+p")
            await until(pilot, lambda: current(pilot) == "PaletteScreen")
            await typed(pilot, "diffusion")
            await until(pilot, lambda: "job 415 diffusion-xl" in screen_text(pilot.app))
            await pilot.press("enter")
            await until(pilot, lambda: source.called("job") == ["415"])

    @pytest.mark.parametrize(
        ("words", "screen", "seen"),
        [
            ("gpu 3 ", "DeviceScreen", "notebook"),
            ("person carl use", "Screen", "  carl  "),
            ("person carl jobs", "Screen", "carl's, 1 of 7 shown"),
            ("people: by group", "Screen", "GROUP"),
            ("admin: notice", "NoticeScreen", "everybody"),
        ],
    )
    async def test_palette_reaches_what_is_on_another_tab(self, words, screen, seen, source):
        """Devices by their page, people by their rows, actions by their tab."""
        source.board = msgspec.structs.replace(source.board, is_admin=True)
        async with opened(source) as pilot:
            await pilot.press("colon")
            for letter in words:
                await pilot.press("space" if letter == " " else letter)
            await pilot.press("enter")
            await until(pilot, lambda: current(pilot) == screen)
            await until(pilot, lambda: seen in screen_text(pilot.app))
            rows = pilot.app.query("#people") if "use" in words else ()
            assert all(row.current.name == "carl" for row in rows)

    async def test_palette_offers_people_whom_only_the_usage_names(self, source):
        source.jobs, source.reservations = [], []
        source.board = msgspec.structs.replace(source.board, devices=[])
        async with opened(source) as pilot:
            await pilot.press("colon", *"dora")
            await until(pilot, lambda: "person dora: their jobs" in screen_text(pilot.app))

    async def test_palette_does_an_action(self, source):
        async with opened(source) as pilot:
            await pilot.press("colon")
            await until(pilot, lambda: current(pilot) == "PaletteScreen")
            await typed(pilot, "book gpus")
            await pilot.press("enter")
            await until(pilot, lambda: current(pilot) == "BookingScreen")


class TestBindings:
    def test_ids_are_unique(self):
        ids = [key.id for group in SECTIONS.values() for key in group]
        assert len(ids) == len(set(ids))

    def test_destructive_keys_are_capitals(self):
        for group in SECTIONS.values():
            for key in group:
                if "cancel" in key.words or "hold it" in key.words:
                    assert key.keys.isupper()
                    assert "dialog" in key.words

    async def test_remapped_key_works_and_the_old_one_does_not(self, source):
        async with opened(source, settings=Settings(keys={"app.new": "a"})) as pilot:
            await pilot.press("n")
            await pilot.pause()
            assert current(pilot) == "Screen"
            assert " a new job" in screen_text(pilot.app)
            await pilot.press("a")
            await until(pilot, lambda: current(pilot) == "NewJobScreen")

    def test_unknown_setting_is_told_and_the_rest_is_kept(self, tmp_path):
        path = tmp_path / "app.toml"
        path.write_text('theme = "light"\ncolour = 1\n[keys]\n"app.new" = "a"\n"app.other" = "b"\n')
        settings = load_settings(path)
        assert settings.theme_name == "gpuboard-light"
        assert settings.keys == {"app.new": "a"}
        assert len(settings.faults) == 2

    def test_broken_settings_never_keep_the_app_from_starting(self, tmp_path):
        path = tmp_path / "app.toml"
        path.write_text("theme = ")
        assert load_settings(path).faults
        assert load_settings(tmp_path / "none.toml").faults == ()


class TestASilentDaemon:
    async def test_no_key_waits_for_an_answer(self, source):
        async with opened(source) as pilot:
            await on_the_queue(pilot)
            source.gate = threading.Event()
            try:
                await pilot.press("j", "w")
                await until(pilot, lambda: current(pilot) == "WhyScreen")
                await pilot.press("escape", "4", "2", "5", "n", "escape", "b", "escape", "1")
                await until(pilot, lambda: current(pilot) == "Screen")
                assert "H100" in screen_text(pilot.app)
                assert not pilot.app.errands.is_idle
            finally:
                source.gate.set()
            await until(pilot, lambda: pilot.app.errands.is_idle)


class TestTyping:
    async def test_what_is_typed_right_after_tab_lands_in_the_next_field(self, source):
        async with opened(source) as pilot:
            await pilot.press("n")
            await until(pilot, lambda: current(pilot) == "NewJobScreen")
            for key, character in (("a", "a"), ("tab", "\t"), ("b", "b"), ("down", None)):
                pilot.app.post_message(Key(key, character))
            await until(pilot, lambda: pilot.app.focused.id == "field-gpus")
            fields = {field.id: field.value for field in pilot.app.screen.query(Input)}
            assert fields["field-image"] == "a"
            assert fields["field-command"] == "b"

    async def test_refusal_is_said_whole_and_in_the_persons_own_time(self, source):
        source.refusal = Refused(
            "2 devices for 40m from 2026-11-23T22:40:00Z cannot be promised: GPU 6 is drained, "
            "GPU 7 is used outside the queue and six others are booked",
            hint="free: 2026-11-23T22:51:20.549Z to 2026-11-23T23:31:20.549Z",
        )
        async with opened(source) as pilot:
            await pilot.press("b")
            await until(pilot, lambda: "six others" in screen_text(pilot.app))
            seen = screen_text(pilot.app)
            assert "40m from 22:40" in seen
            assert "free: 22:51 to 23:31" in seen


async def test_lists_of_a_lost_daemon_are_grey(source, monkeypatch):
    monkeypatch.setattr("gpuboard.tui.app.STALE_S", 0.0)
    async with opened(source) as pilot:
        await pilot.press("3")
        await until(pilot, lambda: pilot.app.pane.has_class("-stale"))


class TestBookingsOfMine:
    async def test_K_on_the_timeline_cancels_my_booking_after_a_dialog(self, source):
        mine = source.entries[4]
        source.entries[4] = msgspec.structs.replace(mine, mine=True, user="ann")
        source.reservations[0] = msgspec.structs.replace(
            source.reservations[0], mine=True, user="ann"
        )
        async with opened(source) as pilot:
            await pilot.press("2")
            await settled(pilot)
            await pilot.press("down", "down", "down", "down", "K")
            await until(pilot, lambda: "gpuboard unreserve 6" in screen_text(pilot.app))
            assert not source.called("unreserve")
            await pilot.press("y")
            await until(pilot, lambda: source.called("unreserve") == [6])

    async def test_somebody_elses_booking_on_the_timeline_is_not_touched(self, source):
        async with opened(source) as pilot:
            await pilot.press("2")
            await settled(pilot)
            await pilot.press("down", "down", "down", "down", "K")
            await until(pilot, lambda: "is dora's, not yours" in screen_text(pilot.app))


async def test_errand_of_a_dialog_that_was_closed_meanwhile_comes_back(source):
    """On its own thread the dialog, no longer on the screen, did not find its app: the errand was lost."""
    async with opened(source) as pilot:
        await pilot.press("n")
        await until(pilot, lambda: len(pilot.app.screen_stack) > 1)
        dialog = pilot.app.screen
        await pilot.press("escape")
        await until(pilot, lambda: not dialog.is_attached)
        told: list[object] = []
        pilot.app.call_later(
            lambda: pilot.app.errands.run(
                lambda: dialog.gpuboard.snapshot, told.append, told.append
            )
        )
        await until(pilot, lambda: told)
        assert told == [pilot.app.snapshot]

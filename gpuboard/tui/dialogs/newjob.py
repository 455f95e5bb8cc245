"""The form for a new job: while one types, it says where and when the job would start."""

from __future__ import annotations

import msgspec
from textual.suggester import SuggestFromList
from textual.widgets import Input

from gpuboard.errors import InvalidRequest
from gpuboard.model.requests import SubmitRequest
from gpuboard.model.views.catalog import ImageList, ImageView
from gpuboard.model.views.waits import DryRunView
from gpuboard.tui import jobfields
from gpuboard.tui.bindings import BEGINNING, bindings
from gpuboard.tui.commandlines import submit_line
from gpuboard.tui.dialogs.form import Field, Form
from gpuboard.tui.folders import FolderSuggester, reach_of
from gpuboard.tui.ink import Part, clean
from gpuboard.tui.instants import clock_of, epoch_s, gigabytes, limit_words, span
from gpuboard.tui.localzone import zone_name
from gpuboard.tui.widgets.painted import Bar


class NewJobScreen(Form[SubmitRequest, DryRunView]):
    """A submission; `like` fills it in."""

    FIELDS = (
        Field("image", "image", "pytorch/pytorch:2.4   (none: a plain process)"),
        Field("command", "command", "python train.py --epochs 30"),
        Field("gpus", "GPUs", "1", ("gpu_ids",)),
        Field("time", "time", "2h30m, 90m, 1-12:00:00", ("time_limit", "limit_s", "limit")),
        Field("mounts", "mounts", "/data/me:/data  /scratch:/scratch:ro", ("mount", "volume", "v")),
        Field("ports", "ports", "8888   (published on the box's 127.0.0.1)", ("publish", "p")),
        Field("env", "env", "EPOCHS=30  WANDB_MODE=offline", ("e",)),
        Field("name", "name", "train-llm"),
        Field("type", "GPU type", "any   (a100, h100)", ("gpu_type",)),
        Field("memory", "GPU mem", "all of it   (10G: share one GPU)", ("gpu_memory", "gpu_mem")),
        Field("after", "after", "412   (or afterany:412: when it ended somehow)", ("depends_on",)),
        Field("array", "array", "0-9%2: ten jobs, two at once"),
        Field("begin", "begin", "at once   (14:30, tomorrow 09:00, now+1h)", ("at",)),
        Field(
            "options", "options", "preemptible requeue hold nvlink class=NAME account=GROUP",
            (*jobfields.SWITCHES, "class", "class_name", "account"),
        ),
    )  # fmt: skip
    SEND = "submit"
    BINDINGS = bindings(BEGINNING)
    MORE_WAYS = BEGINNING

    def __init__(self, like: SubmitRequest | None = None) -> None:
        super().__init__("New job", jobfields.filled(like) if like else {"gpus": "1"})
        self._like = like or SubmitRequest()
        self._runtimes: list[str] = []
        """What may run jobs here; empty while that is not known."""
        self._images: dict[str, ImageView] = {}
        self._reach: dict[str, str] = {}
        """By path: why it cannot be mounted; empty when it can."""

    def on_mount(self) -> None:
        """Ask for the images, to complete them; complete paths as the person sees them."""
        super().on_mount()
        board = self.gpuboard.snapshot.board
        self._runtimes = board.host.runtimes if board is not None else []
        if self._runtimes == ["process"]:
            words = "none: this box runs plain processes only"
            self.query_one("#field-image", Input).placeholder = words
        if board is not None and board.host.default_limit_s:
            words = f"{limit_words(board.host.default_limit_s)}   (2h30m, 90m, 1-12:00:00)"
            self.query_one("#field-time", Input).placeholder = words
        if self.gpuboard.source.is_here:
            self.query_one("#field-mounts", Input).suggester = FolderSuggester()
            self._look_at_mounts()
        self.gpuboard.errands.run(
            self.gpuboard.source.images, self._take_images, lambda _error: None
        )

    def request(self, values: dict[str, str]) -> SubmitRequest:
        """Return the submission; what the form has no field for comes from what it began with."""
        self._check_runtime(values)
        request = jobfields.request_of(values, self._like)
        return msgspec.structs.replace(request, timezone=zone_name())

    def _check_runtime(self, values: dict[str, str]) -> None:
        """Refuse, in the form's own words, an image where there are no containers, or none at all."""
        runtimes = self._runtimes
        if runtimes and "docker" not in runtimes and values["image"]:
            raise InvalidRequest(
                "no containers on this box: leave this empty",
                field="image",
                hint="a plain process needs only a command",
            )
        if runtimes and "process" not in runtimes and values["command"] and not values["image"]:
            raise InvalidRequest(
                "this box runs containers only: name an image",
                field="image",
                hint="type its first letters, or see `gpuboard images`",
            )

    def line_of(self, request: SubmitRequest) -> str:
        """Return the command line."""
        return submit_line(request)

    def ask(self, request: SubmitRequest) -> DryRunView:
        """Ask what it would do."""
        return self.gpuboard.source.dry_run(request)

    def answer_parts(self, answer: DryRunView) -> tuple[list[Part], list[Part]]:
        """Say where and when it would start."""
        if answer.would_start_now:
            gpus = ",".join(clean(device.label) for device in answer.devices)
            on = f" on GPU {gpus}" if gpus else ""
            return [(f"would start now{on}", "free!")], []
        more: list[Part] = [(clean(answer.causes[0].words), "dim")] if answer.causes else []
        if not answer.expected_start_at:
            return [(clean(answer.words) or "when it starts cannot be said", "warn")], more
        now = self.gpuboard.now_iso
        now_s = epoch_s(now) if now else 0
        words = f"about {clock_of(answer.expected_start_at, now_s)}"
        if answer.p90_start_at not in (None, answer.expected_start_at, answer.latest_start_at):
            words += f", likely by {clock_of(answer.p90_start_at, now_s)}"
        if answer.latest_start_at not in (None, answer.expected_start_at):
            words += f", no later than {clock_of(answer.latest_start_at, now_s)}"
        return [("would wait and start ", "text"), (words, "warn!")], more

    def send(self, request: SubmitRequest) -> str:
        """Submit it."""
        ids = self.gpuboard.source.submit(request).ids
        numbers = f"{ids[0]}-{ids[-1]}" if len(ids) > 1 else str(ids[0])
        return f"job {numbers} is in the queue"

    def action_like(self) -> None:
        """Begin from one of the lab's templates or of my last jobs."""
        from gpuboard.tui.dialogs.pickjob import PickJobScreen

        self.app.push_screen(PickJobScreen(), self._begin_from)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Ask again, and tell the image's age and what of the mounts can be read."""
        super().on_input_changed(event)
        self._tell_image()
        if event.input.id == "field-mounts":
            self._look_at_mounts()

    def _begin_from(self, like: SubmitRequest | None) -> None:
        if like is None:
            return
        self._like = like
        for name, value in jobfields.filled(like).items():
            self.query_one(f"#field-{name}", Input).value = value

    def _take_images(self, view: ImageList) -> None:
        if self.is_open:
            self._images = {image.reference: image for image in view.images}
            self.query_one("#field-image", Input).suggester = SuggestFromList(
                list(self._images), case_sensitive=False
            )
            self._tell_image()

    def _tell_image(self) -> None:
        """Say which image a tag means today: its digest, its age, its size."""
        image = self._images.get(self.query_one("#field-image", Input).value.strip())
        words = []
        if image is not None:
            words = [clean(image.id).removeprefix("sha256:")[:12]]
            now = self.gpuboard.now_iso
            if image.created_at and now:
                words.append(f"{span(epoch_s(now) - epoch_s(image.created_at))} old")
            if image.size_bytes is not None:
                words.append(f"{gigabytes(image.size_bytes)}G")
        self._note("image", f"{', '.join(words)}", "dim")

    def _look_at_mounts(self) -> None:
        """See on another thread whether the sources can be read by me; say the first that cannot."""
        if not self.gpuboard.source.is_here:
            return
        sources = jobfields.mount_sources(self.query_one("#field-mounts", Input).value)
        unknown = [path for path in sources if path not in self._reach]
        if unknown:
            self.gpuboard.errands.run(
                lambda: {path: reach_of(path) for path in unknown},
                self._take_reach,
                lambda _error: None,
            )
        bad = next((path for path in sources if self._reach.get(path)), None)
        self._note("mounts", f"{clean(bad)} {self._reach[bad]}" if bad else "", "warn")

    def _take_reach(self, reach: dict[str, str]) -> None:
        self._reach.update(reach)
        if self.is_open:
            self._look_at_mounts()

    def _note(self, name: str, words: str, role: str) -> None:
        note = self.query_one(f"#note-{name}", Bar)
        note.show([], [(f"  {words} ", role)])
        note.display = bool(words)

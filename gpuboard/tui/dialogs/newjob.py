"""The form for a new job: while one types, it says where and when the job would start."""

from __future__ import annotations

import shlex
from typing import ClassVar

from textual.binding import Binding
from textual.suggester import SuggestFromList
from textual.widgets import Input

from gpuboard.errors import InvalidRequest
from gpuboard.model.job import Mount
from gpuboard.model.requests import SubmitRequest
from gpuboard.model.text import quote_command
from gpuboard.model.views import DryRunView, ImageList, ImageView
from gpuboard.tui.commandlines import OPTIONS, submit_line
from gpuboard.tui.dialogs.form import Field, Form, whole_number
from gpuboard.tui.ink import Part, clean
from gpuboard.tui.instants import clock_of, epoch_s, gigabytes, limit_words, span
from gpuboard.tui.localzone import zone_name
from gpuboard.tui.widgets.painted import Bar, Item


class NewJobScreen(Form[SubmitRequest, DryRunView]):
    """A submission; `like` fills it in."""

    FIELDS = (
        Field("image", "image", "pytorch/pytorch:2.4   (none: a plain process)"),
        Field("command", "command", "python train.py --epochs 30"),
        Field("gpus", "GPUs", "1", ("gpu_ids",)),
        Field("time", "time", "2h30m, 90m, 1-12:00:00", ("time_limit", "limit_s", "limit")),
        Field("mounts", "mounts", "/data/me:/data  /scratch:/scratch:ro", ("mount", "volume", "v")),
        Field("env", "env", "EPOCHS=30  WANDB_MODE=offline", ("e",)),
        Field("name", "name", "train-llm"),
        Field("type", "GPU type", "any   (a100, h100)", ("gpu_type",)),
        Field("after", "after", "412   (or afterany:412: when it ended somehow)", ("depends_on",)),
        Field("array", "array", "0-9%2: ten jobs, two at once", ()),
        Field("begin", "begin", "at once   (14:30, tomorrow 09:00, now+1h)", ("at",)),
        Field("options", "options", "preemptible requeue hold", OPTIONS),
    )
    SEND = "submit"
    BINDINGS = [Binding("ctrl+r", "like", "begin from one of my last jobs", show=False)]
    MORE_WAYS: ClassVar[list[Item]] = [
        ([(" ctrl+r", "key!"), (" like a job ", "dim")], "screen.like")
    ]

    def __init__(self, like: SubmitRequest | None = None) -> None:
        super().__init__("New job", _filled(like) if like else {"gpus": "1"})
        self._like = like or SubmitRequest()
        self._images: dict[str, ImageView] = {}

    def on_mount(self) -> None:
        """Ask for the images, to complete them."""
        super().on_mount()
        board = self.gpuboard.snapshot.board
        if board is not None and board.host.default_limit_s:
            words = f"{limit_words(board.host.default_limit_s)}   (2h30m, 90m, 1-12:00:00)"
            self.query_one("#field-time", Input).placeholder = words
        self.gpuboard.errands.run(
            self.gpuboard.source.images, self._take_images, lambda _error: None
        )

    def request(self, values: dict[str, str]) -> SubmitRequest:
        """Return the submission."""
        command = _command(values)
        if not command and not values["image"]:
            raise InvalidRequest("say what to run: a command, an image, or both", field="command")
        runtime, options = self._like.runtime, _options(values["options"])
        if values["image"]:
            runtime = "" if runtime == "process" else runtime
        elif runtime == "docker":
            runtime = ""
        return SubmitRequest(
            image=values["image"],
            command=command,
            runtime=runtime,
            name=values["name"],
            gpus=whole_number(values, "gpus", default=1, least=0),
            gpu_type=values["type"],
            time_limit=values["time"],
            env=_env(_split(values, "env")),
            mounts=[_mount(word) for word in _split(values, "mounts")],
            workdir=self._like.workdir,
            depends_on=values["after"].replace(",", " ").split(),
            array=values["array"],
            begin=values["begin"],
            timezone=zone_name(),
            preemptible="preemptible" in options,
            requeue="requeue" in options,
            hold="hold" in options,
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
        if answer.latest_start_at and answer.latest_start_at != answer.expected_start_at:
            words += f", no later than {clock_of(answer.latest_start_at, now_s)}"
        return [("would wait and start ", "text"), (words, "warn!")], more

    def send(self, request: SubmitRequest) -> str:
        """Submit it."""
        ids = self.gpuboard.source.submit(request).ids
        numbers = f"{ids[0]}-{ids[-1]}" if len(ids) > 1 else str(ids[0])
        return f"job {numbers} is in the queue"

    def action_like(self) -> None:
        """Begin from one of my last jobs."""
        from gpuboard.tui.dialogs.pickjob import PickJobScreen

        self.app.push_screen(PickJobScreen(), self._begin_from)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Ask again, and tell the image's age."""
        super().on_input_changed(event)
        self._tell_image()

    def _begin_from(self, like: SubmitRequest | None) -> None:
        if like is None:
            return
        self._like = like
        for name, value in _filled(like).items():
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
        self.query_one("#note-image", Bar).show([], [(f"  {', '.join(words)} ", "dim")])
        self.query_one("#note-image").display = bool(words)


def _filled(like: SubmitRequest) -> dict[str, str]:
    return {
        "image": like.image,
        "command": quote_command(like.command) if like.command else "",
        "gpus": str(like.gpus),
        "time": str(like.time_limit),
        "mounts": " ".join(
            shlex.quote(f"{m.source}:{m.target}" + (":ro" if m.read_only else ""))
            for m in like.mounts
        ),
        "env": " ".join(shlex.quote(f"{name}={value}") for name, value in like.env.items()),
        "name": like.name,
        "type": like.gpu_type,
        "after": " ".join(like.depends_on),
        "array": like.array,
        "begin": like.begin,
        "options": " ".join(name for name in OPTIONS if getattr(like, name)),
    }


def _command(values: dict[str, str]) -> list[str]:
    """Return the words of the command; with shell operators in it (`cd x && y`), a shell's."""
    words = _split(values, "command")
    lexer = shlex.shlex(values["command"], posix=True, punctuation_chars=";|&<>")
    lexer.whitespace_split = True
    lexer.commenters = ""
    if any(token and set(token) <= set(";|&<>") for token in lexer):
        return ["sh", "-c", values["command"]]
    return words


def _options(text: str) -> list[str]:
    words = text.replace(",", " ").split()
    for word in words:
        if word not in OPTIONS:
            raise InvalidRequest(f"'{word}' is none of {', '.join(OPTIONS)}", field="options")
    return words


def _split(values: dict[str, str], name: str) -> list[str]:
    try:
        return shlex.split(values[name])
    except ValueError as error:
        raise InvalidRequest(f"quotes do not match: {error}", field=name) from error


def _env(words: list[str]) -> dict[str, str]:
    env = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise InvalidRequest(f"'{word}' is not NAME=value", field="env")
        env[name] = value
    return env


def _mount(word: str) -> Mount:
    parts = word.rstrip(",").split(":")
    if len(parts) not in (1, 2, 3) or not all(parts) or parts[2:] not in ([], ["ro"], ["rw"]):
        raise InvalidRequest(f"'{word}' is not /host:/inside or /host:/inside:ro", field="mounts")
    return Mount(parts[0], parts[1] if len(parts) > 1 else parts[0], parts[2:] == ["ro"])

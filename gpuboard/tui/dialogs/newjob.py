"""The form for a new job: while one types, it says where and when the job would start."""

from __future__ import annotations

import shlex

from textual.suggester import SuggestFromList
from textual.widgets import Input

from gpuboard.errors import InvalidRequest
from gpuboard.model.job import Mount
from gpuboard.model.requests import SubmitRequest
from gpuboard.model.text import quote_command
from gpuboard.model.views import DryRunView, ImageList
from gpuboard.tui.commandlines import submit_line
from gpuboard.tui.dialogs.form import Field, Form, whole_number
from gpuboard.tui.ink import Part, clean
from gpuboard.tui.instants import clock_of, epoch_s, limit_words
from gpuboard.tui.localzone import zone_name


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
    )
    SEND = "submit"

    def __init__(self, like: SubmitRequest | None = None) -> None:
        super().__init__("New job", _filled(like) if like else {"gpus": "1"})
        self._like = like or SubmitRequest()

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
        runtime = self._like.runtime
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
            gpu_type=self._like.gpu_type,
            time_limit=values["time"],
            env=_env(_split(values, "env")),
            mounts=[_mount(word) for word in _split(values, "mounts")],
            workdir=self._like.workdir,
            timezone=zone_name(),
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

    def _take_images(self, view: ImageList) -> None:
        if self.is_open:
            names = [image.reference for image in view.images]
            self.query_one("#field-image", Input).suggester = SuggestFromList(
                names, case_sensitive=False
            )


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

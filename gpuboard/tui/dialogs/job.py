"""A job's page: everything the person may know of it, its events, and why it waits."""

from __future__ import annotations

from gpuboard.errors import GpuboardError
from gpuboard.model.job import Mount
from gpuboard.model.requests import SubmitRequest
from gpuboard.model.sizes import format_size
from gpuboard.model.text import shown_command
from gpuboard.model.views.jobs import JobDetail
from gpuboard.model.views.waits import WhyView
from gpuboard.tui import jobwords
from gpuboard.tui.bindings import DETAIL, ON_A_JOB, bindings, key_words, keys_of
from gpuboard.tui.dialogs.base import Line, Page, fact, fault_lines, titled
from gpuboard.tui.dialogs.why import why_lines
from gpuboard.tui.ink import clean, wrapped
from gpuboard.tui.instants import clock_of, epoch_s, gigabytes, limit_words
from gpuboard.tui.jobactions import JobTarget
from gpuboard.tui.jobpage import attempt_lines, attempts_of, chart_lines
from gpuboard.tui.widgets.painted import Item

COPY = next(key for key in DETAIL if key.id == "job.copy")
LIVING = [key for key in ON_A_JOB if key.id in ("job.extend", "job.stop")]
"""Keys for which a job must not have ended."""


class JobScreen(Page):
    """The page of one job."""

    BINDINGS = bindings(DETAIL, ON_A_JOB)

    def __init__(self, target: JobTarget) -> None:
        super().__init__(f"{target.words[:1].upper()}{target.words[1:]}")
        self._target = target
        self._detail: JobDetail | None = None
        self._why: WhyView | None = None
        self._fault: GpuboardError | None = None
        self._seen: object = None

    def on_mount(self) -> None:
        """Ask, and ask again when the queue changed."""
        super().on_mount()
        self._ask()
        self.set_interval(1.0, self._watch)

    def items(self) -> list[Item]:
        """Return the keys below the page: of a job that ended those that still do something."""
        ended = self._detail is not None and self._detail.job.ended_at
        return self.key_items(*(key for key in ON_A_JOB if not (ended and key in LIVING)), *DETAIL)

    def lines(self, width: int) -> list[Line]:
        """Return the page."""
        if self._fault is not None:
            return [[], *fault_lines(self._fault, width, self.gpuboard.told)]
        if self._detail is None:
            return [[], [("asking...", "dim")]]
        now_s = epoch_s(self.gpuboard.now_iso) if self.gpuboard.now_iso else 0
        job = self._detail.job
        lines = [*self._state_lines(self._detail, width, now_s)]
        if job.devices and not job.ended_at:
            past_of, glyphs = self.gpuboard.histories.of, self.gpuboard.ink.glyphs
            ran_s = now_s - epoch_s(job.started_at) if job.started_at else 0
            charts = chart_lines(job.devices, past_of, ran_s, width, glyphs)
            lines += [[], titled("Its GPUs"), *charts]
        if self._why is not None and self._detail.job.state == "queued":
            lines += [[], titled("Why it waits"), *why_lines(self._why, width, now_s)]
        lines += self._request_lines(self._detail, width)
        attempts = attempts_of(self._detail.events)
        if len(attempts) > 1:
            lines += [[], titled("Attempts"), *attempt_lines(attempts, now_s)]
        lines += [[], titled("Events")]
        lines += [
            [
                (f"  {clock_of(event.at, now_s):<12} ", "dim"),
                (self.gpuboard.told(event.words), "text"),
            ]
            for event in self._detail.events
        ]
        return lines

    def action_logs(self) -> None:
        """Follow its log."""
        self.gpuboard.jobs.open_log(self._target)

    def action_why(self) -> None:
        """Say why it waits."""
        self.gpuboard.jobs.open_why(self._target)

    def action_extend(self) -> None:
        """Give it more time."""
        self.gpuboard.jobs.extend(JobTarget.of(self._detail.job) if self._detail else self._target)

    def action_stop(self) -> None:
        """Cancel it, after a dialog."""
        self.gpuboard.jobs.ask_cancel(
            JobTarget.of(self._detail.job) if self._detail else self._target
        )

    def action_copy(self) -> None:
        """Copy the ssh line that leads to its ports from another machine."""
        line = self._detail and jobwords.tunnel_line(self._detail.job, self.gpuboard.box_name)
        if not line:
            self.gpuboard.say("no port of this job is open now")
            return
        self.app.copy_to_clipboard(line)
        self.gpuboard.say("copied")

    def action_rerun(self) -> None:
        """Open the form with what this job asked for."""
        if self._detail is not None:
            self.gpuboard.action_new_job(request_like(self._detail))

    def _ask(self) -> None:
        number, source = str(self._target.job_id), self.gpuboard.source
        self._seen = self.gpuboard.snapshot.queue

        def ask() -> tuple[JobDetail, WhyView | None]:
            detail = source.job(number)
            return detail, source.why(number) if detail.job.state == "queued" else None

        self.gpuboard.errands.run(ask, self._take, self._fail)

    def _watch(self) -> None:
        if self.gpuboard.is_paused:
            return
        if self.gpuboard.snapshot.queue is not self._seen:
            self._ask()
        elif self._detail is not None and self._detail.job.devices:
            self.rebuild()

    def _take(self, answer: tuple[JobDetail, WhyView | None]) -> None:
        self._detail, self._why = answer
        self.show_items()
        self.rebuild()

    def _fail(self, error: GpuboardError) -> None:
        self._fault = error
        self.rebuild()

    def _state_lines(self, detail: JobDetail, width: int, now_s: int) -> list[Line]:
        job = detail.job
        words, role = jobwords.state_parts(self.gpuboard.ink, job)
        lines: list[Line] = [[], fact("state", words, role + "!")]
        is_told_below = job.exit_code is not None and job.exit_words
        if not is_told_below and (words := jobwords.end_words(job)):
            how = "bad" if role == "bad" else "text"
            lines += [fact("", line, how) for line in wrapped(words, width - 15)]
        lines.append(fact("owner", jobwords.owner_words(job)))
        gpus = f"{job.gpus}" + (f" {clean(job.gpu_type)}" if job.gpu_type else "")
        if job.devices:
            gpus += " (GPU " + ",".join(clean(device.label) for device in job.devices) + ")"
        lines += [
            fact("GPUs", gpus),
            fact(
                "time", f"{jobwords.elapsed_words(job, now_s)}   {jobwords.start_words(job, now_s)}"
            ),
        ]
        for number, port in enumerate(job.ports):
            lines.append(fact("ports" if not number else "", jobwords.port_words(port)))
        if line := jobwords.tunnel_line(job, self.gpuboard.box_name):
            first, *rest = wrapped(line, width - 15)
            lines.append(fact("from afar", first))
            lines += [fact("", more) for more in rest]
            key = key_words(keys_of(COPY, self.gpuboard.settings.keys).split(",")[0])
            lines.append(fact("", f"{key} copies the line", "dim"))
        if job.exit_code is not None:
            meaning = f": {clean(job.exit_words)}" if job.exit_words else ""
            lines.append(
                fact("exit code", f"{job.exit_code}{meaning}", "bad" if role == "bad" else "text")
            )
        if job.attempt > 1:
            lines.append(fact("attempt", str(job.attempt)))
        return lines

    def _request_lines(self, detail: JobDetail, width: int) -> list[Line]:
        job = detail.job
        facts: list[tuple[str, str]] = [
            ("image", job.image),
            ("command", shown_command(job.command) if job.command else ""),
            ("workdir", detail.workdir),
            ("note", job.note),
            ("after", ", ".join(job.depends_on)),
            ("cpus", f"{detail.cpus:g}" if detail.cpus else ""),
            ("memory", gigabytes(detail.memory_bytes) + "G" if detail.memory_bytes else ""),
            ("shm", gigabytes(detail.shm_bytes) + "G" if detail.shm_bytes else ""),
        ]
        facts += [
            ("mount", f"{mount.source}:{mount.target}" + (":ro" if mount.read_only else ""))
            for mount in detail.mounts
        ]
        facts.append(("env", ", ".join(detail.env)))
        shown = [(name, value) for name, value in facts if value]
        if not shown:
            return []
        lines: list[Line] = [[], titled("Asked for")]
        for name, value in shown:
            first, *rest = wrapped(value, width - 15)
            lines.append(fact(name, first))
            lines += [fact("", line) for line in rest]
        return lines


def request_like(detail: JobDetail) -> SubmitRequest:
    """Return the submission that a job came from, as far as it is shown."""
    job = detail.job
    return SubmitRequest(
        image=job.image,
        command=job.command,
        script=detail.script,
        runtime=job.runtime,
        name=job.name,
        gpus=job.gpus,
        gpu_type=job.gpu_type,
        time_limit=limit_words(job.limit_s),
        gpu_memory=format_size(job.gpu_memory_bytes) if job.gpu_memory_bytes else "",
        nvlink=job.nvlink,
        env=detail.env,
        shm_size=format_size(detail.shm_bytes) if detail.shm_bytes else "",
        cpus=detail.cpus,
        memory=format_size(detail.memory_bytes) if detail.memory_bytes else "",
        account=job.account,
        class_name=job.class_name,
        mounts=[Mount(mount.source, mount.target, mount.read_only) for mount in detail.mounts],
        ports=[port.port for port in job.ports],
        workdir=detail.workdir,
        preemptible=job.preemptible,
        requeue=job.requeue,
    )

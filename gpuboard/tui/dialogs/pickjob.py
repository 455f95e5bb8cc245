"""One of the lab's templates or of my last jobs, as the beginning of a new one."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.strip import Strip

from gpuboard.errors import GpuboardError
from gpuboard.model.requests import SubmitRequest
from gpuboard.model.views.catalog import TemplateList, TemplateView
from gpuboard.model.views.jobs import JobDetail, JobList, JobView
from gpuboard.tui import jobwords
from gpuboard.tui.bindings import PAGE, bindings
from gpuboard.tui.dialogs.base import Dialog
from gpuboard.tui.dialogs.job import request_like
from gpuboard.tui.ink import Ink, Part, clean, fit
from gpuboard.tui.instants import brief, clock_of, epoch_s
from gpuboard.tui.widgets.painted import ActionBar, enter_item
from gpuboard.tui.widgets.rows import RowList

OFFERED = 100
Beginning = TemplateView | JobView


class PickJobScreen(Dialog[SubmitRequest]):
    """The lab's templates, then my jobs, the latest first; enter gives what the chosen one asks for."""

    DEFAULT_CSS = "PickJobScreen > .box { width: 78; height: 18; }"
    BINDINGS = bindings(PAGE)

    def __init__(self) -> None:
        super().__init__("Begin from a template, or like one of my jobs")
        self._templates: list[TemplateView] = []
        self._jobs: dict[int, JobView] = {}

    def content(self) -> ComposeResult:
        """Return the list."""
        yield RowList[Beginning](self._paint, _key, empty="asking...")
        yield ActionBar(ground="base", id="pick-keys")

    def on_mount(self) -> None:
        """Show what lives, and ask for the templates and for what ended."""
        super().on_mount()
        app = self.gpuboard
        items = [enter_item("begin from it"), *self.key_items()]
        self.query_one("#pick-keys", ActionBar).show_items(items)
        user = app.snapshot.board.user if app.snapshot.board else ""
        queue = app.snapshot.queue
        self._jobs = {job.id: job for job in (queue.jobs if queue else ()) if job.mine}
        self._show()
        self.query_one(RowList).focus()
        app.errands.run(app.source.templates, self._take_templates, self._fail)
        app.errands.run(lambda: app.source.ended(user, OFFERED), self._take, self._fail)

    def on_row_list_chosen(self, message: RowList.Chosen[Beginning]) -> None:
        """Give a template; of a job ask first for all that it asked for."""
        chosen = message.row
        if isinstance(chosen, TemplateView):
            self.dismiss(chosen.request)
            return
        number = str(chosen.id)
        self.gpuboard.errands.run(lambda: self.gpuboard.source.job(number), self._give, self._fail)

    def action_choose(self) -> None:
        """Take the chosen one (a click on the key line)."""
        self.query_one(RowList).action_choose()

    def _take_templates(self, answer: TemplateList) -> None:
        self._templates = answer.templates
        if self.is_open:
            self._show()
            self.query_one(RowList).move_to(0)

    def _take(self, answer: JobList) -> None:
        self._jobs = {job.id: job for job in answer.jobs} | self._jobs
        if self.is_open:
            self._show()

    def _give(self, detail: JobDetail) -> None:
        if self.is_open:
            self.dismiss(request_like(detail))

    def _fail(self, error: GpuboardError) -> None:
        self.gpuboard.say_error(error)

    def _show(self) -> None:
        jobs = sorted(self._jobs.values(), key=lambda job: -job.id)
        rows: list[Beginning] = [*self._templates, *jobs]
        self.query_one(RowList).set_rows(rows, "there are no templates, and you have no jobs yet")

    def _paint(self, ink: Ink, row: Beginning, width: int, ground: str) -> Strip:
        now = self.gpuboard.now_iso
        parts = (
            _template_parts(row)
            if isinstance(row, TemplateView)
            else _job_parts(ink, row, epoch_s(now) if now else 0)
        )
        return ink.line(parts, width, ground)


def _key(row: Beginning) -> str | int:
    return row.name if isinstance(row, TemplateView) else row.id


def _template_parts(template: TemplateView) -> list[Part]:
    request = template.request
    return [
        ("  lab  ", "accent!"),
        (fit(clean(template.name), 20) + " ", "text"),
        (fit("template", 12) + " ", "accent"),
        (fit(f"{request.gpus} GPU, {request.time_limit or 'default'}", 14), "dim"),
        (clean(template.about or request.image), "dim"),
    ]


def _job_parts(ink: Ink, job: JobView, now_s: int) -> list[Part]:
    words, role = jobwords.state_parts(ink, job)
    return [
        (f" {job.id:>5} ", "strong!"),
        (fit(jobwords.job_name(job), 20) + " ", "text"),
        (fit(words, 12) + " ", role),
        (fit(f"{job.gpus} GPU, {brief(job.limit_s)}", 14), "dim"),
        (fit(clock_of(job.submitted_at, now_s), 13), "dim"),
        (clean(job.image), "dim"),
    ]

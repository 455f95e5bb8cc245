"""Jobs as rows and words: the queue's columns, the state's shape, start times as people say them."""

from __future__ import annotations

from collections.abc import Sequence

from textual.strip import Strip

from gpuboard.model.ports import tunnel
from gpuboard.model.views.jobs import JobView, PortView
from gpuboard.tui.columns import Column, cells, heads, laid_out
from gpuboard.tui.ink import Ink, Part, clean
from gpuboard.tui.instants import brief, clock_of, epoch_s, span

_STATES: dict[str, tuple[str, str]] = {
    "queued": ("o", "dim"),
    "starting": ("*", "accent"),
    "running": ("*", "used"),
    "stopping": ("*", "warn"),
    "succeeded": ("+", "ok"),
    "failed": ("x", "bad"),
    "cancelled": ("-", "dim"),
    "timed_out": ("x", "warn"),
    "preempted": ("-", "warn"),
    "lost": ("!", "bad"),
}
Layout = Sequence[tuple[Column, int]]
_PLACE_HEAD = "    # "
_SHAPES = {"o": "○", "*": "●", "+": "✔", "x": "✖", "-": "⊘", "!": "▲"}


def state_parts(ink: Ink, job: JobView) -> tuple[str, str]:
    """Return the state with its shape, and its role: `● running`."""
    shape, role = _STATES.get(job.state, ("?", "text"))
    glyph = shape if ink.glyphs.is_ascii else _SHAPES.get(shape, shape)
    word = "held" if job.state == "queued" and job.held_by else job.state.replace("_", " ")
    return f"{glyph} {word}", "mine" if job.mine and role == "used" else role


def start_words(job: JobView, now_s: int) -> str:
    """Return when a job starts, is stopped by its limit, or ended: `about 14:10, by 16:00`."""
    if job.ended_at:
        return clock_of(job.ended_at, now_s)
    if job.started_at:
        return f"limit {clock_of(job.ends_at, now_s, '?')}"
    if job.state != "queued":
        return "now"
    if job.held_by:
        return "when it is released"
    if not job.expected_start_at:
        after = ", ".join(clean(each).rpartition(":")[2] for each in job.depends_on)
        return f"after {after}" if after else "not known yet"
    about = clock_of(job.expected_start_at, now_s)
    latest = clock_of(job.latest_start_at, now_s)
    return f"about {about}, by {latest}" if latest and latest != about else f"about {about}"


def devices_words(job: JobView) -> str:
    """Return how many devices a job wants, and which it has: `2 (0,1)`."""
    if job.devices:
        return f"{job.gpus} ({','.join(clean(device.label) for device in job.devices)})"
    return f"{job.gpus}"


def port_words(port: PortView) -> str:
    """Return where a port of a job is: `8888 at 127.0.0.1:20017`."""
    if port.host_port is None:
        return f"{port.port} (on 127.0.0.1 once it runs)"
    return f"{port.port} at 127.0.0.1:{port.host_port}"


def tunnel_line(job: JobView, box: str) -> str:
    """Return the ssh command that leads from another machine to a job's ports; empty for none."""
    return tunnel([(each.port, each.host_port) for each in job.ports if each.host_port], clean(box))


def owner_words(job: JobView) -> str:
    """Return whose a job is."""
    return "you" if job.mine else clean(job.user)


def elapsed_words(job: JobView, now_s: int) -> str:
    """Return how long a job has run of its limit: `1h20 / 4h`."""
    limit = brief(job.limit_s)
    if not job.started_at:
        return f"- / {limit}"
    end = epoch_s(job.ended_at) if job.ended_at else now_s
    return f"{span(end - epoch_s(job.started_at))} / {limit}"


def end_words(job: JobView) -> str:
    """Return how a job ended, or what it does."""
    if job.exit_words:
        return clean(job.exit_words)
    return clean(job.reason)


def job_name(job: JobView) -> str:
    """Return what a job is called: its name, or its command."""
    name = clean(job.name) or clean(" ".join(job.command)) or clean(job.image)
    if job.array_index is not None:
        name += f" [{job.array_index}]"
    return name


def queue_layout(names: Sequence[str], width: int) -> Layout:
    """Return the queue's columns behind a job's shape and place."""
    return laid_out("queue", names, width - len(_PLACE_HEAD))


def queue_heads(names: Sequence[str], width: int) -> str:
    """Return the column heads of the queue."""
    return _PLACE_HEAD + heads(queue_layout(names, width))


def queue_row(
    ink: Ink, job: JobView, names: Sequence[str], width: int, ground: str, *,
    now_s: int, is_tagged: bool = False,
) -> Strip:  # fmt: skip
    """Return one line of the queue."""
    glyph, role = state_parts(ink, job)
    place = f"{job.place + 1:>3}" if job.place is not None else "   "
    is_waiting = job.state == "queued"
    owner = "mine!" if job.mine else "text"
    mark = ink.glyphs.tag if is_tagged else " "
    found: dict[str, Part] = _common(job, now_s) | {
        "job": (str(job.id), owner),
        "who": (owner_words(job), owner),
        "gpus": (devices_words(job), "text" if is_waiting else role),
        "start": (start_words(job, now_s), "text" if is_waiting else role),
        "why": (clean(job.reason), "warn" if job.held_by else "dim"),
        "limit": (brief(job.limit_s), "dim"),
        "class": (clean(job.class_name), "dim"),
        "type": (clean(job.gpu_type), "dim"),
    }
    lead: list[Part] = [
        (mark if is_tagged or is_waiting else glyph[:1], "accent!" if is_tagged else role),
        (" ", role),
        (place if is_waiting else "run", "dim" if is_waiting else role),
        (" ", "text"),
    ]
    return ink.line([*lead, *cells(queue_layout(names, width), found)], width, ground)


def job_layout(names: Sequence[str], width: int, *, with_owner: bool) -> Layout:
    """Return the columns of a list of jobs behind their tags."""
    shown = tuple(name for name in names if name != "who" or with_owner)
    return laid_out("jobs", shown, width - 2)


def job_heads(names: Sequence[str], width: int, *, with_owner: bool = False) -> str:
    """Return the column heads of a list of jobs."""
    return "  " + heads(job_layout(names, width, with_owner=with_owner))


def job_row(
    ink: Ink, job: JobView, names: Sequence[str], width: int, ground: str, *,
    now_s: int, is_tagged: bool = False, with_owner: bool = False,
) -> Strip:  # fmt: skip
    """Return one line of a list of jobs."""
    words, role = state_parts(ink, job)
    found: dict[str, Part] = _common(job, now_s) | {
        "state": (words, role),
        "job": (str(job.id), "strong!"),
        "who": (owner_words(job), "mine" if job.mine else "text"),
        "gpus": (devices_words(job), "text"),
        "time": (elapsed_words(job, now_s), "text"),
        "when": (start_words(job, now_s).split(",")[0], "dim"),
        "how": (end_words(job), "bad" if role == "bad" else "dim"),
        "exit": ("" if job.exit_code is None else str(job.exit_code), "dim"),
    }
    layout = job_layout(names, width, with_owner=with_owner)
    mark = (ink.glyphs.tag if is_tagged else " ") + " "
    return ink.line([(mark, "accent!"), *cells(layout, found)], width, ground)


def _common(job: JobView, now_s: int) -> dict[str, Part]:
    return {
        "name": (job_name(job), "text"),
        "submitted": (clock_of(job.submitted_at, now_s), "dim"),
        "group": (clean(job.account), "dim"),
        "image": (clean(job.image), "dim"),
    }


def matches(job: JobView, words: str) -> bool:
    """Whether a job's visible text has all of these words, in any case."""
    if not words:
        return True
    text = " ".join(
        (str(job.id), job_name(job), clean(job.user), job.state, clean(job.reason))
    ).lower()
    return all(word in text for word in words.lower().split())

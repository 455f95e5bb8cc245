"""What is said of the job under the cursor: why it waits, who comes first, where its place comes from."""

from __future__ import annotations

from gpuboard.model.views.jobs import JobView
from gpuboard.model.views.waits import AheadView, PriorityView, WhyView
from gpuboard.tui import jobwords
from gpuboard.tui.ink import Part, clean, cut, width_of
from gpuboard.tui.instants import brief, clock_of, localised, span

Line = list[Part]


def waiting_lines(
    job: JobView, why: WhyView | None, now_s: int, width: int, *, me: str, key: str
) -> list[Line]:
    """Return at most three lines of `width` columns about a job, to the person `me`, whose `key` tells more."""
    number: Part = (f" {job.id} ", "accent!")
    if job.state != "queued":
        words = jobwords.end_words(job) or jobwords.job_name(job)
        return [[number, (localised(words, now_s), "text")]]
    if why is None:
        return [[number, (jobwords.end_words(job), "text")]]
    indent = " " * width_of(number[0])
    cause = localised(clean(why.causes[0].words if why.causes else why.words), now_s)
    more = f" (+{len(why.causes) - 1}: {key})" if len(why.causes) > 1 else ""
    room = max(10, width - len(indent) - len(more))
    lines: list[Line] = [[number, (cut(cause, room), "text"), (more, "dim")]]
    when = " · ".join(
        part for part in (ahead_words(why, now_s, me), start_words(why, now_s)) if part
    )
    if when:
        lines.append([(indent, "text"), (when, "text")])
    if why.priority is not None:
        whose = "you" if job.mine else clean(job.user)
        lines.append([(indent, "text"), (priority_words(why.priority, whose), "dim")])
    return lines


def ahead_words(why: WhyView, now_s: int, me: str = "") -> str:
    """Return a place in words: `2 ahead: user7's 412, 4 GPUs, about 14:10; your 415, 1 GPU`."""
    if why.place is None:
        return ""
    if why.place == 0:
        return "next to be served"
    shown = "; ".join(ahead_of(each, now_s, me) for each in why.ahead[:2])
    return f"{why.place} ahead" + (f": {shown}" if shown else "")


def start_words(why: WhyView, now_s: int) -> str:
    """Return a forecast in words: `about 14:10, likely by 15:10, at the latest 16:00`."""
    if not why.expected_start_at:
        return ""
    about = clock_of(why.expected_start_at, now_s)
    words, said = f"starts about {about}", {about}
    for instant, how in ((why.p90_start_at, "likely by"), (why.latest_start_at, "at the latest")):
        when = clock_of(instant, now_s)
        if when and when not in said:
            words += f", {how} {when}"
            said.add(when)
    return words


def priority_words(priority: PriorityView, whose: str) -> str:
    """Return where a place comes from: the owner's part of all use, and what that is worth."""
    has = "you have" if whose == "you" else f"{whose} has"
    words = f"{has} {priority.share:.0%} of all recent use"
    if priority.lead_s <= 0:
        return f"{words}: it counts from its submission"
    return f"{words}: it counts as submitted {span(priority.lead_s)} earlier"


def ahead_of(one: AheadView, now_s: int, me: str = "") -> str:
    """Return a job that is served before another: whose, which, how wide, from when."""
    gpus = "1 GPU" if one.gpus == 1 else f"{one.gpus} GPUs"
    whose = "your" if one.user == me else f"{clean(one.user)}'s"
    words = f"{whose} {one.id}, {gpus} for {brief(one.limit_s)}"
    about = clock_of(one.expected_start_at, now_s)
    return words + (f" from about {about}" if about else "")

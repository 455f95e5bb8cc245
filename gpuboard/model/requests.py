"""What a client may say: the closed schema of every request body (an unknown key is an error)."""

from __future__ import annotations

import msgspec

from gpuboard.model.job import Mount


class SubmitRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A job as a person asks for it. Spans and sizes may be numbers or the words people write."""

    image: str = ""
    command: list[str] = []
    script: str = ""
    """Content of a script to capture, from its `#!` on; `command` is its name and arguments then."""
    runtime: str = ""
    """`docker` or `process`; empty: docker when an image is named, else the box's default, or
    `process` where that is `docker` and plain processes are allowed."""
    name: str = ""
    gpus: int = 1
    gpu_ids: list[str] = []
    """Display numbers (`0`, `3:1`) or UUIDs; when given, `gpus` is their count."""
    gpu_type: str = ""
    gpu_memory: str | int = ""
    """`10G`: share one device with other jobs, and keep to so much of its memory."""
    nvlink: bool = False
    """Only devices that are all linked with each other by NVLink will do."""
    time_limit: str | int = ""
    """`90m`, `2h30m`, `2:00:00`, `1-12:00:00`; a bare number is minutes."""
    env: dict[str, str] = {}
    mounts: list[Mount] = []
    ports: list[str | int] = []
    """TCP ports of the container to publish: `8888`, `8888/tcp`. The box's port is not the caller's to say."""
    workdir: str = ""
    shm_size: str | int = ""
    cpus: float | None = None
    memory: str | int = ""
    begin: str = ""
    """`tomorrow 09:00`, `now+1h`, `14:30`, ISO-8601."""
    depends_on: list[str] = []
    """`12`, `afterok:12`, `afterany:@`; `singleton`: after all of mine of this name."""
    array: str = ""
    """`0-9%2`, `1,3,5`."""
    preemptible: bool = False
    requeue: bool = False
    hold: bool = False
    stop_signal: str = ""
    grace: str | int = ""
    note: str = ""
    token: str = ""
    """Idempotency key: a retry with the same token returns the same jobs."""
    timezone: str = ""
    """IANA name of the client's zone, for `begin`; empty = the box's."""
    account: str = ""
    """The group to charge, one of the person's; empty = their first."""
    class_name: str = msgspec.field(default="", name="class")
    """Empty = the box's default."""


class JobSelection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Jobs by number, range (`4-7`), `@` (my last), array id or name."""

    jobs: list[str] = []


class CancelRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Cancel these jobs. `force`: SIGKILL at once."""

    jobs: list[str] = []
    force: bool = False


class UpdateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Change jobs that have not ended; None = leave as it is."""

    jobs: list[str] = []
    time_limit: str | int | None = None
    """`2h`, or `+30m` / `-30m` relative to the present limit. Only an admin may raise the limit of a
    running job beyond what nobody else waits for."""
    name: str | None = None
    gpus: int | None = None
    """Queued jobs only."""
    begin: str | None = None
    note: str | None = None
    preemptible: bool | None = None
    account: str | None = None
    """The group to charge; queued jobs only, as is the class."""
    class_name: str | None = msgspec.field(default=None, name="class")


class ReserveRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A booking as a person asks for it: `gpuboard reserve 2 1h30m [--at ...]`."""

    gpus: int = 1
    duration: str | int = ""
    at: str = ""
    """Empty = now."""
    until: str = ""
    """Instead of a duration."""
    gpu_ids: list[str] = []
    gpu_type: str = ""
    name: str = ""
    timezone: str = ""
    dry_run: bool = False
    suggest: bool = False
    """With `dry_run`: a refusal is an answer, with the nearest windows, and no error."""
    repeat: str = ""
    """`daily`, `weekly`, `weekdays`, or a rule of RFC 5545: `until` then ends the series."""
    count: int | None = None
    """How many bookings in the series."""
    account: str = ""
    """The group to charge, one of the person's; empty = their first."""


class ReservationUpdate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Move, lengthen, shorten or rename a booking that has not ended."""

    at: str | None = None
    duration: str | int | None = None
    until: str | None = None
    gpus: int | None = None
    name: str | None = None
    timezone: str = ""
    dry_run: bool = False
    """Only say whether it could be had; a refusal is an answer, with the nearest windows."""
    series: bool = False
    """Change all later ones of its series likewise, all or none."""
    gpu_ids: list[str] | None = None
    """Exactly these devices; `[]`: any."""


class DrainRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Take devices out of service (`resume`: back); empty list = all."""

    gpu_ids: list[str] = []
    note: str = ""


class NoticeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An admin's words to everybody; empty text clears."""

    text: str = ""
    duration: str | int = ""


class BlackoutRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A maintenance window in which nothing runs."""

    at: str = ""
    duration: str | int = ""
    until: str = ""
    gpu_ids: list[str] = []
    note: str = ""
    timezone: str = ""
    cancel: int | None = None
    """Id of a blackout to take back."""


class BackupRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where an admin wants a copy of the database; empty = beside the database, named by the time."""

    path: str = ""


class Empty(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request that says nothing: `{}`, or no body at all."""

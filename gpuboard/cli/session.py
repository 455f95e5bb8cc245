"""What every command shares: the client, how answers go to stdout, how words go to stderr.

stdout is data. With `--json` it carries exactly one JSON value, whatever happens; notes, warnings
and errors go to stderr.
"""

from __future__ import annotations

import codecs
import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gpuboard.errors import InvalidRequest

if TYPE_CHECKING:
    from gpuboard.api.client import Client

F = TypeVar("F", bound=Callable[..., Any])


class Session:
    """One run of the command line."""

    def __init__(self) -> None:
        self.as_json = False
        """Whether `--json` was given: known as soon as the option is read, also when a later one fails."""
        self.quiet = False
        self.has_written = False
        """Whether the one JSON value is on stdout already."""
        self.hosts: tuple[str, ...] = ()
        """Other boxes that `--host` named, reached over ssh; none = this one."""
        self._client: Client | None = None

    @property
    def is_remote(self) -> bool:
        """Whether the daemon is another box's: our paths and variables mean nothing there."""
        return self.address.startswith("ssh://")

    @property
    def address(self) -> str:
        """Return whom the command speaks to. Raises InvalidRequest when several boxes were named."""
        from gpuboard.api.places import find_address

        if not self.hosts:
            return find_address()
        if len(self.hosts) > 1:
            raise InvalidRequest(
                "this command speaks to one box",
                hint="give --host once; the app (`gpuboard` alone) shows several as tabs",
                field="host",
            )
        return self.addresses[0]

    @property
    def addresses(self) -> list[str]:
        """Return the addresses of all boxes that `--host` named."""
        from gpuboard.api.ssh import address_of

        return [address_of(host) for host in self.hosts]

    @property
    def client(self) -> Client:
        """Return the client of the box's daemon; a personal one is started where there is none."""
        if self._client is None:
            from gpuboard.api.client import connect

            self._client = connect(address=self.address)
        return self._client

    def reconnect(self) -> None:
        """Forget the client: the next question finds the daemon anew, and starts a personal one again."""
        self._client = None

    def answer(self, value: dict[str, Any]) -> None:
        """Print one JSON value."""
        self.has_written = True
        print(json_text(value))

    def pass_through(self, path: str, **query: object) -> None:
        """Print the daemon's answer to GET `path` as it came, without parsing it."""
        content = b"".join(self.client.stream(path, **query))
        self.has_written = True
        sys.stdout.flush()
        sys.stdout.buffer.write(content.rstrip(b"\n") + b"\n")
        sys.stdout.buffer.flush()

    def note(self, words: str) -> None:
        """Say something on stderr, unless `--quiet`."""
        if not self.quiet:
            from gpuboard.model.text import plain

            print(plain(words), file=sys.stderr, flush=True)

    def tell(self, words: str) -> None:
        """Say on stderr that something failed, also with `--quiet`."""
        from gpuboard.model.text import plain

        print(plain(words), file=sys.stderr, flush=True)

    def warn(self, words: str) -> None:
        """Say on stderr what a person should know, also with `--quiet`."""
        from gpuboard.model.text import plain

        print(f"warning: {plain(words)}", file=sys.stderr, flush=True)


def _set_json(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and isinstance(ctx.obj, Session):
        ctx.obj.as_json = True


def _set_quiet(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and isinstance(ctx.obj, Session):
        ctx.obj.quiet = True


json_option = click.option(
    "--json",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_set_json,
    help="Print one JSON value.",
)


def json_text(value: dict[str, Any]) -> str:
    """Return the value as JSON; where stdout is ASCII no character is lost, but escaped."""
    return json.dumps(value, ensure_ascii=sys.stdout.encoding == "ascii")


def is_for_ascii() -> bool:
    """Whether we were asked for ASCII, or the locale that was set is not one of UTF-8 (locale(7))."""
    if os.environ.get("GPUBOARD_ASCII"):
        return True
    values = (os.environ.get(name, "") for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    value = next(filter(None, values), "UTF-8")
    return "UTF" not in value.upper()


def speak_ascii() -> None:
    """Write only ASCII from here on, in as many cells; bytes that are passed on are left alone."""
    codecs.register_error("gpuboard", _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="ascii", errors="gpuboard")


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    from gpuboard.model.text import ELLIPSIS, cell_width

    assert isinstance(error, UnicodeEncodeError)
    lost = error.object[error.start : error.end]
    words = ("~" if char == ELLIPSIS else "?" * cell_width(char) for char in lost)
    return "".join(words), error.end


def _set_ascii(_ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        os.environ["GPUBOARD_ASCII"] = "1"  # the app reads it, and whatever it starts
        speak_ascii()


ascii_option = click.option(
    "--ascii",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_set_ascii,
    help="Draw with ASCII only (GPUBOARD_ASCII=1 does too).",
)


def quiet_option(help: str) -> Callable[[F], F]:
    """Return the option `-q`, which sets `Session.quiet`."""
    return click.option(
        "-q",
        "--quiet",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_set_quiet,
        help=help,
    )


pass_session = click.make_pass_decorator(Session)

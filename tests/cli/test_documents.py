"""Documentation that tests keep true: every command and flag is in the man pages, the README's exist."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from gpuboard.cli.main import COMMANDS, cli
from tests.cli.test_commands import commands

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("click_man", reason="click-man makes the man pages")
    folder = tmp_path_factory.mktemp("man")
    subprocess.run(
        [sys.executable, str(ROOT / "packaging/make_man.py"), str(folder)], check=True, timeout=120
    )
    return folder


def command_of(words: tuple[str, ...]) -> click.Command:
    command: click.Command = cli
    for word in words:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), word)
        assert found is not None
        command = found
    return command


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_and_flag_is_in_its_man_page(pages: Path, words: tuple[str, ...]) -> None:
    """What the program takes is documented, with the words of its help."""
    text = (pages / f"gpuboard-{'-'.join(words)}.1").read_text().replace("\\-", "-")
    for parameter in command_of(words).params:
        if isinstance(parameter, click.Option):
            assert parameter.help
            for flag in parameter.opts:
                assert flag in text


def test_main_page_lists_commands_exit_codes_and_variables(pages: Path) -> None:
    """gpuboard(1) is the way in."""
    text = (pages / "gpuboard.1").read_text()
    for name in COMMANDS:
        assert f"\\fB{name}\\fP" in text
    for word in ("EXIT STATUS", "GPUBOARD_SOCKET", "NO_COLOR", "/etc/gpuboard/config.toml"):
        assert word in text


def test_the_daemon_s_options_are_in_its_man_page(pages: Path) -> None:
    """They are read by the daemon itself, not by the command line."""
    text = (pages / "gpuboard-daemon.1").read_text().replace("\\-", "-")
    for flag in ("--config", "--personal", "--check-config", "--verbose"):
        assert f"\\fB{flag}\\fP" in text
    assert "--ready-fd" not in text


def test_man_pages_are_clean_roff(pages: Path) -> None:
    """groff has no complaint about any page."""
    if shutil.which("groff") is None:
        pytest.skip("no groff on this machine")
    for page in sorted(pages.iterdir()):
        ran = subprocess.run(
            ["groff", "-man", "-Tutf8", "-ww", "-z", str(page)],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert ran.stderr == "", page.name


def readme_lines() -> list[str]:
    """Return the `gpuboard ...` command lines of the README."""
    text = (ROOT / "README.md").read_text()
    found = re.findall(r"`(gpuboard [a-z][^`]*)`", text)
    found += [line.split("#")[0] for line in text.splitlines() if line.startswith("gpuboard ")]
    return sorted({line.strip() for line in found if not line.isupper() and "COMMAND" not in line})


@pytest.mark.parametrize("line", readme_lines())
def test_commands_in_the_readme_are_real(line: str) -> None:
    """A command line that is copied from the README parses."""
    words = shlex.split(line)[1:]
    command: click.Command = cli
    # with the real settings: a command keeps the help option of the first context that it meets
    ctx = click.Context(cli, info_name="gpuboard", **cli.context_settings)
    while isinstance(command, click.Group):
        found = command.get_command(ctx, words.pop(0))
        assert found is not None, line
        command = found
    if words not in ([], ["--help"]) and command.name != "daemon":
        command.make_context(command.name, words, parent=ctx, resilient_parsing=False)


def test_every_command_is_in_the_readme_or_the_main_page(pages: Path) -> None:
    """No command is hidden."""
    text = (ROOT / "README.md").read_text() + (pages / "gpuboard.1").read_text()
    for name in COMMANDS:
        assert name in text

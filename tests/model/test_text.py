"""Hostile text: what comes out is one line that a terminal shows as it is."""

import shlex
import shutil
import subprocess
from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuboard.model.text import cell_width, plain, quote_command, shown_command


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("a\x1b[31mred\x1b[0m", "ared"),
        ("\x1b]0;title\x07name", "name"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq#0\x1b\\name", "name"),
        ("\x1b_apc\x1b\\\x1b^pm\x1b\\name", "name"),
        ("\x9b31mname", "name"),
        ("\x9d0;title\x9cname", "name"),
        ("\x1b(0\x1bc\x1b7name", "name"),
        ("\x1b]0;never ended", "�]0;never ended"),
        ("\x1b\x1b[31m[31mname", "�[31mname"),
        ("one\ntwo\ttree\r\n", "one two tree  "),
        ("a\0b\x08c\x7f", "a�b�c�"),
        ("\ud800", "�"),
        ("cancel \u202e7", "cancel 7"),
        ("\u2066a\u2069\u200e\u200f\u061c", "a"),
        ("a\u200b\u200d\ufeff\u00adb", "ab"),
        ("tag\U000e0041", "tag"),
        ("\u3164\u2800", "  "),
        ("line\u2028para\u2029", "line para "),
        ("z" + "\u0301" * 50, "z" + "\u0301" * 3),
        ("❤\ufe0f", "❤"),
        ("[bold]/x[/x]", "[bold]/x[/x]"),
        ("日本 Ünïcode שלום", "日本 Ünïcode שלום"),
    ],
)
def test_nothing_that_acts_on_a_terminal_comes_through(hostile, shown):
    """Sequences and invisible characters vanish; what is left is to be seen. Markup stays text."""
    assert plain(hostile) == shown


@given(st.text(alphabet=st.characters(), max_size=60), st.integers(0, 30))
def test_plain_is_safe_within_its_width_and_stable(text, width):
    """No control, format, surrogate or unassigned character, ever; cut again changes nothing."""
    safe = plain(text, width)
    assert not {category(char) for char in safe} & {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"}
    assert all(char == " " or not char.isspace() for char in safe)
    assert cell_width(safe) <= width
    assert plain(safe, width) == safe
    assert plain(plain(text)) == plain(text)


def test_text_is_cut_in_cells_with_an_ellipsis():
    """A wide character counts two, a combining mark none."""
    assert plain("abcdef", 6) == "abcdef"
    assert plain("abcdefg", 6) == "abcde…"
    assert plain("日本語日本語", 6) == "日本…"
    assert plain("日本語", 6) == "日本語"
    assert plain("e\u0301" * 4, 4) == "e\u0301" * 4
    assert plain("anything", 1) == "…"
    assert plain("anything", 0) == ""


def test_ten_thousand_hostile_characters_cost_linear_time():
    """A run of unterminated sequences must not stall a screen."""
    import time

    began = time.process_time()
    for piece in ("\x1b]", "\x9d", "\x1b[", "\x1b", "\x1bP\x1b", "\x1b[1;", "\x1b(("):
        plain(piece * 20_000, 80)
    assert time.process_time() - began < 2


@given(
    st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=10), max_size=5)
)
def test_a_quoted_command_is_read_back_to_the_same_words(argv):
    """What is shown can be pasted."""
    assert shlex.split(quote_command(argv)) == argv


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (["sh", "-c", "a b"], "sh -c 'a b'"),
        (["sh", "-c", "a\n'b\\n'\t\x01"], r"sh -c $'a\n\'b\\n\'\t\x01'"),
        (["echo", "é", ""], "echo 'é' ''"),
    ],
)
def test_shown_command_is_one_line_that_bash_reads_back(argv: list[str], shown: str):
    """A script in an argument is not torn into words that mean something else."""
    assert shown_command(argv) == shown
    assert plain(shown) == shown
    bash = shutil.which("bash")
    if bash:
        words = [bash, "-c", f"printf '%s\\0' {shown}"]
        told = subprocess.run(words, capture_output=True, check=True)
        assert told.stdout.decode().split("\0")[:-1] == argv

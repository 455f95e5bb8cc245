"""Spans of time: what people write is what they get, and nothing else is guessed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuboard.errors import InvalidRequest
from gpuboard.model.durations import MAX_S, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90m", 5400),
        ("2h30m", 9000),
        ("1d12h", 129_600),
        ("1h 30m", 5400),
        (" 1 h 30 min ", 5400),
        ("1.5h", 5400),
        (".5h", 1800),
        ("0.5m", 30),
        ("45s", 45),
        ("2W", 14 * 86400),
        ("3 days", 3 * 86400),
        ("1hour", 3600),
        ("90", 5400),
        ("1.5", 90),
        (90, 5400),
        ("30:00", 1800),
        ("2:00:00", 7200),
        ("100:00:00", 360_000),
        ("1-12:00:00", 129_600),
        ("1-0", 86400),
        ("1-12:30", 131_400),
    ],
)
def test_spans_are_read_as_people_and_slurm_write_them(text, seconds):
    """A bare number is minutes, `M:S` and `D-H` are Slurm's."""
    assert parse_duration(text, field="--time") == seconds


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "0", "0m", "0:00:00", "-5", "-5m", -5, 0, "soon", "5x", "5mm", "1h30", "h", "1:60:00",
        "1:2:60", "1-24:00:00", "1:2:3:4", "1-", "\u0663m", "5m; rm", "1e3m", "nan", "inf", "0.001s", True,
        "9" * 60, "9" * 5000, MAX_S, 10**40, "36501d", "5\x1b[31mm", "\ud800",
    ],
)  # fmt: skip
def test_what_is_not_a_span_is_refused_with_field_value_and_forms(text):
    """The person can mend it from the message alone; the message is safe to print."""
    with pytest.raises(InvalidRequest) as caught:
        parse_duration(text, field="--time")
    assert caught.value.field == "--time"
    assert caught.value.message.startswith("--time: '")
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 150
    assert "2h30m" in caught.value.hint


@given(st.integers(1, MAX_S))
def test_every_span_survives_being_written(seconds):
    """parse(format(x)) == x."""
    assert parse_duration(format_duration(seconds), field="x") == seconds


@given(st.one_of(st.text(max_size=30), st.from_regex(r"[0-9dhms:. -]{1,16}", fullmatch=True)))
def test_any_text_is_a_span_or_an_invalid_request(text):
    """Nothing else comes out, whatever goes in."""
    try:
        assert 1 <= parse_duration(text, field="x") <= MAX_S
    except InvalidRequest:
        pass


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (45, "45s"),
        (5400, "1h30m"),
        (90_061, "1d1h1m1s"),
        (-300, "-5m"),
        (7 * 86400, "7d"),
    ],
)
def test_spans_are_written_with_the_units_that_matter(seconds, text):
    """No zero parts, largest unit first."""
    assert format_duration(seconds) == text

"""Instants: ISO for machines, the wall clock for people, changes of the clocks included."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuboard.errors import InvalidRequest
from gpuboard.model.instants import format_local, from_iso, iso, parse_instant

NOW = from_iso("2026-11-22T20:15:00Z")  # a Sunday


def at(text, *, now=NOW, zone="UTC"):
    return iso(parse_instant(text, now_ms=now, zone=zone, field="--begin"))


def test_machines_get_utc_with_millis_only_when_there_are_some():
    """2026-11-22T20:01:00Z; None stays None."""
    assert iso(1_795_377_660_000) == "2026-11-22T20:01:00Z"
    assert iso(1_795_377_660_007) == "2026-11-22T20:01:00.007Z"
    assert iso(0) == "1970-01-01T00:00:00Z"
    assert iso(-1) == "1969-12-31T23:59:59.999Z"
    assert iso(None) is None


FIRST = int(datetime(1, 1, 1, tzinfo=UTC).timestamp()) * 1000
LAST = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()) * 1000


@given(st.integers(FIRST, LAST))
def test_every_instant_survives_iso_and_agrees_with_datetime(ms):
    """from_iso(iso(x)) == x, and the calendar is Python's."""
    assert from_iso(iso(ms)) == ms
    seconds, millis = divmod(ms, 1000)
    whole = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
    assert iso(ms) == whole + (f".{millis:03}" if millis else "") + "Z"


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-11-22T20:01:00+01:00", "2026-11-22T19:01:00Z"),
        ("2026-11-22 20:01-0330", "2026-11-22T23:31:00Z"),
        ("2026-11-22t20:01:00.5z", "2026-11-22T20:01:00.500Z"),
        ("2026-11-22T20:01:00.123456789Z", "2026-11-22T20:01:00.123Z"),
    ],
)
def test_offsets_and_fractions_are_read(text, instant):
    """ISO-8601 with an offset is one instant wherever it is read."""
    assert iso(from_iso(text)) == instant
    assert at(text, zone="Asia/Tokyo") == instant


@pytest.mark.parametrize(
    "text",
    ["", "2026-11-22", "2026-11-22T20:01:00", "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z",
     "2026-11-22T24:00:00Z", "2026-11-22T20:61:00Z", "0000-01-01T00:00:00Z", "2026-11-22T20:01:00+99:00",
     "\u0662026-11-22T20:01:00Z", "x" * 1000],
)  # fmt: skip
def test_what_is_no_exact_instant_is_refused(text):
    """Machines must be exact: no offset, no instant."""
    with pytest.raises(InvalidRequest):
        from_iso(text)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("now", "2026-11-22T20:15:00Z"),
        ("NOW+1h", "2026-11-22T21:15:00Z"),
        ("now + 1h 30m", "2026-11-22T21:45:00Z"),
        ("now+1hour", "2026-11-22T21:15:00Z"),
        ("+90m", "2026-11-22T21:45:00Z"),
        ("in 90m", "2026-11-22T21:45:00Z"),
        ("2h ago", "2026-11-22T18:15:00Z"),
        ("now-1d", "2026-11-21T20:15:00Z"),
        ("21:00", "2026-11-22T21:00:00Z"),
        ("14:30", "2026-11-23T14:30:00Z"),
        ("20:15", "2026-11-23T20:15:00Z"),
        ("9am", "2026-11-23T09:00:00Z"),
        ("9:30 pm", "2026-11-22T21:30:00Z"),
        ("12am", "2026-11-23T00:00:00Z"),
        ("noon", "2026-11-23T12:00:00Z"),
        ("midnight", "2026-11-23T00:00:00Z"),
        ("today 18:00", "2026-11-22T18:00:00Z"),
        ("today", "2026-11-22T00:00:00Z"),
        ("tomorrow", "2026-11-23T00:00:00Z"),
        ("tomorrow 09:00", "2026-11-23T09:00:00Z"),
        ("Tomorrow at 9am", "2026-11-23T09:00:00Z"),
        ("yesterday 09:00", "2026-11-21T09:00:00Z"),
        ("mon 09:00", "2026-11-23T09:00:00Z"),
        ("monday", "2026-11-23T00:00:00Z"),
        ("next Thurs 8:05", "2026-11-26T08:05:00Z"),
        ("sun 21:00", "2026-11-22T21:00:00Z"),
        ("sun 20:00", "2026-11-29T20:00:00Z"),
        ("sunday", "2026-11-29T00:00:00Z"),
        ("2026-12-03", "2026-12-03T00:00:00Z"),
        ("2026-12-03T09:00", "2026-12-03T09:00:00Z"),
        ("2026-12-03 09:00:05", "2026-12-03T09:00:05Z"),
    ],
)
def test_times_are_read_as_people_say_them(text, instant):
    """A time alone is the next one, a weekday too; `today 18:00` may be past."""
    assert at(text) == instant


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a time"),
        ("soon", "not a time"),
        ("25:00", "not a time"),
        ("13pm", "not a time"),
        ("9", "not a time"),
        ("mo", "not a time"),
        ("tomorrow 9", "not a time"),
        ("2026-02-30", "not a time"),
        ("now+90", "has no unit"),
        ("now+3600", "has no unit"),
        ("now+soon", "not a span"),
        ("now*2", "not a time"),
        ("in 0m", "not longer than nothing"),
        ("\x1b[31mnow\ud800", "not a time"),
        ("x" * 10_000, "not a time"),
    ],
)
def test_what_is_no_time_is_refused_with_its_forms(text, says):
    """`now+90` too: it is seconds in Slurm and would be minutes here."""
    with pytest.raises(InvalidRequest) as caught:
        at(text)
    assert caught.value.field == "--begin"
    assert says in caught.value.message
    assert caught.value.message.isprintable()
    assert caught.value.hint


def test_the_zone_decides_what_a_wall_clock_time_means():
    """09:00 in Tokyo is midnight UTC; the day is the zone's too."""
    assert at("tomorrow 09:00", zone="Asia/Tokyo") == "2026-11-24T00:00:00Z"  # there it is the 23rd
    assert at("tomorrow 09:00", zone="America/New_York") == "2026-11-23T14:00:00Z"


@pytest.mark.parametrize(
    "zone", ["Mars/Phobos", "../../etc/passwd", "/etc/passwd", "Europe", "\0", "x" * 999, " "]
)
def test_a_zone_that_does_not_exist_is_refused(zone):
    """A zone's name becomes a path: a hostile one is an invalid request, nothing else."""
    with pytest.raises(InvalidRequest) as caught:
        at("09:00", zone=zone)
    assert caught.value.field == "timezone"


def test_a_time_that_the_clocks_skip_is_moved_on():
    """02:30 in the night of the spring change becomes 03:30 (RFC 5545)."""
    before = from_iso("2026-03-28T12:00:00Z")
    assert at("2026-03-29 02:30", now=before, zone="Europe/Berlin") == "2026-03-29T01:30:00Z"
    assert at("2026-03-29 03:00", now=before, zone="Europe/Berlin") == "2026-03-29T01:00:00Z"


def test_of_a_time_that_comes_twice_the_first_that_is_ahead_is_meant():
    """In the night of the autumn change 02:30 is 00:30 UTC, and once that is past, 01:30 UTC."""
    before, between = from_iso("2026-10-24T12:00:00Z"), from_iso("2026-10-25T00:45:00Z")
    assert at("2026-10-25 02:30", now=before, zone="Europe/Berlin") == "2026-10-25T00:30:00Z"
    assert at("02:30", now=between, zone="Europe/Berlin") == "2026-10-25T01:30:00Z"
    after = from_iso("2026-10-25T01:40:00Z")
    assert at("2026-10-25 02:30", now=after, zone="Europe/Berlin") == "2026-10-25T00:30:00Z"


def test_a_day_on_which_the_clocks_change_is_as_long_as_it_is():
    """`tomorrow 09:00` is 09:00 on the wall, 23 hours after today's."""
    before = from_iso("2026-03-28T08:00:00Z")  # 09:00 in Berlin
    assert at("tomorrow 09:00", now=before, zone="Europe/Berlin") == "2026-03-29T07:00:00Z"


def test_years_beyond_the_calendar_are_refused():
    """The last day of the calendar has no tomorrow."""
    last = from_iso("9999-12-31T23:00:00Z")
    with pytest.raises(InvalidRequest):
        at("22:00", now=last)


@pytest.mark.parametrize(
    ("instant", "said"),
    [
        ("2026-11-22T14:10:00Z", "14:10"),
        ("2026-11-23T09:00:00Z", "tomorrow 09:00"),
        ("2026-11-21T09:00:00Z", "yesterday 09:00"),
        ("2026-11-24T09:00:00Z", "Tue 09:00"),
        ("2026-11-28T09:00:00Z", "Sat 09:00"),
        ("2026-11-29T09:00:00Z", "2026-11-29 09:00"),
        ("2026-11-20T09:00:00Z", "2026-11-20 09:00"),
        ("2026-12-03T09:00:00Z", "2026-12-03 09:00"),
    ],
)
def test_people_are_told_the_shortest_unmistakable_time(instant, said):
    """A weekday is always one of the coming six days."""
    assert format_local(from_iso(instant), NOW, "UTC") == said


def test_an_instant_beyond_the_calendar_is_shown_all_the_same():
    """No view breaks on a number that no calendar has."""
    assert format_local(10**18, NOW) == iso(10**18)


@given(
    st.integers(0, 20 * 365 * 24 * 60),
    st.integers(0, 400),
    st.sampled_from(["UTC", "Asia/Tokyo", "Europe/Berlin"]),
)
def test_what_is_told_of_the_future_is_read_back(now_minutes, days, zone):
    """A person may type what a screen shows, to the minute (but for the hour that comes twice)."""
    now = now_minutes * 60_000
    later = now + days * 86_400_000 + 60_000
    read = parse_instant(format_local(later, now, zone), now_ms=now, zone=zone, field="x")
    assert read in (later, later - 3_600_000)


@given(st.one_of(st.text(max_size=40), st.from_regex(r"[0-9a-z:+ -]{1,20}", fullmatch=True)))
def test_any_text_is_a_time_or_an_invalid_request(text):
    """Nothing else comes out, whatever goes in; the host's own zone included."""
    try:
        assert isinstance(parse_instant(text, now_ms=NOW, field="x"), int)
    except InvalidRequest:
        pass

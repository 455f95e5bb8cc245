"""Sizes: Docker's words, Docker's meaning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuboard.errors import InvalidRequest
from gpuboard.model.sizes import MAX_BYTES, format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("16g", 2**34),
        ("16G", 2**34),
        ("16GB", 2**34),
        ("16GiB", 2**34),
        ("1.5 GiB", 3 * 2**29),
        ("512m", 2**29),
        ("64k", 2**16),
        ("1t", 2**40),
        ("100b", 100),
        ("100 bytes", 100),
        ("4096", 4096),
        (4096, 4096),
        (" 1g ", 2**30),
    ],
)
def test_sizes_are_read_as_docker_reads_them(text, size):
    """Every unit is a power of 1024, a bare number is bytes."""
    assert parse_size(text, field="--memory") == size


@pytest.mark.parametrize(
    "text",
    ["", "0", "0g", "-1g", -1, 0, "g", "1gg", "1 g b", "1e9", "nan", "\u0661g", True, "9" * 60, 10**40,
     MAX_BYTES + 1, "2000p", "1g\0", "\ud800"],
)  # fmt: skip
def test_what_is_not_a_size_is_refused_with_field_value_and_forms(text):
    """Zero too: to an engine it means no limit."""
    with pytest.raises(InvalidRequest) as caught:
        parse_size(text, field="--memory")
    assert caught.value.field == "--memory"
    assert caught.value.message.startswith("--memory: '")
    assert caught.value.message.isprintable()
    assert "16g" in caught.value.hint


@given(st.integers(1, 1023), st.sampled_from("BKMGT"))
def test_whole_sizes_survive_being_written(count, unit):
    """A whole number of a unit is written exactly."""
    size = count * 1024 ** "BKMGT".index(unit)
    assert format_size(size) == f"{count}{unit}"
    assert parse_size(format_size(size), field="x") == size


@given(st.integers(1, MAX_BYTES))
def test_a_written_size_is_near_the_size(size):
    """At most one decimal is lost, and the text is always a size."""
    assert parse_size(format_size(size), field="x") == pytest.approx(size, rel=0.051)


@given(st.text(max_size=30))
def test_any_text_is_a_size_or_an_invalid_request(text):
    """Nothing else comes out, whatever goes in."""
    try:
        assert 1 <= parse_size(text, field="x") <= MAX_BYTES
    except InvalidRequest:
        pass


def test_sizes_are_short_on_screens():
    """One decimal at most, and never 1024 of a unit."""
    assert format_size(0) == "0B"
    assert format_size(85_520_809_984) == "79.6G"
    assert format_size(2**30 - 1) == "1G"
    assert format_size(-(2**20)) == "-1M"

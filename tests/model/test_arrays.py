"""Arrays: Slurm's words; a short text never becomes a huge list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuboard.errors import InvalidRequest
from gpuboard.model.arrays import MAX_INDICES, parse_array


@pytest.mark.parametrize(
    ("text", "indices", "limit"),
    [
        ("0-9%2", tuple(range(10)), 2),
        ("1,3,5", (1, 3, 5), None),
        ("0-20:5", (0, 5, 10, 15, 20), None),
        ("7", (7,), None),
        ("3,1-2,2", (1, 2, 3), None),
        (" 0 - 2 , 5 % 1 ", (0, 1, 2, 5), 1),
    ],
)
def test_arrays_are_read_as_slurm_reads_them(text, indices, limit):
    """Indices come sorted, each once, with how many may run at once."""
    assert parse_array(text) == (indices, limit)


@pytest.mark.parametrize(
    "text",
    ["", "a", "1-", "-1", "5-3", "0-9%0", "0-9:0", "1,,2", "0-9%", "0-99999999", "0-2147483648",
     "9" * 20, "1," * 9000, "\u0661", "1\x1b[31m", "0-50000,0-50000"],
)  # fmt: skip
def test_what_is_no_array_is_refused_with_its_forms(text):
    """Backwards, empty, too many: each is said before a list is made."""
    with pytest.raises(InvalidRequest) as caught:
        parse_array(text, field="--array")
    assert caught.value.field == "--array"
    assert caught.value.message.isprintable()
    assert "0-9%2" in caught.value.hint


@given(st.sets(st.integers(0, 10**6), min_size=1, max_size=50), st.none() | st.integers(1, 99))
def test_every_list_of_indices_survives_being_written(indices, limit):
    """parse(write(x)) == x."""
    text = ",".join(map(str, indices)) + (f"%{limit}" if limit else "")
    assert parse_array(text) == (tuple(sorted(indices)), limit)


@given(st.one_of(st.text(max_size=20), st.from_regex(r"[0-9,:% -]{1,12}", fullmatch=True)))
def test_any_text_is_an_array_or_an_invalid_request(text):
    """Nothing else comes out, and never more than can be kept."""
    try:
        indices, limit = parse_array(text)
    except InvalidRequest:
        return
    assert 1 <= len(indices) <= MAX_INDICES
    assert limit is None or limit >= 1

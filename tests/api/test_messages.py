"""The wire's words: every error has its status, every refusal its field."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuboard import errors
from gpuboard.api.messages import decode, decode_query, encode_error, status_of
from gpuboard.api.queries import JobsQuery
from gpuboard.model.requests import SubmitRequest


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.InvalidRequest, 400),
        (errors.PermissionDenied, 403),
        (errors.NotFound, 404),
        (errors.Conflict, 409),
        (errors.Refused, 422),
        (errors.QuotaExceeded, 422),
        (errors.Unavailable, 503),
        (errors.HostError, 503),
        (errors.OutcomeUnknown, 503),
        (errors.StateError, 500),
        (errors.GpuboardError, 500),
    ],
)
def test_each_error_has_its_status(kind: type[errors.GpuboardError], status: int):
    assert status_of(kind("x")) == status


def test_an_error_s_body_always_has_all_four_keys():
    body = json.loads(encode_error(errors.Unavailable("gone")))
    assert body == {"error": {"code": "unavailable", "message": "gone", "hint": "", "field": ""}}


def test_no_body_is_an_empty_request():
    assert decode(b"", SubmitRequest) == SubmitRequest()


def test_lists_may_be_repeated_or_separated_by_commas():
    query = decode_query({"state": ["queued,running", "failed"]}, JobsQuery)
    assert query.state == ["queued", "running", "failed"]


def test_a_value_given_twice_is_refused():
    with pytest.raises(errors.InvalidRequest, match="more than once"):
        decode_query({"limit": ["1", "2"]}, JobsQuery)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_an_invalid_request(body: bytes):
    with contextlib.suppress(errors.InvalidRequest):
        assert isinstance(decode(body, SubmitRequest), SubmitRequest)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = st.sampled_from(["gpus", "command", "env", "mounts", "time_limit", "image", "cpus", "x"])


@given(st.dictionaries(FIELDS, VALUES, max_size=4))
def test_any_json_is_a_request_or_an_invalid_request(body: dict[str, object]):
    with contextlib.suppress(errors.InvalidRequest):
        assert isinstance(decode(json.dumps(body).encode(), SubmitRequest), SubmitRequest)

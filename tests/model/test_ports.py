"""Ports as people write them."""

from __future__ import annotations

import pytest

from gpuboard.errors import InvalidRequest
from gpuboard.model.ports import parse_port, parse_ports, parse_range, tunnel


@pytest.mark.parametrize("text", ["8888", 8888, " 8888 ", "8888/tcp", "8888/TCP"])
def test_a_containers_port_is_a_number_with_or_without_tcp(text):
    assert parse_port(text) == 8888


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("20017:8888", "name the container's port alone"),
        ("0.0.0.0:80:8888", "name the container's port alone"),
        ("127.0.0.1::8888", "name the container's port alone"),
        ("[::]:80:80", "name the container's port alone"),
        ("8000-8100", "name the container's port alone"),
        ("8888/udp", "only TCP"),
        ("8888/sctp", "only TCP"),
        ("8888/", "only TCP"),
        ("", "is no port"),
        ("0", "is no port"),
        (0, "is no port"),
        ("65536", "is no port"),
        ("9" * 5000, "is no port"),
        ("-1", "name the container's port alone"),
        ("8888.0", "is no port"),
        ("²", "is no port"),
        ("8 888", "is no port"),
        ("http", "is no port"),
    ],
)
def test_whatever_names_a_port_of_the_box_or_another_protocol_is_refused_in_words(text, words):
    """Docker's longer forms would let a person choose where on the box something listens."""
    with pytest.raises(InvalidRequest, match=words) as raised:
        parse_port(text)
    assert raised.value.field == "ports"
    assert len(raised.value.message) < 200
    assert raised.value.hint


def test_a_port_named_twice_is_refused():
    with pytest.raises(InvalidRequest, match="8888 is named twice"):
        parse_ports(["8888", "6006", "8888/tcp"])


def test_a_range_has_both_its_ends_and_no_port_that_only_root_may_open():
    assert parse_range("20000-20002", field="x") == range(20000, 20003)
    assert not parse_range("", field="x")
    for text in (
        "80-90",
        "1023-2000",
        "20002-20000",
        "20000-70000",
        "20000",
        "a-b",
        "1-2-3",
        "٢٠٠٠٠-٢٠٩٩٩",
    ):
        with pytest.raises(InvalidRequest, match="is no range of ports"):
            parse_range(text, field="x")


def test_a_tunnel_begins_where_everybody_may_listen():
    """A container's port 80 is reached by the box's number: over there it could not be opened."""
    assert tunnel([(8888, 20017), (80, 20018)], "ann@box2") == (
        "ssh -L 8888:127.0.0.1:20017 -L 20018:127.0.0.1:20018 ann@box2"
    )
    assert not tunnel([], "box2")

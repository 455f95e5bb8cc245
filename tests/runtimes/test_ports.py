"""Ports of containers: what may be asked for, and what the engine is asked for."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gpuboard.errors import (
    CannotStartNow,
    InvalidRequest,
    PortTaken,
    Refused,
    StateError,
)
from gpuboard.model.job import PublishedPort, RuntimeName
from gpuboard.runtimes.docker_words import refusal
from gpuboard.runtimes.ports import is_taken
from gpuboard.runtimes.profile import container_profile
from gpuboard.runtimes.sandbox import check_submission
from tests.runtimes.test_sandbox import BOB, SETTINGS, request, spec

ON_20 = (
    "driver failed programming external connectivity on endpoint gb-7-1 (effd96):"
    " Bind for 127.0.0.1:20017 failed: port is already allocated"
)
PROXY = (
    "driver failed programming external connectivity on endpoint gb-7-1 (b12):"
    " Error starting userland proxy: listen tcp4 127.0.0.1:20018: bind: address already in use"
)
ON_28 = (
    "failed to set up container networking: driver failed programming external connectivity on"
    " endpoint gb-7-1 (b12): failed to bind host port for 127.0.0.1:20018:172.18.0.2:80/tcp:"
    " address already in use"
)


def test_ports_may_be_asked_for():
    check_submission(spec(ports=(8888, 80, 65535)), BOB, SETTINGS)


@pytest.mark.parametrize(
    ("settings", "fields", "kind", "words"),
    [
        ({"network": "none"}, {"ports": (8888,)}, Refused, "no network"),
        ({"port_range": ""}, {"ports": (8888,)}, Refused, "no ports are published"),
        ({}, {"ports": tuple(range(1, 1001))}, InvalidRequest, "1000 ports: at most 8"),
        ({}, {"ports": (8888, 8888)}, InvalidRequest, "twice"),
        ({}, {"ports": (0,)}, InvalidRequest, "no port"),
        ({}, {"ports": (65536,)}, InvalidRequest, "no port"),
        (
            {},
            {"ports": (8888,), "runtime": RuntimeName.PROCESS, "image": ""},
            InvalidRequest,
            "listens on the box itself",
        ),
    ],
)
def test_ports_are_refused_at_submission_with_the_way_out(settings, fields, kind, words):
    """Where nothing can be published the person hears it at once, and not from a failed start."""
    with pytest.raises(kind, match=words) as raised:
        check_submission(spec(**fields), BOB, replace(SETTINGS, **settings))
    assert raised.value.field == "ports"


def profile(network: str = "net-id", **fields: object) -> dict:
    settings = replace(SETTINGS, network="none" if network == "none" else "bridge")
    return container_profile(request(**fields), settings, box_id="box", mounts=(), network=network)


def test_ports_are_published_on_loopback_alone():
    """127.0.0.1 and TCP are not anybody's to change; what was not asked for is not exposed."""
    body = profile(ports=(PublishedPort(8888, 20017),))
    assert body["ExposedPorts"] == {"8888/tcp": {}}
    assert body["HostConfig"]["PortBindings"] == {
        "8888/tcp": [{"HostIp": "127.0.0.1", "HostPort": "20017"}]
    }
    plain = profile()
    assert "ExposedPorts" not in plain
    assert "PortBindings" not in plain["HostConfig"]
    assert not plain["HostConfig"].get("PublishAllPorts")


def test_containers_join_their_persons_network_or_none():
    """Never the engine's default bridge, on which everybody's containers meet."""
    assert profile()["HostConfig"]["NetworkMode"] == "net-id"
    assert profile(network="none")["HostConfig"]["NetworkMode"] == "none"


def test_what_a_stored_attempt_has_is_looked_at_again():
    """A row of the database is no reason to open a port of root's, or any where there is no network."""
    with pytest.raises(StateError):
        profile(ports=(PublishedPort(8888, 80),))
    with pytest.raises(Refused):
        profile(network="none", ports=(PublishedPort(8888, 20017),))


@pytest.mark.parametrize("words", [ON_20, PROXY, ON_28])
def test_engines_words_for_a_taken_port_are_known(words):
    """Of 20.10, of its proxy, and of 28."""
    assert is_taken(words)


@pytest.mark.parametrize(
    "words",
    [
        'OCI runtime create failed: exec: "port is already allocated": executable file not found',
        f'exec: "{ON_20}": executable file not found in $PATH',
        "driver failed programming external connectivity on endpoint gb-7-1 (b1): iptables failed",
    ],
)
def test_a_job_cannot_feign_a_taken_port(words):
    """A command by that name would send its job round for ever."""
    assert not is_taken(words)


def test_a_taken_port_and_a_lack_of_networks_are_the_boxs():
    """Both can be tried again; the second says what the admin can do."""
    assert isinstance(refusal("starting", 500, ON_20), PortTaken)
    gone = refusal("starting", 404, "network gb-net-1001 not found")
    assert type(gone) is CannotStartNow
    words = "could not find an available, non-overlapping IPv4 address pool among the defaults"
    lack = refusal("making the network", 500, words)
    assert type(lack) is CannotStartNow
    assert "default-address-pools" in lack.hint

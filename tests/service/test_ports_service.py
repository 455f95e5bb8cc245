"""Ports through the services: what may be asked for, and who is told where they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from gpuboard.config import Config, DockerConfig
from gpuboard.engine import portdesk
from gpuboard.engine.protocol import Vetted
from gpuboard.errors import InvalidRequest, Refused
from gpuboard.model.requests import SubmitRequest
from gpuboard.model.views.jobs import PortView
from gpuboard.service.services import Services
from tests.support.engine import Box
from tests.support.services import AS_ADMIN, AS_ANN, AS_BEN, services_over


@pytest.fixture
def docker_services(tmp_path: Path) -> Iterator[Services]:
    """Services of a box whose jobs are containers (of an engine that is not there)."""
    box = Box(tmp_path / "docker-state", config=Config())
    yield services_over(box)
    box.store.close()


def asked(*ports: str | int, **fields: object) -> SubmitRequest:
    return SubmitRequest(image="lab/notebook:1", ports=list(ports), **fields)


def test_ports_are_asked_for_by_the_containers_number(docker_services: Services) -> None:
    """The queue shows which, and that where they lead is not known before the start."""
    made = docker_services.jobs.submit(AS_ANN, asked("8888", "6006/tcp", 7007))
    assert made.jobs[0].ports == [PortView(8888), PortView(6006), PortView(7007)]


def test_a_dry_run_carries_the_ports_in_its_command_line(docker_services: Services) -> None:
    """What one copies asks for the same."""
    work = docker_services.jobs.dry_run(AS_ANN, asked("8888", "6006"))
    assert "--publish 8888 --publish 6006" in work()().command_line


@pytest.mark.parametrize(
    "ports",
    [
        ("80:8888",),
        ("0.0.0.0:20017:8888",),
        ("20017:8888",),
        ("8888/udp",),
        ("8888", 8888),
        tuple(range(1, 1001)),
        (0,),
        (70000,),
        ("",),
    ],
    ids=lambda ports: str(ports)[:24],
)
def test_attacks_by_ports_are_refused_with_nothing_stored(
    docker_services: Services, ports: tuple[str | int, ...]
) -> None:
    """A port or address of the box, another protocol, twice, a thousand, none (SAFETY.md B5)."""
    with pytest.raises(InvalidRequest) as raised:
        docker_services.jobs.submit(AS_ANN, asked(*ports))
    assert raised.value.field == "ports"
    assert docker_services.jobs.live(AS_ADMIN).total == 0


def test_a_network_that_cannot_publish_refuses_at_submission(tmp_path: Path) -> None:
    """Not hours later, when the job would start."""
    config = replace(Config(), docker=DockerConfig(network="none"))
    box = Box(tmp_path / "closed", config=config)
    with pytest.raises(Refused, match="no network") as raised:
        services_over(box).jobs.submit(AS_ANN, asked(8888))
    assert "network" in raised.value.hint
    box.store.close()


def test_a_process_has_nothing_to_publish(docker_services: Services) -> None:
    request = SubmitRequest(command=["jupyter"], runtime="process", ports=[8888])
    with pytest.raises(InvalidRequest, match="listens on the box itself"):
        docker_services.jobs.submit(AS_ANN, request)


def test_where_ports_lead_is_told_to_the_owner_and_admins_alone(
    box: Box, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the job runs; nobody needs to know whose notebook listens, and afterwards nothing does."""
    monkeypatch.setattr(portdesk, "is_free", lambda _port: True)
    box.engine.vet_with(lambda _job: Vetted())  # simulated jobs have no ports by the rules
    job_id = box.submit(ports=(8888,))
    box.settle()
    for caller in (AS_ANN, AS_ADMIN):
        assert services.jobs.show(caller, str(job_id)).job.ports == [PortView(8888, 20000)]
        assert services.jobs.live(caller).jobs[0].ports == [PortView(8888, 20000)]
    assert services.jobs.show(AS_BEN, str(job_id)).job.ports == []
    assert services.jobs.live(AS_BEN).jobs[0].ports == []
    box.advance(120)
    assert services.jobs.show(AS_ANN, str(job_id)).job.ports == [PortView(8888)]

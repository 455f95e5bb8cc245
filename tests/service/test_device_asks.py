"""What may be asked of devices, and how shared ones are shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuboard.config import Config, PolicyConfig
from gpuboard.errors import InvalidRequest
from gpuboard.model.device import DeviceLink, LinkKind
from gpuboard.model.instants import iso
from gpuboard.model.requests import DrainRequest, SubmitRequest, UpdateRequest
from gpuboard.runtimes.simulated import Script
from gpuboard.service.services import Services
from gpuboard.service.timeline import timeline
from tests.support.engine import Box, uuid
from tests.support.services import AS_ADMIN, AS_ANN, AS_BEN, services_over, simulated_config

GIB = 2**30


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """Four GPUs of 16 GiB, 0 and 1 linked by NVLink; anybody may share."""
    config = simulated_config(
        Config(policy=PolicyConfig(sharing="all")), state_dir=str(tmp_path / "state")
    )
    found = Box(tmp_path / "state", config=config, script=lambda _request: Script(run_s=5000))
    found.probe.links = (
        DeviceLink(uuid(0), uuid(1), LinkKind.NVLINK, 4),
        DeviceLink(uuid(1), uuid(2), LinkKind.SYS),
    )
    found.settle()
    yield found
    found.store.close()


@pytest.fixture
def services(box: Box) -> Services:
    """The services over it."""
    return services_over(box)


def ask(**fields) -> SubmitRequest:
    return SubmitRequest(command=["x"], **fields)


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"gpu_memory": "16G"}, "gpu_memory", "the largest GPU that would do has 15G to share (1G is kept)"),
        ({"gpu_memory": "1G", "gpus": 2}, "gpu_memory", "a job that shares a GPU has one, not 2"),
        ({"gpu_memory": "1G", "gpus": 0}, "gpu_memory", "a job that shares a GPU has one, not 0"),
        ({"gpu_memory": "1G", "preemptible": True}, "gpu_memory", "has its GPU to itself"),
        ({"gpu_memory": "much"}, "gpu_memory", "is not a size"),
        ({"nvlink": True, "gpus": 3}, "nvlink", "3 GPUs wanted, of this box at most 2 that would do are linked"),
        ({"nvlink": True, "gpu_ids": ["1", "2"]}, "nvlink", "none of this box that would do are linked"),
    ],
)  # fmt: skip
def test_what_the_box_can_never_give_is_refused_at_once(
    services: Services, fields: dict, field: str, words: str
) -> None:
    """With the field, the number that is there, and no job in the queue."""
    with pytest.raises(InvalidRequest) as refused:
        services.jobs.submit(AS_ANN, ask(**fields))
    assert refused.value.field == field
    assert words in refused.value.message
    assert not services.jobs.live(AS_ANN).jobs


def test_a_box_that_shares_nothing_or_knows_no_links_says_so(tmp_path: Path) -> None:
    """And what to do about it."""
    config = simulated_config(
        Config(policy=PolicyConfig(sharing="off")), state_dir=str(tmp_path / "state")
    )
    box = Box(tmp_path / "state", config=config)
    box.settle()
    services = services_over(box)
    with pytest.raises(InvalidRequest, match="no GPU is shared on this box"):
        services.jobs.submit(AS_ANN, ask(gpu_memory="1G"))
    with pytest.raises(InvalidRequest, match="does not say how the GPUs of this box are linked"):
        services.jobs.submit(AS_ANN, ask(nvlink=True, gpus=2))
    assert services.jobs.submit(AS_ANN, ask(nvlink=True)).ids  # one GPU needs no link
    box.store.close()


def test_the_board_says_who_shares_a_device_with_which_budgets(
    box: Box, services: Services
) -> None:
    """Each job with its budget, what it uses, until when; the owner's words for both people."""
    [mine] = services.jobs.submit(AS_ANN, ask(gpu_memory="6G", name="small", time_limit="1h")).ids
    [theirs] = services.jobs.submit(AS_BEN, ask(gpu_memory="8G", time_limit="2h")).ids
    box.settle()
    box.probe.memory[box.job(mine).runtime_name] = 5 * GIB
    box.settle()
    [device] = [found for found in services.board.board(AS_BEN).devices if found.sharers]
    assert device.label not in ("0", "1")  # the linked pair is left to others
    assert (device.state, device.user, device.mine) == ("leased", "ann, ben", True)
    assert device.state_words == "shared by 2 jobs, 14G of 15G"
    assert (device.given_bytes, device.shareable_bytes) == (14 * GIB, 15 * GIB)
    first, second = device.sharers
    assert (first.user, first.mine, first.job_id, first.job_name) == ("ann", False, mine, "small")
    assert (first.memory_bytes, first.used_bytes) == (6 * GIB, 5 * GIB)
    assert (second.user, second.mine, second.job_id) == ("ben", True, theirs)
    assert device.until_at == second.until_at > first.until_at
    shown = services.jobs.show(AS_ANN, str(mine)).job
    assert (shown.gpu_memory_bytes, shown.nvlink) == (6 * GIB, False)
    assert {row.user: row.running_gpus for row in services.board.usage(AS_ANN).people} == {
        "ann": 1, "ben": 1,
    }  # fmt: skip


def test_the_timeline_shows_a_sharer_as_one_bar(box: Box, services: Services) -> None:
    """Although its lease was opened anew when company came."""
    ids = [services.jobs.submit(AS_ANN, ask(gpu_memory="4G")).ids[0]]
    box.settle()
    began_at = box.job(ids[0]).leased_at
    box.advance(60)
    ids += services.jobs.submit(AS_ANN, ask(gpu_memory="4G")).ids
    box.settle()
    now = box.clock.now_ms()
    line = timeline(box.engine, AS_ANN, now, now - 3600_000, now + 3600_000)()
    bars = {bar.job_id: bar for bar in line.entries if bar.job_id is not None}
    assert len(line.entries) == len(bars) == 2
    assert bars[ids[0]].from_at == iso(began_at)


def test_a_change_that_could_never_start_is_refused(services: Services) -> None:
    """A queued job that shares stays one of one GPU."""
    [job_id] = services.jobs.submit(AS_ANN, ask(gpu_memory="6G", hold=True)).ids
    for change in ({"gpus": 2}, {"preemptible": True}):
        [result] = services.jobs.update(AS_ANN, UpdateRequest([str(job_id)], **change)).results
        assert not result.ok
        assert "--gpu-mem 6G" in result.words


def test_a_sharers_longer_limit_is_refused_only_where_somebody_waits_for_the_device(
    box: Box, services: Services
) -> None:
    """As long as another one shares the device anyway, it costs nobody anything."""
    [short] = services.jobs.submit(AS_ANN, ask(gpu_memory="6G", time_limit="1h")).ids
    [long] = services.jobs.submit(AS_BEN, ask(gpu_memory="6G", time_limit="3h")).ids
    wide = services.jobs.submit(AS_BEN, ask(gpus=4, time_limit="1h")).ids[0]
    box.settle()
    assert [box.state(job) for job in (short, long, wide)] == ["running", "running", "queued"]

    def longer(job_id: int, limit: str) -> bool:
        request = UpdateRequest([str(job_id)], time_limit=limit)
        return services.jobs.update(AS_ANN, request).results[0].ok

    assert longer(short, "3h")
    assert not longer(short, "4h")


def test_the_topology_names_each_pair_once_and_the_linked_sets(services: Services) -> None:
    """With labels, as people know their GPUs."""
    found = services.board.topology(AS_ANN)
    assert [device.label for device in found.devices] == ["0", "1", "2", "3"]
    assert [(link.a, link.b, link.kind, link.words) for link in found.links] == [
        ("0", "1", "NV", "NV4"), ("1", "2", "SYS", "SYS"),
    ]  # fmt: skip
    assert found.nvlink_sets == [["0", "1"]]


def test_a_split_gpu_is_drained_by_its_number(box: Box, services: Services) -> None:
    """`drain 0` means all that it is split into; a job names the instances themselves."""
    import msgspec

    from gpuboard.model.device import DeviceKind

    whole = box.probe._reading

    def split(index: int):
        reading = whole(index)
        if index > 1:
            return reading
        part = msgspec.structs.replace(
            reading.device,
            index=0,
            kind=DeviceKind.MIG,
            parent="GPU-parent",
            mig_label=f"0:{index}",
        )
        return msgspec.structs.replace(reading, device=part)

    box.probe._reading = split
    box.settle()
    done = services.admin.drain(AS_ADMIN, DrainRequest(["0"], "fan"))
    assert done.words.startswith("GPU 0:0,0:1: out of service")
    with pytest.raises(InvalidRequest, match="there is no device '0'"):
        services.jobs.submit(AS_ANN, ask(gpu_ids=["0"]))
    with pytest.raises(InvalidRequest, match="this box has 2 whole GPUs"):
        services.jobs.submit(AS_ANN, ask(gpus=3))

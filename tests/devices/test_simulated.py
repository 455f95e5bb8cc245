"""The simulated box: the same story for the same seed, and figures that follow who is on a device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gpuboard.devices.scenario import (
    LAB8,
    Rogue,
    Scenario,
    Sickness,
    SimulatedDevice,
    load_scenario,
)
from gpuboard.devices.simulated import SimulatedSource
from gpuboard.errors import HostError
from gpuboard.model.device import DeviceProcess, DeviceReading, Health
from gpuboard.model.ids import DeviceUuid

T0 = 1_700_000_000_000
GIB = 2**30
PLAIN = Scenario(name="plain", devices=(SimulatedDevice("X", 10 * GIB, 3),))


class Box:
    """A simulated box whose clock and occupants a test sets."""

    def __init__(self, scenario: Scenario = PLAIN) -> None:
        self.now = T0
        self.scenario = scenario
        self.on: dict[int, list[DeviceProcess]] = {}
        self.source = SimulatedSource(scenario, occupancy=self.occupancy, clock=lambda: self.now)

    def occupancy(self) -> Mapping[DeviceUuid, Sequence[DeviceProcess]]:
        """Return who is on the devices."""
        return {self.scenario.uuid(index): on for index, on in self.on.items()}

    def at(self, seconds: float) -> tuple[DeviceReading, ...]:
        """Sweep so many seconds after the start."""
        self.now = T0 + round(seconds * 1000)
        return self.source.sweep().readings


def job(pid: int = 100, command: str = "python", started_at: int = T0) -> DeviceProcess:
    """A job's process."""
    return DeviceProcess(pid=pid, started_at=started_at, command=command, job_name=f"gb-{pid}-1")


def test_the_same_seed_tells_the_same_story() -> None:
    """Two boxes with the same inputs show the same; another seed shows another load."""
    boxes = [Box(), Box(), Box(replace(PLAIN, seed=8))]
    for box in boxes:
        box.on[0] = [job()]
    stories = [[[r.utilization for r in box.at(s)] for s in range(30, 60)] for box in boxes]
    assert stories[0] == stories[1] != stories[2]


def test_the_past_does_not_matter() -> None:
    """A board depends on the moment alone: skipped sweeps change nothing."""
    often, once = Box(), Box()
    often.on[1] = once.on[1] = [job()]
    for second in range(40):
        often.at(second)
    assert often.at(40) == once.at(40)


def test_a_job_makes_its_device_busy_full_and_warm() -> None:
    """A device with a job works, holds memory and grows warm; the others are idle and cool."""
    box = Box()
    box.on[1] = [job()]
    early, late = box.at(0)[1], box.at(60)[1]
    idle = box.at(60)[0]
    assert late.utilization is not None
    assert late.utilization > 20
    assert (idle.utilization, idle.processes) == (0, ())
    for figure in ("memory_used_bytes", "temperature_c", "power_w"):
        assert getattr(late, figure) > getattr(early, figure) or figure == "power_w"
        assert getattr(late, figure) > getattr(idle, figure)
    assert [each.pid for each in late.processes or ()] == [100]
    box.on.clear()
    assert box.at(61)[1].utilization == 0


def test_utilisation_moves() -> None:
    """A minute of work shows many different values."""
    box = Box()
    box.on[0] = [job()]
    assert len({box.at(second)[0].utilization for second in range(20, 80)}) > 8


def test_an_idle_hog_holds_memory_and_does_nothing() -> None:
    """A process that the scenario calls idle never works."""
    box = Box(replace(PLAIN, idle_commands=("notebook",)))
    box.on[0] = [job(command="notebook-since-monday")]
    readings = [box.at(second)[0] for second in range(0, 100, 7)]
    assert {each.utilization for each in readings} == {0}
    assert all(each.processes for each in readings)
    assert (readings[-1].memory_used_bytes or 0) > GIB


def test_figures_that_the_caller_knows_are_kept() -> None:
    """Memory and utilisation given by the occupancy are shown as they are."""
    box = Box()
    box.on[0] = [replace(job(), memory_bytes=GIB, utilization=17)]
    reading = box.at(50)[0]
    assert reading.utilization == 17
    assert (reading.processes or ())[0].memory_bytes == GIB


def test_a_sick_device_is_sick_for_its_time() -> None:
    """A sickness begins and ends; a lost device knows nothing."""
    box = Box(
        replace(
            PLAIN,
            sicknesses=(
                Sickness(device=1, words="too hot", from_s=10, until_s=20),
                Sickness(device=2, words="fell off the bus", from_s=5, lost=True),
            ),
        )
    )
    healths = [[each.health for each in box.at(second)] for second in (0, 10, 20)]
    ok, faulty, lost = Health.OK, Health.FAULTY, Health.LOST
    assert healths == [[ok, ok, ok], [ok, faulty, lost], [ok, ok, lost]]
    assert box.at(12)[1].fault == "too hot"
    assert box.at(12)[2].processes is None


def test_a_rogue_is_a_process_that_nobody_booked() -> None:
    """A rogue process is on its device for its time, with its own pid and person."""
    box = Box(replace(PLAIN, rogues=(Rogue(device=2, user="mallory", from_s=10, until_s=20),)))
    assert box.at(0)[2].processes == ()
    rogue = (box.at(10)[2].processes or ())[0]
    assert (rogue.user, rogue.job_name, rogue.started_at) == ("mallory", "", T0 + 10_000)
    assert rogue.pid > 4_194_304
    assert box.at(20)[2].processes == ()


def test_lab8_is_eight_devices_of_two_types_with_trouble() -> None:
    """The built-in lab has what the demo tells of."""
    readings = Box(LAB8).at(1)
    assert len(readings) == 8
    assert len({each.device.name for each in readings}) == 2
    assert [each.health for each in readings].count(Health.FAULTY) == 1
    assert [bool(each.processes) for each in readings].count(True) == 1
    assert LAB8.idle_commands


@given(
    st.floats(0, 1e6),
    st.dictionaries(
        st.integers(0, 7),
        st.lists(
            st.builds(job, st.integers(1, 9), st.text(max_size=9), st.integers(T0 - 10**9, T0)),
            max_size=5,
        ),
    ),
)
def test_every_figure_is_possible_at_every_moment(
    seconds: float, on: dict[int, list[DeviceProcess]]
) -> None:
    """Whoever sits where: percent are percent, memory fits, power is within its limit."""
    box = Box(LAB8)
    box.on = on
    for reading in box.at(seconds):
        for percent in (reading.utilization, reading.memory_utilization):
            assert percent is not None
            assert 0 <= percent <= 100
        assert 0 < (reading.memory_used_bytes or 0) <= (reading.memory_total_bytes or 0)
        assert 0 < (reading.power_w or 0) <= (reading.power_limit_w or 0)
        assert 20 < (reading.temperature_c or 0) < 95


def test_a_scenario_is_read_from_a_file(tmp_path: Path) -> None:
    """A TOML file says what a scenario is, with the same names."""
    path = tmp_path / "two.toml"
    path.write_text(
        'name = "two"\nseed = 3\n[[devices]]\nname = "T4"\nmemory_bytes = 17179869184\ncount = 2\n'
        "[[rogues]]\ndevice = 1\n"
    )
    scenario = load_scenario(str(path))
    assert len(scenario.boards()) == 2
    assert scenario.rogues[0].device == 1
    assert load_scenario("") is load_scenario("lab8") is LAB8


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = 3", "Expected `str`"),
        ('name = "x"\ncolour = "red"', "colour"),
        ("name = ", "Invalid value"),
        ('name = "x"\ndevices = []\n[[sicknesses]]\ndevice = 0', "no device 0"),
    ],
)
def test_a_wrong_scenario_is_refused_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    """A scenario file that is wrong says what is wrong with it."""
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(HostError, match=words) as caught:
        load_scenario(str(path))
    assert caught.value.field == "devices.scenario"


def test_a_scenario_that_is_not_there_names_the_built_in_ones() -> None:
    """An unknown name says which there are."""
    with pytest.raises(HostError, match="no scenario") as caught:
        load_scenario("lab9")
    assert "lab8" in caught.value.hint

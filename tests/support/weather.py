"""The weather over a simulated box: every fault of SAFETY.md C7 that a scripted world can have, by name.

Each fault takes the dice and does its harm. Most pass by themselves, after seconds or an hour;
`clear` ends them all. Faults that find nothing to harm do nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

from gpuboard.errors import HostError, Refused, Unavailable
from gpuboard.model.device import DeviceProcess, Health
from gpuboard.model.ids import DeviceUuid
from gpuboard.model.job import Job
from gpuboard.runtimes.simulated import Effect
from tests.support.engine import Box, uuid
from tests.support.folk import IMAGES, PEOPLE
from tests.support.invariants import Invariants

CALLS = ("create", "start", "signal", "save_log", "remove", "observe")
FAULTS = (
    *("lose", "lose", "lose", "lose", "down", "restart", "restart", "ghost", "remove", "kill"),
    *("jump", "probe", "probe_hung", "foreign", "unreadable", "reboot", "daemon", "remnant"),
    *("device", "missing", "disk", "locked", "hung", "image", "user", "wrong", "paused", "stuck"),
    *("greedy", "ghost", "ghost"),
)
SPANS_S = (2, 2, 5, 5, 10, 10, 20, 20, 60, 60, 300, 3600)
"""How long troubles last: mostly short, or nothing would run that they could hit."""


class Weather:
    """Does harm to one box."""

    def __init__(self, box: Box, invariants: Invariants) -> None:
        self.box = box
        self.invariants = invariants
        self.gone_people: set[int] = set()
        self._age_ms = 0
        self._passing: list[tuple[int, Callable[[], object]]] = []
        """When (age of the story, ms) what passes."""

    def strike(self, kind: str, dice: random.Random) -> str:
        """Let one fault happen; return whom it hit, for the story."""
        running = sorted(self.box.runtime.truth.processes)
        victim = dice.choice(running) if running else ""
        device = uuid(dice.randrange(self.box.probe.gpus))
        act = getattr(self, "_" + kind)
        return str(act(dice, victim, device) or "")

    def move_on(self, ms: int) -> None:
        """Let time pass over the troubles."""
        self._age_ms += ms
        for due in [due for due in self._passing if due[0] <= self._age_ms]:
            self._passing.remove(due)
            due[1]()

    def clear(self) -> None:
        """Let the engine, the driver, the disk and everybody be well again."""
        box = self.box
        for _, end in self._passing:
            end()
        self._passing.clear()
        box.runtime.lost_answers.clear()
        box.store.full_commits = box.store.locked_commits = 0
        box.runtime.missing_images.clear()

    def why_not(self, job: Job) -> str:
        """Say why the job's person may not start it any more: the engine asks before each start."""
        return f"no such user {job.owner.name}" if job.owner.uid in self.gone_people else ""

    def _passes(self, dice: random.Random, end: Callable[[], object]) -> str:
        span_s = dice.choice(SPANS_S)
        self._passing.append((self._age_ms + span_s * 1000, end))
        return f"for {span_s} s"

    # the container engine

    def _lose(self, dice, victim, device) -> str:
        call, effect = dice.choice(CALLS), dice.choice(list(Effect))
        self.box.runtime.lose(call, effect, dice.choice((1.0, 5.0, 30.0, 200.0)))
        return f"{call}, effect {effect}"

    def _hung(self, dice, victim, device) -> None:
        """An engine that hangs: every call's answer is lost for a while."""
        for call in CALLS:
            for _ in range(dice.randrange(4)):
                self.box.runtime.lose(call, dice.choice(list(Effect)), dice.choice((1.0, 30.0)))

    def _down(self, dice, victim, device) -> str:
        def up() -> None:
            self.box.runtime.is_down = False

        self.box.runtime.is_down = True
        return self._passes(dice, up)

    def _restart(self, dice, victim, device) -> str:
        live_restore = dice.random() < 0.5
        self.box.runtime.restart(live_restore=live_restore)
        return "live-restore" if live_restore else ""

    def _ghost(self, dice, victim, device) -> str:
        if victim not in self.box.runtime.containers:
            return ""
        self.box.runtime.ghost(victim)
        return self._stuck(dice, victim, device) if dice.random() < 0.5 else victim

    def _remove(self, dice, victim, device) -> str:
        if victim in self.box.runtime.containers:
            self.box.runtime.remove_behind(victim)
            self.invariants.removed.add(victim)
        return victim

    def _kill(self, dice, victim, device) -> str:
        if victim:
            found = self.box.runtime.containers.get(victim)
            self.box.runtime.kill(found.handle if found else f"/{victim}")
        return victim

    def _paused(self, dice, victim, device) -> str:
        """Somebody pauses a container by hand."""
        if victim not in self.box.runtime.containers:
            return ""
        self.box.runtime.pause(victim)
        return f"{victim} " + self._passes(dice, lambda: self.box.runtime.unpause(victim))

    def _stuck(self, dice, victim, device) -> str:
        """A process in D state: SIGKILL has no effect for a while."""
        process = self.box.runtime.truth.processes.get(victim)
        if process is None:
            return ""

        def be_stuck(is_stuck: bool) -> None:
            process.script = msgspec.structs.replace(process.script, is_unkillable=is_stuck)

        be_stuck(True)
        return f"{victim} " + self._passes(dice, lambda: be_stuck(False))

    def _greedy(self, dice, victim, device) -> str:
        """A job takes all the memory of its device, whatever it said."""
        if not victim:
            return ""
        memory = self.box.probe.memory
        memory[victim] = 2**34
        return f"{victim} " + self._passes(dice, lambda: memory.pop(victim, None))

    def _wrong(self, dice, victim, device) -> str:
        """The engine gives devices that nobody leased."""

        def end() -> None:
            self.box.runtime.wrong_devices = None

        self.box.runtime.wrong_devices = (device,)
        return self._passes(dice, end)

    def _image(self, dice, victim, device) -> str:
        """Somebody deletes an image; perhaps it cannot be pulled again."""
        runtime, image = self.box.runtime, dice.choice(IMAGES)

        def end() -> None:
            runtime.pull_error = None

        def restore() -> None:
            runtime.missing_images.discard(image)

        runtime.missing_images.add(image)
        runtime.pull_error = dice.choice(
            (None, Unavailable("no network"), HostError("disk full"), Refused("no such manifest"))
        )
        self._passes(dice, restore)
        return f"{image} ({runtime.pull_error}) " + self._passes(dice, end)

    # the box

    def _jump(self, dice, victim, device) -> str:
        ms = dice.choice((-3_600_000, 3_600_000, 86_400_000))
        self.invariants.jumped_back |= ms < 0
        self.box.clock.jump(ms)
        return f"{ms} ms"

    def _disk(self, dice, victim, device) -> None:
        self.box.store.full_commits = dice.choice((1, 1, 2, 5))

    def _locked(self, dice, victim, device) -> None:
        self.box.store.locked_commits = dice.choice((1, 1, 2, 5))

    def _user(self, dice, victim, device) -> str:
        """Somebody's account is removed, and perhaps made anew."""
        uid = dice.choice(PEOPLE).uid
        self.gone_people.add(uid)
        return f"{uid} " + self._passes(dice, lambda: self.gone_people.discard(uid))

    def _reboot(self, dice, victim, device) -> None:
        self.box.runtime.reboot()
        self.box.clock.reboot()
        self.box.restart()

    def _daemon(self, dice, victim, device) -> None:
        self.box.restart()

    # the devices

    def _probe(self, dice, victim, device) -> str:
        def back() -> None:
            self.box.probe.fault = ""

        self.box.probe.fault = "driver not loaded"
        return self._passes(dice, back)

    def _probe_hung(self, dice, victim, device) -> str:
        """The driver hangs: the last sweep is all there is."""

        def back() -> None:
            self.box.probe.is_hung = False

        self.box.probe.is_hung = True
        return self._passes(dice, back)

    def _foreign(self, dice, victim, device: DeviceUuid) -> str:
        foreign = self.box.probe.foreign
        foreign[device] = (DeviceProcess(pid=77, uid=4000, user="zoe"),)
        return f"{device} " + self._passes(dice, lambda: foreign.pop(device, None))

    def _unreadable(self, dice, victim, device: DeviceUuid) -> str:
        unreadable = self.box.probe.unreadable
        unreadable.add(device)
        return f"{device} " + self._passes(dice, lambda: unreadable.discard(device))

    def _remnant(self, dice, victim, device: DeviceUuid) -> str:
        remnants = self.box.probe.remnants
        remnants[device] = "gb-999999-1"
        return f"{device} " + self._passes(dice, lambda: remnants.pop(device, None))

    def _device(self, dice, victim, device: DeviceUuid) -> str:
        """A device falls off the bus, or is said to be faulty."""
        faults = self.box.probe.faults
        faults[device] = (dice.choice((Health.LOST, Health.FAULTY)), "Xid 79")
        return f"{device} " + self._passes(dice, lambda: faults.pop(device, None))

    def _missing(self, dice, victim, device: DeviceUuid) -> str:
        missing = self.box.probe.missing
        missing.add(device)
        return f"{device} " + self._passes(dice, lambda: missing.discard(device))

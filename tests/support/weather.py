"""The weather over a simulated box: every fault of SAFETY.md C7 that a scripted world can have, by name.

Each fault takes the dice and the box and does its harm; what needs clearing afterwards is cleared by
`clear`. Faults that find nothing to harm do nothing.
"""

from __future__ import annotations

import random

from gpuboard.model.device import DeviceProcess, Health
from gpuboard.runtimes.simulated import Effect
from tests.support.engine import Box, uuid
from tests.support.invariants import Invariants

CALLS = ("create", "start", "signal", "save_log", "remove", "observe")
FAULTS = (
    *("lose", "lose", "lose", "lose", "down", "up", "restart", "ghost", "remove", "kill"),
    *("jump", "probe", "probe-back", "foreign", "unreadable", "reboot", "daemon", "remnant"),
    *("device", "missing", "disk", "hung"),
)


class Weather:
    """Does harm to one box."""

    def __init__(self, box: Box, invariants: Invariants) -> None:
        self.box = box
        self.invariants = invariants

    def strike(self, kind: str, dice: random.Random) -> str:
        """Let one fault happen; return whom it hit, for the story."""
        running = sorted(self.box.runtime.truth.processes)
        victim = dice.choice(running) if running else ""
        device = uuid(dice.randrange(self.box.probe.gpus))
        act = getattr(self, "_" + kind.replace("-", "_"))
        return str(act(dice, victim, device) or "")

    def clear(self) -> None:
        """Let the engine, the driver and the disk be well again."""
        box = self.box
        box.runtime.is_down = False
        box.runtime.lost_answers.clear()
        box.store.full_commits = 0
        for trouble in (box.probe.foreign, box.probe.remnants, box.probe.faults):
            trouble.clear()
        box.probe.unreadable.clear()
        box.probe.missing.clear()
        box.probe.fault = ""

    def _lose(self, dice, victim, device) -> str:
        call, effect = dice.choice(CALLS), dice.choice(list(Effect))
        self.box.runtime.lose(call, effect, dice.choice((1.0, 5.0, 30.0, 200.0)))
        return f"{call}, effect {effect}"

    def _hung(self, dice, victim, device) -> None:
        """An engine that hangs: every call's answer is lost for a while."""
        for call in CALLS:
            for _ in range(dice.randrange(4)):
                self.box.runtime.lose(call, dice.choice(list(Effect)), dice.choice((1.0, 30.0)))

    def _down(self, dice, victim, device) -> None:
        self.box.runtime.is_down = True

    def _up(self, dice, victim, device) -> None:
        self.box.runtime.is_down = False

    def _restart(self, dice, victim, device) -> None:
        self.box.runtime.restart(live_restore=dice.random() < 0.5)

    def _ghost(self, dice, victim, device) -> str:
        if victim in self.box.runtime.containers:
            self.box.runtime.ghost(victim)
        return victim

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

    def _jump(self, dice, victim, device) -> str:
        ms = dice.choice((-3_600_000, 3_600_000, 86_400_000))
        self.invariants.jumped_back |= ms < 0
        self.box.clock.jump(ms)
        return f"{ms} ms"

    def _probe(self, dice, victim, device) -> None:
        self.box.probe.fault = "driver not loaded"

    def _probe_back(self, dice, victim, device) -> None:
        self.box.probe.fault = ""

    def _foreign(self, dice, victim, device) -> str:
        if self.box.probe.foreign.pop(device, None) is None:
            self.box.probe.foreign[device] = (DeviceProcess(pid=77, uid=4000, user="zoe"),)
        return device

    def _unreadable(self, dice, victim, device) -> str:
        self.box.probe.unreadable ^= {device}
        return device

    def _remnant(self, dice, victim, device) -> str:
        if self.box.probe.remnants.pop(device, None) is None:
            self.box.probe.remnants[device] = "gb-999999-1"
        return device

    def _device(self, dice, victim, device) -> str:
        """A device falls off the bus, or comes back and an admin resumes it."""
        if self.box.probe.faults.pop(device, None) is None:
            health = dice.choice((Health.LOST, Health.FAULTY))
            self.box.probe.faults[device] = (health, "Xid 79")
        else:
            self.box.engine.resume([device], "admin")
        return device

    def _missing(self, dice, victim, device) -> str:
        self.box.probe.missing ^= {device}
        return device

    def _disk(self, dice, victim, device) -> None:
        self.box.store.full_commits = dice.choice((1, 1, 2, 5))

    def _reboot(self, dice, victim, device) -> None:
        self.box.runtime.reboot()
        self.box.clock.reboot()
        self.box.restart()

    def _daemon(self, dice, victim, device) -> None:
        self.box.restart()

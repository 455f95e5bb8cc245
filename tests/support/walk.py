"""A seeded random walk over a whole box: people, time and faults in any order, invariants each step.

`walk(seed)` is deterministic: the same seed is the same story. `python -m tests.support.walk SEED`
prints it.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from gpuboard.config import Config, JobsConfig
from gpuboard.engine.crash import Crash
from gpuboard.engine.workers import StepWorkers
from gpuboard.errors import Conflict, GpuboardError, Refused
from gpuboard.model.device import DeviceProcess
from gpuboard.model.ids import JobId
from gpuboard.model.job import JobState
from gpuboard.model.plan import ReservationRequest
from gpuboard.runtimes.protocol import RunRequest
from gpuboard.runtimes.simulated import Effect, Script
from tests.support.engine import ANN, BEN, Box, person, uuid

PEOPLE = (ANN, BEN, person(1003, "cat"))
CALLS = ("create", "start", "signal", "save_log", "remove", "observe")


class Walk:
    """One story."""

    def __init__(self, seed: int, state_dir: Path, *, faults: bool = True, gpus: int = 4) -> None:
        self.random = random.Random(seed)
        self.faults = faults
        self.trace: list[str] = []
        self.crashes = 0
        self.box = Box(
            state_dir,
            gpus=gpus,
            config=Config(jobs=JobsConfig(max_attempts=3)),
            script=self._script,
            workers=StepWorkers(),
        )
        self.box.crash.hook = self._crash_point
        self.submitted: list[JobId] = []
        self._held: set[tuple[JobId, int]] = set()
        self._removed: set[str] = set()
        """Attempts whose container was removed behind the engine's back."""

    def say(self, *words: object) -> None:
        at = self.box.clock.boot_ms() if hasattr(self, "box") else 0
        self.trace.append(f"{at / 1000:9.2f} " + " ".join(map(str, words)))

    def _script(self, request: RunRequest) -> Script:
        # the outcome hangs on the attempt alone, not on when it is asked for
        dice = random.Random(f"{request.name}")
        return Script(
            run_s=dice.choice((0.5, 5, 30, 90, 400)),
            exit_code=dice.choice((0, 0, 0, 1, 3, 137)),
            log=request.name.encode() + b"\n",
            term_exit_code=dice.choice((143, 0, None)),
        )

    def _crash_point(self, name: str) -> None:
        if self.faults and self.random.random() < 0.01:
            self.say("CRASH at", name)
            raise Crash(name)

    def run(self, steps: int = 150) -> None:
        for _ in range(steps):
            try:
                self._something_happens()
            except Crash:
                self._reborn()
            self._step()
        self._clear_up()

    def _step(self) -> None:
        """Let a little time pass, do some of the work that waits, make a step, hold the invariants."""
        box = self.box
        box.clock.advance(self.random.choice((10, 60, 200, 1000, 3000)))
        try:
            for _ in range(self.random.randrange(4)):
                if len(box.workers):
                    box.workers.run(self.random.randrange(len(box.workers)))
            box.step()
        except Crash:
            self._reborn()
        self.check()

    def _reborn(self) -> None:
        self.crashes += 1
        self.box.restart()
        self.box.crash.hook = self._crash_point

    def check(self) -> None:
        box = self.box
        box.check_invariants()
        ledger = box.engine.core.ledger
        assert ledger.jobs == {job.id: job for job in box.store.load_live_jobs()}
        assert ledger.leases == {lease.device: lease for lease in box.store.live_leases()}
        box.engine.core.journal.check()
        self._check_starts()

    def _check_starts(self) -> None:
        """Nothing starts on a device on which the driver named a process that is not its own."""
        core = self.box.engine.core
        held = {(job.id, job.attempt): job for job in core.ledger.holding.values()}
        seen = {r.device.uuid: r.processes for r in core.snapshot.readings}
        for key in held.keys() - self._held:
            for device in held[key].devices:
                own = held[key].runtime_name
                others = [p for p in seen.get(device) or () if p.job_name != own]
                assert not others or held[key].state != JobState.STARTING, (key, device, others)
        self._held = set(held)

    def _something_happens(self) -> None:
        dice = self.random.random()
        if dice < 0.25 and len(self.submitted) < 60:
            self._submit()
        elif dice < 0.29 and self.submitted:
            self._cancel()
        elif dice < 0.31:
            self._reserve()
        elif dice < 0.50 and self.faults:
            self._fault()

    def _submit(self) -> None:
        job_id = self.box.submit(
            owner=self.random.choice(PEOPLE),
            gpus=self.random.choice((0, 1, 1, 2, 4)),
            limit_s=self.random.choice((20, 60, 300)),
            requeue=self.random.random() < 0.3,
            preemptible=self.random.random() < 0.2,
            grace_s=self.random.choice((1, 10)),
        )
        self.submitted.append(job_id)
        self.say("submit", job_id)

    def _cancel(self) -> None:
        job_id = self.random.choice(self.submitted)
        try:
            self.box.engine.cancel(job_id, ANN, force=self.random.random() < 0.3)
            self.say("cancel", job_id)
        except Conflict:
            pass

    def _reserve(self) -> None:
        now = self.box.clock.now_ms()
        from_at = now + self.random.choice((0, 30, 120)) * 1000
        request = ReservationRequest(
            gpus=self.random.choice((1, 2)),
            from_at=from_at,
            until_at=from_at + self.random.choice((30, 200)) * 1000,
        )
        try:
            booking = self.box.engine.reserve(self.random.choice(PEOPLE), request)
            self.say("reserve", booking.id)
        except Refused:
            pass

    def _fault(self) -> None:
        box, runtime = self.box, self.box.runtime
        kind = self.random.choice(
            (
                *("lose", "lose", "lose", "down", "up", "restart", "ghost", "remove", "kill"),
                *("jump", "probe", "probe-back", "foreign", "unreadable", "reboot", "daemon"),
                "remnant",
            )
        )
        running = sorted(runtime.truth.processes)
        victim = self.random.choice(running) if running else None
        if kind == "lose":
            call, effect = self.random.choice(CALLS), self.random.choice(list(Effect))
            runtime.lose(call, effect, self.random.choice((1.0, 5.0, 30.0)))
            self.say("lose", call, effect)
            return
        self.say(kind, victim or "")
        device = uuid(self.random.randrange(box.probe.gpus))
        if kind in ("down", "up"):
            runtime.is_down = kind == "down" and not runtime.is_down
        elif kind == "restart":
            runtime.restart(live_restore=self.random.random() < 0.5)
        elif kind == "ghost" and victim in runtime.containers:
            runtime.ghost(victim)
        elif kind == "remove" and victim in runtime.containers:
            runtime.remove_behind(victim)
            self._removed.add(victim)
        elif kind == "kill" and victim:
            runtime.kill(
                runtime.containers[victim].handle if victim in runtime.containers else f"/{victim}"
            )
        elif kind == "jump":
            box.clock.jump(self.random.choice((-3_600_000, 3_600_000)))
        elif kind == "probe":
            box.probe.fault = "driver not loaded"
        elif kind == "probe-back":
            box.probe.fault = ""
        elif kind == "foreign":
            known = box.probe.foreign.pop(device, None)
            if known is None:
                box.probe.foreign[device] = (DeviceProcess(pid=77, uid=4000, user="zoe"),)
        elif kind == "unreadable":
            box.probe.unreadable ^= {device}
        elif kind == "remnant":
            if box.probe.remnants.pop(device, None) is None:
                box.probe.remnants[device] = "gb-999999-1"
        elif kind == "reboot":
            runtime.reboot()
            box.clock.reboot()
            box.restart()
            box.crash.hook = self._crash_point
        elif kind == "daemon":
            box.restart()
            box.crash.hook = self._crash_point

    def _clear_up(self) -> None:
        """The weather clears: everything must come to its true end."""
        box = self.box
        self.faults = False
        self.say("the weather clears")
        box.runtime.is_down = False
        box.runtime.lost_answers.clear()
        box.probe.fault = ""
        box.probe.foreign.clear()
        box.probe.unreadable.clear()
        box.probe.remnants.clear()
        box.probe.faults.clear()
        box.engine.resume([uuid(i) for i in range(box.probe.gpus)], "admin")
        for _ in range(4000):
            if box.engine.is_idle() and not box.engine.reservations() and not len(box.workers):
                break
            box.clock.advance(3000)
            while len(box.workers):
                box.workers.run()
            box.step()
            self.check()
        self._check_end()

    def _check_end(self) -> None:
        box = self.box
        box.engine.look_soon()
        for _ in range(10):
            box.clock.advance(5000)
            while len(box.workers):
                box.workers.run()
            box.step()
        left = [(job.id, job.state, job.reason) for job in box.store.load_live_jobs()]
        assert not left, f"jobs stuck: {left}"
        assert not box.store.live_leases(), "leases left"
        assert not box.runtime.truth.processes, "processes left"
        assert not box.runtime.containers, f"containers left: {sorted(box.runtime.containers)}"
        known = {job.id for job in box.engine.find_jobs(limit=1000)}
        assert known >= set(self.submitted), "a submission that was answered is not there"
        for job_id in sorted(known):
            self._check_outcome(job_id)

    def _check_outcome(self, job_id: JobId) -> None:
        """Whatever exit code is recorded is the true one, and what ran to its end is told so."""
        job = self.box.engine.job(job_id)
        for event in self.box.engine.events(0, 1000, job_id):
            if event.detail.get("reason") == "its container was removed":
                name = f"gb-{job_id}-{event.detail['ended_attempt']}"
                assert name in self._removed, f"{name} was not removed, but called so"
        truth = self.box.runtime.truth.exits.get(job.runtime_name)
        if job.exit_code is not None and job.exit_code != 128:
            assert truth == job.exit_code, f"job {job_id}: {job.exit_code}, was {truth}"
        if job.state is JobState.SUCCEEDED:
            assert truth == 0
            log = self.box.engine.core.log_path(job_id, job.attempt)
            assert log.read_bytes() == job.runtime_name.encode() + b"\n"


def walk(seed: int, steps: int = 150) -> Walk:
    """Walk one story to its end in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        story = Walk(seed, Path(folder) / "state")
        try:
            story.run(steps)
        except (AssertionError, GpuboardError, KeyError) as error:
            tail = "\n".join(story.trace[-40:])
            raise AssertionError(f"seed {seed}: {error}\n{tail}") from error
        finally:
            story.box.store.close()
        return story


if __name__ == "__main__":
    print("\n".join(walk(int(sys.argv[1])).trace))

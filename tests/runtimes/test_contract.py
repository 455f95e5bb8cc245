"""The contract of every runtime: the same tests for the real ones and the simulated one."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

import pytest

from gpuboard.errors import Conflict, GpuboardError, InvalidRequest, NotFound, RequestError
from gpuboard.runtimes.protocol import RunState
from tests.support.runtimes import GPU, GPU_2, RuntimeBench
from tests.support.waiting import wait_until


def test_create_is_exactly_once_from_many_threads(bench: RuntimeBench):
    """Eight creators of one attempt get one attempt."""
    request = bench.shell("true")
    handles: list[str] = []
    threads = [
        threading.Thread(target=lambda: handles.append(bench.runtime.create(request)), daemon=True)
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(handles) == 8
    assert len(set(handles)) == 1
    assert len(bench.runtime.observe()) == 1


def test_created_attempt_is_not_running_and_holds_nothing(any_bench: RuntimeBench):
    """Created is not started."""
    handle = any_bench.runtime.create(any_bench.shell("true"))
    seen = any_bench.seen(handle)
    assert seen.state is RunState.CREATED
    assert seen.started_at is None
    assert seen.exit_code is None
    assert not seen.is_populated
    assert any_bench.runtime.is_gone(handle)


def test_attempt_of_the_same_name_but_another_spec_is_not_adopted(any_bench: RuntimeBench):
    """Only our very attempt is adopted by its name."""
    request = any_bench.shell("exit 1")
    any_bench.runtime.create(request)
    other = any_bench.shell("exit 2", name=request.name, job_id=request.job_id)
    with pytest.raises(Conflict):
        any_bench.runtime.create(other)


def test_same_attempt_is_adopted_by_the_next_daemon(any_bench: RuntimeBench):
    """A daemon that died between create and its commit finds the attempt again."""
    request = any_bench.shell("exit 5")
    handle = any_bench.runtime.create(request)
    assert any_bench.reborn().create(request) == handle
    any_bench.runtime.start(handle)
    assert any_bench.ended(handle).exit_code == 5


@pytest.mark.parametrize("code", [0, 3, 127, 137, 143, 255])
def test_exit_code_is_the_commands_own(any_bench: RuntimeBench, code: int):
    """The exit code is not interpreted."""
    seen, _ = any_bench.run(f"exit {code}")
    assert seen.exit_code == code
    assert seen.started_at is not None
    assert seen.ended_at is not None
    assert seen.ended_at >= seen.started_at
    assert not seen.is_populated


def test_missing_command_is_the_persons_fault_with_127(bench: RuntimeBench):
    """A command that is not there fails the job with a reason, and nothing runs."""
    handle = bench.runtime.create(bench.request("/no/such/command"))
    with contextlib.suppress(InvalidRequest):
        # with an init in between, the engine learns it only from the exit code
        bench.runtime.start(handle)
    wait_until(lambda: bench.seen(handle).exit_code is not None)
    assert bench.seen(handle).exit_code == 127
    wait_until(
        lambda: bench.runtime.is_gone(handle)
    )  # the supervisor leaves after it wrote the code


def test_observe_names_the_spec_of_each_attempt(any_bench: RuntimeBench):
    """The hash comes back: it is how a foreign attempt of our name is told."""
    request = any_bench.shell("true")
    handle = any_bench.runtime.create(request)
    assert any_bench.runtime.observe()[request.name].spec_hash == request.spec_hash()
    assert any_bench.seen(handle).name == request.name


def test_log_is_whole_and_in_order(bench: RuntimeBench):
    """20,000 lines come back, each once, in order."""
    seen, log = bench.run("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo line $i; done")
    assert seen.exit_code == 0
    assert log == b"".join(b"line %d\n" % number for number in range(1, 20001))


def test_log_keeps_bytes_as_they_are(bench: RuntimeBench):
    """ESC, NUL, high bytes and a missing newline survive."""
    _, log = bench.run(r"printf 'a\033[31mb\000c\377'; printf 'no newline'")
    assert log == b"a\x1b[31mb\x00c\xffno newline"


def test_log_has_stderr_too(bench: RuntimeBench):
    """Both streams are there."""
    _, log = bench.run("echo out; echo err >&2")
    assert sorted(log.split()) == [b"err", b"out"]


def test_tail_gives_the_last_lines(any_bench: RuntimeBench):
    """`tail` counts lines from the end."""
    handle = any_bench.begin(any_bench.shell("for i in 1 2 3 4 5; do echo $i; done"))
    any_bench.ended(handle)
    assert any_bench.log(handle, tail=2) == b"4\n5\n"
    assert any_bench.log(handle, tail=0) == b""
    assert any_bench.log(handle, tail=100) == b"1\n2\n3\n4\n5\n"


def test_follow_shows_lines_as_they_come_and_ends_with_the_job(bench: RuntimeBench):
    """The first line is there before the job ends; the follower ends by itself."""
    handle = bench.begin(bench.shell("echo first; sleep 0.5; echo last"))
    stream = bench.runtime.read_log(handle, follow=True)
    assert next(stream).startswith(b"first")
    assert b"last\n" in b"".join(stream)
    assert bench.ended(handle).exit_code == 0


def test_follow_of_a_silent_job_can_be_cancelled(bench: RuntimeBench):
    """A reader of a job that writes nothing is not caught."""
    handle = bench.begin(bench.shell("sleep 600"))
    began = time.monotonic()
    chunks = list(
        bench.runtime.read_log(
            handle, follow=True, is_cancelled=lambda: time.monotonic() > began + 0.3
        )
    )
    assert chunks == []
    assert time.monotonic() - began < 5


def test_saved_log_is_whole_private_and_outlives_the_attempt(bench: RuntimeBench, tmp_path: Path):
    """The log is kept for after remove."""
    handle = bench.begin(bench.shell("for i in 1 2 3; do echo $i; done"))
    bench.ended(handle)
    target = tmp_path / "saved.log"
    bench.runtime.save_log(handle, str(target))
    bench.runtime.remove(handle)
    assert target.read_bytes() == b"1\n2\n3\n"
    assert target.stat().st_mode & 0o777 == 0o600


def test_signal_reaches_the_main_process(bench: RuntimeBench):
    """A job that handles its stop signal ends by its own decision."""
    script = "trap 'echo stopping; exit 9' USR1; echo ready; while :; do sleep 0.05; done"
    handle = bench.begin(bench.shell(script))
    wait_until(lambda: b"ready" in bench.log(handle))
    bench.runtime.signal(handle, "SIGUSR1")
    assert bench.ended(handle).exit_code == 9
    assert b"stopping" in bench.log(handle)


def test_sigterm_ends_a_plain_command_with_143(any_bench: RuntimeBench):
    """Nothing in between swallows SIGTERM."""
    handle = any_bench.begin(any_bench.request("sleep", "600"))
    wait_until(lambda: any_bench.seen(handle).state is RunState.RUNNING)
    any_bench.runtime.signal(handle, "SIGTERM")
    assert any_bench.ended(handle).exit_code == 143


def test_kill_ends_what_ignores_signals_and_what_was_left_behind(bench: RuntimeBench):
    """A daemonised child in a session of its own dies with the job."""
    script = "trap '' TERM; (setsid sleep 601 &); echo up; while :; do sleep 0.05; done"
    handle = bench.begin(bench.shell(script))
    wait_until(lambda: b"up" in bench.log(handle))
    assert not bench.runtime.is_gone(handle)
    bench.runtime.kill(handle)
    wait_until(lambda: bench.runtime.is_gone(handle))
    assert bench.ended(handle).exit_code == 137


def test_child_left_behind_dies_when_the_main_process_ends(bench: RuntimeBench):
    """The end of the main process is the end of the job: its devices come free."""
    handle = bench.begin(bench.shell("(setsid sleep 602 &); exit 4"))
    assert bench.ended(handle).exit_code == 4
    assert bench.runtime.is_gone(handle)


def test_running_attempt_is_not_gone(any_bench: RuntimeBench):
    """is_gone is the kernel's word."""
    handle = any_bench.begin(any_bench.shell("sleep 600"))
    seen = any_bench.seen(handle)
    assert seen.state is RunState.RUNNING
    assert seen.is_populated
    assert seen.exit_code is None
    assert not any_bench.runtime.is_gone(handle)


def test_attempt_outlives_the_client(bench: RuntimeBench):
    """The next daemon finds the running job, its log and its true exit code."""
    handle = bench.begin(bench.shell("echo one; sleep 0.5; echo two; exit 6"))
    bench.runtime.close()
    bench.reborn()
    assert bench.ended(handle).exit_code == 6
    assert bench.log(handle) == b"one\ntwo\n"


def test_remove_is_idempotent_and_forgets(any_bench: RuntimeBench):
    """Removing twice is fine; afterwards nothing is observed."""
    handle = any_bench.begin(any_bench.shell("true"))
    any_bench.ended(handle)
    any_bench.runtime.remove(handle)
    any_bench.runtime.remove(handle)
    assert any_bench.runtime.observe() == {}
    with pytest.raises(NotFound):
        b"".join(any_bench.runtime.read_log(handle))


def test_devices_are_read_back(any_bench: RuntimeBench):
    """What the attempt was given can be asked, for the check after the start."""
    handle = any_bench.runtime.create(any_bench.shell("true", devices=(GPU, GPU_2)))
    assert any_bench.runtime.devices_of(handle) == (GPU, GPU_2)
    handle = any_bench.runtime.create(any_bench.shell("true"))
    assert any_bench.runtime.devices_of(handle) == ()


def test_job_without_devices_sees_none(bench: RuntimeBench):
    """The device variables close, they do not just lack."""
    _, log = bench.run("env")
    lines = set(log.decode().splitlines())
    assert "NVIDIA_VISIBLE_DEVICES=void" in lines
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in lines


def test_job_runs_as_the_person(bench: RuntimeBench):
    """Never as the daemon."""
    _, log = bench.run("id -u; id -g")
    assert log.split() == [str(bench.uid).encode()] * 2


def test_persons_environment_arrives_whole(bench: RuntimeBench):
    """Values with newlines, quotes and dollars are data."""
    value = "a b\n'c' \"d\" $HOME `e`"
    _, log = bench.run('printf %s "$MINE"', env={"MINE": value})
    assert log.decode() == value


def test_arguments_are_never_read_by_a_shell(bench: RuntimeBench):
    """An argument is an argument."""
    handle = bench.begin(bench.request("echo", "$(id)", "; touch x", "*"))
    bench.ended(handle)
    assert bench.log(handle) == b"$(id) ; touch x *\n"


def test_text_beyond_ascii_arrives_whole(bench: RuntimeBench):
    """In arguments and environment, whatever the daemon's locale."""
    text = "grüß \u202egnol\u202c \U0001f642"
    handle = bench.begin(bench.request("sh", "-c", 'echo "$1$TEXT"', "x", text, env={"TEXT": text}))
    bench.ended(handle)
    assert bench.log(handle).decode() == f"{text}{text}\n"


def test_working_directory_is_the_one_asked_for(bench: RuntimeBench):
    """`--workdir` holds."""
    _, log = bench.run("pwd", workdir="/tmp")
    assert log == b"/tmp\n"


def test_end_wakes_a_waiter(bench: RuntimeBench):
    """An exit is heard before the next round of looking."""
    while bench.runtime.wait_event(0.3):
        continue
    handle = bench.begin(bench.shell("sleep 0.3"))
    began = time.monotonic()
    while bench.seen(handle).state is not RunState.EXITED:
        assert bench.runtime.wait_event(20)
    assert time.monotonic() - began < 15


def test_silence_is_not_an_event(bench: RuntimeBench):
    """With nothing to hear, waiting ends with its time."""
    while bench.runtime.wait_event(0.3):
        continue
    assert bench.runtime.wait_event(0.05) is False


def test_second_start_of_an_ended_attempt_does_not_go_unnoticed(bench: RuntimeBench):
    """Whatever a runtime does with it, one attempt's exit record is one; the engine never asks twice."""
    if bench.image:
        pytest.skip("the container engine would run it again: the engine above never asks twice")
    handle = bench.begin(bench.shell("exit 1"))
    bench.ended(handle)
    with pytest.raises(Conflict):
        bench.runtime.start(handle)
    assert bench.seen(handle).exit_code == 1


def test_errors_are_ours(any_bench: RuntimeBench):
    """No vendor's exception leaves a runtime."""
    unknown = "f" * 64
    for call in (
        lambda: any_bench.runtime.start(unknown),
        lambda: any_bench.runtime.signal(unknown, "SIGTERM"),
        lambda: any_bench.runtime.devices_of(unknown),
        lambda: list(any_bench.runtime.read_log(unknown)),
    ):
        with pytest.raises(GpuboardError) as caught:
            call()
        assert isinstance(caught.value, RequestError)

"""Every flag reaches the submission, and IMAGE, COMMAND and scripts are told apart as documented."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gpuboard.model.requests import SubmitRequest
from gpuboard.model.views.catalog import TemplateList, TemplateView
from tests.cli.conftest import Gpuboard
from tests.support.fake_server import FakeServer, built, submitted

HOME = os.path.expanduser("~")


def body_of(server: FakeServer, gpuboard: Gpuboard, *arguments: str) -> dict[str, Any]:
    """Return the body that `gpuboard submit ARGUMENTS` posts; it must be a SubmitRequest."""
    server.answers["POST", "/jobs"] = submitted(12)
    ran = gpuboard("submit", *arguments)
    assert ran.code == 0, ran.err
    body = server.bodies("POST", "/jobs")[-1]
    msgspec.convert(body, SubmitRequest)
    assert body.pop("token")
    return body


FLAGS: list[tuple[list[str], dict[str, Any]]] = [
    (["-g", "2"], {"gpus": 2}),
    (["-g1"], {"gpus": 1}),
    (["--gpus", "0"], {"gpus": 0}),
    (["-t", "2h30m"], {"time_limit": "2h30m"}),
    (["--time=1-12:00:00"], {"time_limit": "1-12:00:00"}),
    (["-J", "nightly"], {"name": "nightly"}),
    (["--name", "nightly"], {"name": "nightly"}),
    (
        ["-v", "/data:/data:ro"],
        {"mounts": [{"source": "/data", "target": "/data", "read_only": True}]},
    ),
    (["-p", "8888", "--publish", "6006/tcp"], {"ports": ["8888", "6006/tcp"]}),
    (["-v", "~/d:/d"], {"mounts": [{"source": f"{HOME}/d", "target": "/d", "read_only": False}]}),
    (
        ["--volume", "d:/d:rw"],
        {"mounts": [{"source": os.path.abspath("d"), "target": "/d", "read_only": False}]},
    ),
    (["-e", "A=1", "-e", "B=x=y"], {"env": {"A": "1", "B": "x=y"}}),
    (["-w", "/work"], {"workdir": "/work"}),
    (["--shm-size", "16g"], {"shm_size": "16g"}),
    (["--cpus", "1.5"], {"cpus": 1.5}),
    (["-m", "64g"], {"memory": "64g"}),
    (["--begin", "tomorrow 09:00"], {"begin": "tomorrow 09:00", "timezone": "UTC"}),
    (["--at", "now+1h"], {"begin": "now+1h", "timezone": "UTC"}),
    (["-d", "12,afterany:@"], {"depends_on": ["12", "afterany:@"]}),
    (["-d", "12", "--depends-on", "13"], {"depends_on": ["12", "13"]}),
    (["-d", "afterok:9:10,singleton"], {"depends_on": ["afterok:9", "afterok:10", "singleton"]}),
    (["-g", "4", "--cpus-per-gpu", "6"], {"gpus": 4, "cpus": 24.0}),
    (["-a", "0-9%2"], {"array": "0-9%2"}),
    (["--gpu-ids", "2,3:1"], {"gpu_ids": ["2", "3:1"], "gpus": 2}),
    (["--gpu-type", "a100"], {"gpu_type": "a100"}),
    (["--gpu-mem", "10G"], {"gpu_memory": "10G"}),
    (["-g", "2", "--nvlink"], {"gpus": 2, "nvlink": True}),
    (["--preemptible"], {"preemptible": True}),
    (["--requeue"], {"requeue": True}),
    (["--hold"], {"hold": True}),
    (["--stop-signal", "SIGUSR1"], {"stop_signal": "SIGUSR1"}),
    (["--grace", "30s"], {"grace": "30s"}),
    (["--note", "try 3"], {"note": "try 3"}),
    (["-A", "vision"], {"account": "vision"}),
    (["--class", "urgent"], {"class": "urgent"}),
    (["--qos", "urgent"], {"class": "urgent"}),
    (["--runtime", "docker"], {"runtime": "docker"}),
]


@pytest.mark.parametrize(("flags", "expected"), FLAGS, ids=lambda value: " ".join(map(str, value)))
def test_every_flag_reaches_the_submission(
    server: FakeServer, gpuboard: Gpuboard, flags: list[str], expected: dict[str, Any]
) -> None:
    """What a person asks for by a flag is in the request, under the contract's name, and nothing else is."""
    body = body_of(server, gpuboard, *flags, "pytorch:2", "python", "train.py")
    assert body == {"gpus": 1, "image": "pytorch:2", "command": ["python", "train.py"]} | expected


def test_no_field_of_the_request_is_out_of_reach() -> None:
    """Each field of SubmitRequest is set by some flag (or by the client itself)."""
    reached = {key for _, expected in FLAGS for key in expected}
    assert {field.encode_name for field in msgspec.structs.fields(SubmitRequest)} - reached == {
        "image",
        "command",
        "script",
        "token",
    }


@pytest.mark.parametrize(
    ("words", "image", "command"),
    [
        (["pytorch:2"], "pytorch:2", []),
        (["pytorch:2", "python", "-g", "7"], "pytorch:2", ["python", "-g", "7"]),
        (["pytorch:2", "--", "python", "--json"], "pytorch:2", ["python", "--json"]),
        (["pytorch:2", "sh", "--", "x"], "pytorch:2", ["sh", "--", "x"]),
        (["--", "python", "train.py"], "", ["python", "train.py"]),
        (["--", "python", "--", "x"], "", ["python", "--", "x"]),
        (["--process", "python", "train.py"], "", ["python", "train.py"]),
        (["--process", "--", "python", "train.py"], "", ["python", "train.py"]),
        (["--runtime", "process", "python"], "", ["python"]),
        (["--image", "pytorch:2", "python", "train.py"], "pytorch:2", ["python", "train.py"]),
        (["--image", "pytorch:2", "--", "python"], "pytorch:2", ["python"]),
    ],
    ids=" ".join,
)
def test_image_and_command_are_told_apart_as_docker_does(
    server: FakeServer, gpuboard: Gpuboard, words: list[str], image: str, command: list[str]
) -> None:
    """The first word is the image, unless something before it says that all is the command."""
    body = body_of(server, gpuboard, *words)
    assert (body.get("image", ""), body.get("command", [])) == (image, command)


def test_process_job_starts_in_this_directory_with_where_programs_are_found(
    server: FakeServer, gpuboard: Gpuboard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process finds the same `python` as the shell that submitted it, and nothing secret comes along."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/venv/bin:/usr/bin")
    monkeypatch.setenv("VIRTUAL_ENV", "/venv")
    monkeypatch.setenv("API_TOKEN", "secret")
    body = body_of(server, gpuboard, "--", "python", "train.py")
    assert body["workdir"] == str(tmp_path)
    assert body["env"]["PATH"] == "/venv/bin:/usr/bin"
    assert body["env"]["VIRTUAL_ENV"] == "/venv"
    assert "API_TOKEN" not in body["env"]
    assert body_of(server, gpuboard, "-w", "sub", "--", "true")["workdir"] == str(tmp_path / "sub")


def test_env_comes_from_files_then_flags_and_a_bare_key_from_here(
    server: FakeServer, gpuboard: Gpuboard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The later wins; a bare KEY that is not set is left out, as with docker."""
    monkeypatch.setenv("HERE", "yes")
    monkeypatch.delenv("NOT_HERE", raising=False)
    file = tmp_path / "env"
    file.write_text("# words\nA=file\n\nB=file # kept\nHERE\n")
    body = body_of(
        server, gpuboard, "--env-file", str(file), "-e", "A=flag", "-e", "NOT_HERE", "img"
    )
    assert body["env"] == {"A": "flag", "B": "file # kept", "HERE": "yes"}


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["-v", "/data", "img"], "--volume"),
        (["-v", "/data:/data:rx", "img"], "--volume"),
        (["-e", "=1", "img"], "--env"),
        (["--env-file", "/no/such/file", "img"], "/no/such/file"),
        (["-g", "3", "--gpu-ids", "1,2", "img"], "--gpu-ids"),
        (["-g", "-1", "img"], "--gpus"),
        (["-g", "many", "img"], "--gpus"),
        (["--cpus", "0", "img"], "--cpus"),
        (["--process", "--image", "img", "x"], "--process"),
        (["--wait", "soon", "img"], "--wait"),
        (["--no-such-flag", "img"], "--no-such-flag"),
        ([], "nothing to run"),
        (["--process"], "nothing to run"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_bad_flag_is_named_and_nothing_is_sent(
    server: FakeServer, gpuboard: Gpuboard, arguments: list[str], word: str
) -> None:
    """A wrong value ends with 2 and one message that names the flag, before the daemon hears of it."""
    ran = gpuboard("submit", *arguments)
    assert ran.code == 2
    assert word in ran.err
    assert ran.err.startswith("error: ")
    assert not server.asked


def test_daemon_error_names_the_flag_not_the_field(server: FakeServer, gpuboard: Gpuboard) -> None:
    """`time_limit: 'x' is ...` is `--time: 'x' is ...` for whoever typed the flag."""
    from gpuboard.errors import InvalidRequest

    server.answers["POST", "/jobs"] = InvalidRequest(
        "time_limit: 'x' is not a span", field="time_limit"
    )
    ran = gpuboard("submit", "-t", "x", "img")
    assert (ran.code, ran.err) == (2, "error: --time: 'x' is not a span\n")


TEMPLATE = TemplateView(
    name="train",
    request=SubmitRequest(
        image="pytorch:2.4",
        command=["python", "train.py"],
        gpus=2,
        time_limit="8h",
        env={"A": "1", "B": "2"},
        shm_size="32G",
    ),
)


def test_a_template_lies_below_what_is_said_by_hand(server: FakeServer, gpuboard: Gpuboard):
    """Flags and words beat it, variables add up, and words are a command where it has an image."""
    server.answers["GET", "/templates"] = built(TemplateList(templates=[TEMPLATE]))
    plain = body_of(server, gpuboard, "--template", "train")
    assert (plain["image"], plain["gpus"], plain["command"]) == (
        "pytorch:2.4",
        2,
        ["python", "train.py"],
    )
    other = body_of(server, gpuboard, "--template=train", "-g1", "-e", "B=3", "python", "eval.py")
    assert (other["gpus"], other["command"], other["time_limit"]) == (
        1,
        ["python", "eval.py"],
        "8h",
    )
    assert other["env"] == {"A": "1", "B": "3"}
    assert other["image"] == "pytorch:2.4"


def test_an_unknown_template_is_told_with_the_nearest(server: FakeServer, gpuboard: Gpuboard):
    server.answers["GET", "/templates"] = built(TemplateList(templates=[TEMPLATE]))
    ran = gpuboard("submit", "--template", "tran")
    assert ran.code == 2
    assert "there is no template 'tran'" in ran.err
    assert "did you mean train?" in ran.err


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (["--gpu-ids", ""], "--gpu-ids"),
        (["--array", " "], "--array"),
        (["--begin", ""], "--begin"),
        (["-d", "12,", "-d", ","], "--depends-on"),
        (["--class", ""], "--class"),
    ],
)
def test_flag_with_nothing_behind_it_is_refused_by_name(
    server: FakeServer, gpuboard: Gpuboard, flags: list[str], name: str
) -> None:
    """`--gpu-ids "$IDS"` with IDS not set does not run on any GPU instead."""
    ran = gpuboard("submit", *flags, "--", "true")
    assert (ran.code, ran.err) == (
        2,
        f"error: {name} is empty\nhint: leave {name} out, or give it a value\n",
    )


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "0", "many"])
def test_processors_are_a_number(server: FakeServer, gpuboard: Gpuboard, value: str) -> None:
    """`--cpus nan` is refused by the flag's name, not by JSON's."""
    for flag in ("--cpus", "--cpus-per-gpu"):
        ran = gpuboard("submit", flag, value, "--", "true")
        assert ran.code == 2
        assert f"'{flag}'" in ran.err
        assert "JSON" not in ran.err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--cpus", "4", "--cpus-per-gpu", "2"], "twice"),
        (["-g", "0", "--cpus-per-gpu", "2"], "asks for no GPU"),
    ],
)
def test_processors_a_gpu_need_gpus_and_no_other_number(
    server: FakeServer, gpuboard: Gpuboard, flags: list[str], words: str
) -> None:
    """What cannot be multiplied out is refused."""
    ran = gpuboard("submit", *flags, "--", "true")
    assert ran.code == 2
    assert words in ran.err


@pytest.mark.parametrize(
    ("zone", "sent"),
    [
        ("CET", "CET"),
        ("Europe/Berlin", "Europe/Berlin"),
        (":UTC", "UTC"),
        ("CET-1CEST", ""),
        ("", ""),
    ],
)
def test_any_zone_that_has_a_name_is_sent(
    server: FakeServer, gpuboard: Gpuboard, monkeypatch: pytest.MonkeyPatch, zone: str, sent: str
) -> None:
    """The person's clock counts, whatever the box's is; a POSIX rule is no name."""
    monkeypatch.setenv("TZ", zone)
    body = body_of(server, gpuboard, "--begin", "09:00", "img")
    assert body.get("timezone", "") == sent


SLIPS = [
    (["nosuch.sh"], "no such file", "-- before"),
    (["./nosuch"], "no such file", "-- before"),
    (["noshebang.sh", "x"], "a script begins with #!", "-- sh noshebang.sh"),
    (["train.py"], "a script begins with #!", "-- python train.py"),
    (["./tool"], "a script begins with #!", "-- ./tool"),
    (["{folder}"], "is a directory", "name a script"),
    (["."], "is a directory", "name a script"),
]


@pytest.mark.parametrize(("words", "complaint", "way_out"), SLIPS, ids=str)
@pytest.mark.parametrize("command", ["run", "submit"])
def test_first_word_that_can_only_be_a_slip_is_answered_with_what_is_wrong(
    gpuboard: Gpuboard,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    words: list[str],
    complaint: str,
    way_out: str,
) -> None:
    """A path, or a name that only scripts have, is not asked for as an image."""
    monkeypatch.chdir(tmp_path)
    for name in ("noshebang.sh", "train.py", "tool"):
        (tmp_path / name).write_text("echo\n")
    (tmp_path / "tool").chmod(0o755)
    ran = gpuboard(command, *(word.format(folder=tmp_path) for word in words))
    assert ran.code == 2
    error, hint = ran.err.splitlines()
    assert complaint in error
    assert way_out in hint


def test_image_is_an_image_even_where_a_file_has_its_name(
    server: FakeServer, gpuboard: Gpuboard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what cannot be meant as an image is refused here."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "busybox").write_text("\x7fELF")
    (tmp_path / "pytorch").mkdir()
    assert body_of(server, gpuboard, "busybox", "true")["image"] == "busybox"
    assert body_of(server, gpuboard, "pytorch", "true")["image"] == "pytorch"


def test_flag_with_nothing_behind_it_is_refused_in_scripts_and_changes_too(
    gpuboard: Gpuboard, tmp_path: Path
) -> None:
    """Wherever it stands."""
    path = tmp_path / "train.sh"
    path.write_text('#!/bin/sh\n#GPUBOARD --gpu-type ""\ntrue\n')
    for ran in (gpuboard("submit", str(path)), gpuboard("update", "12", "--begin", "")):
        assert ran.code == 2
        assert " is empty\n" in ran.err

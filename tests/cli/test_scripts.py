"""Job scripts: #GPUBOARD and #SBATCH lines, and how the content reaches the job."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuboard.cli.sbatch import translated
from gpuboard.cli.script import MAX_BYTES, without_comment
from tests.cli.conftest import Gpuboard
from tests.cli.test_requests import body_of
from tests.support.fake_server import FakeServer


def script(folder: Path, *lines: str, first: str = "#!/bin/bash", name: str = "train.sh") -> str:
    path = folder / name
    path.write_text("\n".join([first, *lines]) + "\n")
    return str(path)


SBATCH: list[tuple[str, dict[str, Any]]] = [
    ("--gres=gpu:2", {"gpus": 2}),
    ("--gres=gpu", {"gpus": 1}),
    ("--gres=gpu:a100:4", {"gpus": 4, "gpu_type": "a100"}),
    ("--gres gpu:tesla:2(S:0-1)", {"gpus": 2, "gpu_type": "tesla"}),
    ("--gpus=3", {"gpus": 3}),
    ("--gpus-per-node=h100:2", {"gpus": 2, "gpu_type": "h100"}),
    ("-G 2", {"gpus": 2}),
    ("-G2", {"gpus": 2}),
    ("-J my-job", {"name": "my-job"}),
    ("--job-name=my-job", {"name": "my-job"}),
    ("-t 1-00:00:00", {"time_limit": "1-00:00:00"}),
    ("--time=30   # half an hour", {"time_limit": "30"}),
    ("-c 8", {"cpus": 8.0}),
    ("--cpus-per-task=8", {"cpus": 8.0}),
    ("--mem=32G", {"memory": "32G"}),
    ("--mem=4000", {"memory": "4000m"}),
    ("--mem=0", {}),
    ("-a 0-9%2", {"array": "0-9%2"}),
    (
        "--dependency=afterok:1:2,afterany:3",
        {"depends_on": ["afterok:1", "afterok:2", "afterany:3"]},
    ),
    ("-d afterok:7", {"depends_on": ["afterok:7"]}),
    ("-d singleton", {"depends_on": ["singleton"]}),
    ("--gres=gpu:4 --cpus-per-gpu=6", {"gpus": 4, "cpus": 24.0}),
    ("--begin=now+60", {"begin": "now+60s", "timezone": "UTC"}),
    ("--begin=16:00", {"begin": "16:00", "timezone": "UTC"}),
    ("--requeue", {"requeue": True}),
    ("--hold", {"hold": True}),
    ("-D /work", {"workdir": "/work"}),
    ('--comment="two words"', {"note": "two words"}),
    ("-N 1 -n 1 --gres=gpu:1", {"gpus": 1}),
    ("--exclusive -J both", {"name": "both"}),
]


@pytest.mark.parametrize(("line", "expected"), SBATCH, ids=str)
def test_common_sbatch_lines_mean_what_they_mean_in_slurm(
    server: FakeServer, gpuboard: Gpuboard, tmp_path: Path, line: str, expected: dict[str, Any]
) -> None:
    """A script that was written for Slurm asks for the same here."""
    path = script(tmp_path, f"#SBATCH {line}", "python train.py")
    body = body_of(server, gpuboard, "--image", "img", path)
    del body["command"], body["image"], body["script"]
    assert body == {"gpus": 1, "name": "train.sh"} | expected


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--frobnicate=3", "--frobnicate is left out: gpuboard does not know it"),
        ("-Z", "-Z is left out"),
        ("-o out.txt", "gpuboard logs"),
        ("--partition gpu", "no meaning on one box"),
        ("--nodes=2", "--nodes=2 is left out"),
        ("--gres=gpu:1,license:2", "left out"),
        ("--dependency=expand:7", "expand:7 is left out"),
        ("stray", "stray"),
    ],
)
def test_sbatch_line_without_meaning_is_a_warning_with_its_number(
    server: FakeServer, gpuboard: Gpuboard, tmp_path: Path, line: str, words: str
) -> None:
    """A line that only a cluster needs never stops a script, and never vanishes in silence."""
    from tests.support.fake_server import submitted

    server.answers["POST", "/jobs"] = submitted(12)
    path = script(tmp_path, "", f"#SBATCH {line}", "true")
    ran = gpuboard("submit", "--process", path)
    assert ran.code == 0
    assert ran.err.startswith(f"warning: {path}:3: ")
    assert words in ran.err


def test_gpuboard_lines_beat_sbatch_and_the_command_line_beats_both(
    server: FakeServer, gpuboard: Gpuboard, tmp_path: Path
) -> None:
    """The nearer to the person, the stronger; variables and mounts add up."""
    path = script(
        tmp_path,
        "#GPUBOARD --gpus 2 --time 4h -e A=1 -e B=1",
        "#SBATCH --gres=gpu:8 --mem=1G --time=1:00",
        "#GPUBOARD --image 'pytorch:2'  # ours",
        "python train.py",
        "#GPUBOARD --gpus 7",
    )
    body = body_of(server, gpuboard, "-t", "10m", "-e", "B=2", path, "--lr", "3")
    assert body["gpus"] == 2
    assert body["time_limit"] == "10m"
    assert body["memory"] == "1G"
    assert body["image"] == "pytorch:2"
    assert body["env"] == {"A": "1", "B": "2"}
    assert body["command"][-2:] == ["--lr", "3"]


def test_gpus_by_hand_beat_gpu_ids_of_the_script(
    server: FakeServer, gpuboard: Gpuboard, tmp_path: Path
) -> None:
    """`-g 1` is not in conflict with `--gpu-ids 2,3` of the script: it replaces it."""
    path = script(tmp_path, "#GPUBOARD --gpu-ids 2,3 --image img", "true")
    body = body_of(server, gpuboard, "-g", "1", "--process", path)
    assert body["gpus"] == 1
    assert "gpu_ids" not in body
    assert "image" not in body


@pytest.mark.parametrize(
    "line",
    [
        "#GPUBOARD --gpus many",
        "#GPUBOARD --nope",
        "#GPUBOARD stray",
        "#GPUBOARD -h",
        "#GPUBOARD --json",
        '#GPUBOARD --name "x',
    ],
)
def test_wrong_directive_names_file_and_line(
    server: FakeServer, gpuboard: Gpuboard, tmp_path: Path, line: str
) -> None:
    """A mistake in a script is found where it stands, before anything is sent."""
    path = script(tmp_path, "# words", line, "true")
    ran = gpuboard("submit", path)
    assert ran.code == 2
    assert f"{path}:3: " in ran.err
    assert not server.asked


@pytest.mark.parametrize(
    "first", ["#!/bin/sh", "#!/usr/bin/env -S python3 -u", "#!/usr/bin/awk -f"]
)
def test_content_is_captured_at_submission(
    server: FakeServer, gpuboard: Gpuboard, tmp_path: Path, first: str
) -> None:
    """What is edited after the submission changes nothing: the job has its own copy."""
    path = script(tmp_path, "echo hello", first=first)
    body = body_of(server, gpuboard, path, "a b")
    assert body["script"] == f"{first}\necho hello\n"
    assert (body["command"], body["name"]) == ([path, "a b"], "train.sh")


def test_script_comes_from_stdin(
    server: FakeServer, gpuboard: Gpuboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`gpuboard submit - < train.sh` works as sbatch's does."""
    monkeypatch.setattr(
        sys, "stdin", io.TextIOWrapper(io.BytesIO(b"#!/bin/sh\n#GPUBOARD -g 3\ntrue\n"))
    )
    body = body_of(server, gpuboard, "-")
    assert (body["gpus"], body["name"], body["command"]) == (3, "script", ["script"])


@pytest.mark.parametrize(
    "content",
    [
        b"#!/bin/sh\n" + b"x" * MAX_BYTES,
        b"#!/bin/sh\n\xff\xfe\n",
        b"#!/bin/sh\n\0\n",
        b"#!\ntrue\n",
        b"#!/usr/bin/env -S\ntrue\n",
    ],
    ids=["long", "not text", "NUL", "no interpreter", "env alone"],
)
def test_script_that_cannot_be_captured_is_refused(
    server: FakeServer, gpuboard: Gpuboard, tmp_path: Path, content: bytes
) -> None:
    """A script that the kernel or the API would refuse is refused here, with the way out."""
    path = tmp_path / "job.sh"
    path.write_bytes(content)
    ran = gpuboard("submit", "--process", str(path))
    assert ran.code == 2
    assert str(path) in ran.err
    assert not server.asked


def test_after_dashes_a_script_is_only_a_command(
    server: FakeServer, gpuboard: Gpuboard, tmp_path: Path
) -> None:
    """`-- ./train.sh` runs the file itself; its directives are not read."""
    path = script(tmp_path, "#GPUBOARD --gpus 5")
    body = body_of(server, gpuboard, "--", path)
    assert (body["gpus"], body["command"]) == (1, [path])


def test_file_without_shebang_is_an_image_name(
    server: FakeServer, gpuboard: Gpuboard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data file that is called like an image does not get in its way."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pytorch").write_text("not a script")
    assert body_of(server, gpuboard, "pytorch", "true")["image"] == "pytorch"


@given(st.lists(st.text(max_size=20), max_size=6))
def test_no_sbatch_line_breaks_the_translation(words: list[str]) -> None:
    """Whatever stands on a #SBATCH line, it becomes flags or a warning, never an exception."""
    for flags, warning in translated(words):
        assert all(isinstance(flag, str) for flag in flags)
        assert isinstance(warning, str)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("--time 4h # four", "--time 4h "),
        ("--note 'a # b'", "--note 'a # b'"),
        ("--name a#b", "--name a#b"),
        ("# all", ""),
        ('--note "it\'s # in"', '--note "it\'s # in"'),
    ],
)
def test_comment_ends_a_directive_only_outside_quotes(text: str, kept: str) -> None:
    """`#` in a name or in quotation marks is part of the value."""
    assert without_comment(text) == kept

"""What the engine's words mean: its own, never those that it quotes of a job or an image."""

from __future__ import annotations

import pytest

from gpuboard.errors import (
    CannotStartNow,
    Conflict,
    DeviceDriverFailed,
    DeviceSetupBroken,
    HostError,
    InvalidRequest,
    NotFound,
)
from gpuboard.runtimes.docker_words import refusal, words_of
from gpuboard.runtimes.profile import ImageDefaults
from gpuboard.runtimes.protocol import RunRequest

RUNC = "OCI runtime create failed: runc create failed: unable to start container process: "
HOOK = "error running hook #0: exit status 1, stdout: , stderr: nvidia-container-cli: "


@pytest.mark.parametrize(
    ("status", "words", "expected"),
    [
        (500, "mkdir /var/lib/docker/overlay2/ab-init: no space left on device", CannotStartNow),
        (500, f"{RUNC}fork/exec /usr/bin/x: cannot allocate memory: unknown", CannotStartNow),
        (500, f"{RUNC}{HOOK}initialization error: nvml error: driver not loaded: unknown", DeviceDriverFailed),
        (500, 'could not select device driver "nvidia" with capabilities: [[gpu]]', DeviceDriverFailed),
        (500, "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=x", DeviceSetupBroken),
        # the image's own doing, whatever part of the toolkit tells it
        (500, f"{RUNC}{HOOK}mount error: /usr/bin/nvidia-smi: file exists: unknown", InvalidRequest),
        (500, f"{RUNC}{HOOK}requirement error: unsatisfied condition: cuda>=99: unknown", HostError),
        (500, "Cannot mkdir: /etc/passwd is not a directory", InvalidRequest),
        (500, "mkdir /var/lib/docker/overlay2/ab/merged/aaa: file name too long", InvalidRequest),
        (500, f"{RUNC}mkdirat /a: too many levels of symbolic links: unknown", InvalidRequest),
        (400, "bind source path does not exist: /x/no space left on device", InvalidRequest),
        (404, "No such image: x/too-many-open-files", NotFound),
        (409, "the name is in use: too many open files", Conflict),
        (500, "something else", HostError),
    ],
)  # fmt: skip
def test_words_decide_whose_fault_it_is(status: int, words: str, expected: type):
    """Exactly this class."""
    assert type(refusal("starting", status, words)) is expected


@pytest.mark.parametrize(
    "said",
    [
        'error mounting "{s}" to rootfs at "{s}": create mount destination: no such thing',
        'error mounting "/x" to rootfs: mkdir /merged/{s}',
        "{s}",
        '"{s}" cannot be entered: unknown',
    ],
)
@pytest.mark.parametrize(
    "text",
    [
        "/.dockerenv/no space left on device",
        "/a/Too Many Open Files",
        "/CDI device",
        '/"quo"ted/nvml error',
        "/nvidia-container-cli: initialization error",
        "/libnvidia-ml.so",
    ],
)
def test_persons_words_never_accuse_the_box(said: str, text: str):
    """However they are quoted, at the end or in the middle."""
    words = said.replace("{s}", text.replace('"', '\\"'))
    assert type(refusal("starting", 500, words, [text])) is HostError


def test_all_that_a_job_and_its_image_bring_along_is_known():
    """Each may be quoted."""
    from gpuboard.model.job import Mount

    request = RunRequest(
        name="gb-1-1", job_id=1, attempt=1, uid=1, gid=1, groups=(), user="u", home="/h",
        image="im", command=("c",), env={"k": "v"}, mounts=(Mount("/s", "/t"),), workdir="/w",
    )  # fmt: skip
    image = ImageDefaults(("ie",), ("ic",), {"ik": "iv"}, "/iw", ("/ivol",))
    known = {"u", "/h", "im", "c", "k", "v", "/s", "/t", "/w", "ie", "ic", "ik", "iv", "/iw"}
    assert set(words_of(request, image)) == known | {"/ivol"}


def test_long_words_are_judged_whole_and_shown_short():
    """The kernel's stand at the end."""
    error = refusal("starting", 500, "x" * 5000 + ": no space left on device")
    assert type(error) is CannotStartNow
    assert len(error.message) < 600

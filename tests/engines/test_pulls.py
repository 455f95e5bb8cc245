"""Images from a registry on loopback: pulled, moved, refused, missing, cut off; on both engines."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import registry as registry_parts
from tests.support.box import Box
from tests.support.dockerd import IMAGE, DockerEngine
from tests.support.registry import Registry, running_registry
from tests.support.waiting import wait_until

CONFIG = """
[jobs]
runtimes = ["docker"]
default_runtime = "docker"
default_shm = "64M"
min_uid = 0
max_attempts = 1
[docker]
host = "{host}"
network = "none"
pull = "missing"
images = ["gpuboard-test/*", "{registry}/lab/*", "{silent}/lab/*"]
[devices]
probe = "simulated"
"""
SAYS = ("--", "cat", "/etc/says")
ENDS = ("succeeded", "failed", "cancelled", "lost")


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    """Give a registry that all tests here share."""
    if reason := registry_parts.missing_parts():
        if os.environ.get("GPUBOARD_REQUIRE_ENGINE") == "1":
            pytest.fail(f"GPUBOARD_REQUIRE_ENGINE=1, but {reason}", pytrace=False)
        pytest.skip(reason)
    with running_registry() as found:
        yield found


@pytest.fixture(scope="module")
def box(either_engine: DockerEngine, registry: Registry) -> Iterator[Box]:
    """Give a box that may pull what the registry keeps below lab/; the tests share it, each has its images."""
    folder = Path(tempfile.mkdtemp(prefix="gpuboard-e2e-"))
    silent = f"127.0.0.1:{registry.other_line.port}"
    words = {"host": either_engine.host, "registry": registry.host, "silent": silent}
    box = Box(folder, CONFIG.format(**words))
    try:
        box.start()
        yield box
    finally:
        box.stop()
        with contextlib.closing(either_engine.client()) as client:
            for image in client.images():
                for tag in image.get("RepoTags") or ():
                    if tag.startswith("127.0.0.1:"):
                        client.remove_image(tag, force=True)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def full_speed(registry: Registry) -> Iterator[None]:
    """Make the line fast again after each test."""
    yield
    registry.line.bytes_per_s = registry.other_line.bytes_per_s = 0


def push(
    engine: DockerEngine, registry: Registry, name: str, says: str, extra_bytes: int = 0
) -> str:
    """Push an image named lab/NAME:1 and return its id."""
    with contextlib.closing(engine.client()) as client:
        return registry.push(client, f"lab/{name}", "1", says, extra_bytes)


def jobs(box: Box) -> set[int]:
    """Return all jobs' numbers."""
    lists = (box.json("ps", "--all"), box.json("history"))
    return {job["id"] for found in lists for job in found["jobs"]}


def log(box: Box, job: int) -> str:
    """Return a job's log."""
    return box.run("logs", str(job)).stdout


def test_missing_image_is_pulled_and_the_waiting_is_told(
    box: Box, either_engine: DockerEngine, registry: Registry
):
    """With progress in the job's reason; what ran is recorded by its digest; the second job pulls nothing."""
    pushed = push(either_engine, registry, "pulled", "one", 6 << 20)
    registry.line.bytes_per_s = 3 << 20
    reference = f"{registry.host}/lab/pulled:1"
    job = box.submit("--image", reference, *SAYS)
    seen: set[str] = set()

    def ended() -> bool:
        view = box.job(job)
        seen.add(view["reason"])
        return view["state"] in ENDS

    wait_until(ended, 60, "the job with the pulled image")
    assert box.job(job)["state"] == "succeeded", box.job(job)
    assert any("pulling" in words for words in seen), seen
    assert any("MiB" in words for words in seen), seen
    assert log(box, job) == "one\n"
    assert box.json("show", str(job))["image_id"] == pushed
    calls = registry.line.calls
    again = box.submit("--image", reference, *SAYS)
    assert box.wait_state(again, *ENDS)["state"] == "succeeded"
    assert registry.line.calls == calls


def test_moved_tag_changes_nothing_for_a_job_that_was_admitted(
    box: Box, either_engine: DockerEngine, registry: Registry
):
    """What is on the box is what runs, whatever the registry now keeps under that name."""
    first = push(either_engine, registry, "moving", "first")
    reference = f"{registry.host}/lab/moving:1"
    job = box.submit("--image", reference, *SAYS)
    assert box.wait_state(job, *ENDS)["state"] == "succeeded"
    held = box.submit("--hold", "--image", reference, *SAYS)
    before = registry.manifest_digest("lab/moving", "1")
    assert push(either_engine, registry, "moving", "second") != first
    assert registry.manifest_digest("lab/moving", "1") != before
    assert box.run("release", str(held)).returncode == 0
    assert box.wait_state(held, *ENDS)["state"] == "succeeded"
    assert log(box, held) == "first\n"
    assert box.json("show", str(held))["image_id"] == first


def test_image_by_digest_is_the_one_of_that_digest(
    box: Box, either_engine: DockerEngine, registry: Registry
):
    """Though its tag names another by now."""
    first = push(either_engine, registry, "pinned", "first")
    digest = registry.manifest_digest("lab/pinned", "1")
    push(either_engine, registry, "pinned", "second")
    job = box.submit("--image", f"{registry.host}/lab/pinned@{digest}", *SAYS)
    assert box.wait_state(job, *ENDS)["state"] == "succeeded", box.job(job)
    assert log(box, job) == "first\n"
    assert box.json("show", str(job))["image_id"] == first


def test_image_off_the_list_is_refused_and_nobody_is_asked(
    box: Box, either_engine: DockerEngine, registry: Registry
):
    """Another folder of the same registry, another registry, an address in the cloud: no network call."""
    with contextlib.closing(either_engine.client()) as client:
        registry.push(client, "other/x", "1", "no")
    calls, known = registry.line.calls, jobs(box)
    for reference in (
        f"{registry.host}/other/x:1",
        f"{registry.host}/lab/../other/x:1",
        f"localhost:{registry.line.port}/lab/x:1",
        "169.254.169.254/lab/x:1",
    ):
        done = box.run("submit", "--image", reference, *SAYS)
        assert done.returncode in {1, 2}, (reference, done)
        assert "image" in done.stderr
    assert jobs(box) == known
    assert registry.line.calls == calls


def test_missing_tag_is_the_jobs_clear_reason(
    box: Box, either_engine: DockerEngine, registry: Registry
):
    """It names the image and what the registry said; the next job runs."""
    job = box.submit("--image", f"{registry.host}/lab/nothing:7", *SAYS)
    view = box.wait_state(job, *ENDS)
    assert view["state"] == "failed"
    assert f"{registry.host}/lab/nothing:7 cannot be pulled" in view["reason"]
    assert "not found" in view["reason"] or "unknown" in view["reason"]
    after = box.submit("--image", IMAGE, "--", "true")
    assert box.wait_state(after, *ENDS)["state"] == "succeeded"


def test_registry_that_dies_in_the_middle_is_the_jobs_clear_reason_and_the_queue_goes_on(
    box: Box, either_engine: DockerEngine, registry: Registry
):
    """Others run while the image is pulled and after it failed; the registry's return heals."""
    push(either_engine, registry, "cut", "whole", 24 << 20)
    registry.line.bytes_per_s = 4 << 20
    reference = f"{registry.host}/lab/cut:1"
    job = box.submit("--image", reference, *SAYS)
    try:
        wait_until(lambda: "MiB" in box.job(job)["reason"], 30, "the pull to get going")
        other = box.submit("--image", IMAGE, "--", "true")
        assert box.wait_state(other, *ENDS)["state"] == "succeeded"
        assert "pull" in box.job(job)["reason"]
        registry.kill()
        view = box.wait_state(job, *ENDS, timeout_s=90)
        assert view["state"] == "failed"
        assert f"{reference} cannot be pulled" in view["reason"]
        other = box.submit("--image", IMAGE, "--", "true")
        assert box.wait_state(other, *ENDS)["state"] == "succeeded"
    finally:
        registry.kill()
        registry.start()
    registry.line.bytes_per_s = 0
    again = box.submit("--image", reference, *SAYS)
    assert box.wait_state(again, *ENDS)["state"] == "succeeded", box.job(again)
    assert log(box, again) == "whole\n"


def test_silent_registry_holds_up_nobody_elses_image(
    box: Box, either_engine: DockerEngine, registry: Registry
):
    """Another person's image comes while one registry says nothing."""
    push(either_engine, registry, "stuck", "late", 1 << 20)
    push(either_engine, registry, "beside", "beside")
    registry.other_line.bytes_per_s = 1
    stuck = box.submit("--image", f"127.0.0.1:{registry.other_line.port}/lab/stuck:1", *SAYS)
    wait_until(lambda: "pulling" in box.job(stuck)["reason"], 20, "the pull to be under way")
    beside = box.submit("--image", f"{registry.host}/lab/beside:1", *SAYS)
    assert box.wait_state(beside, *ENDS)["state"] == "succeeded", box.job(beside)
    assert "pulling" in box.job(stuck)["reason"]
    assert box.run("cancel", str(stuck)).returncode == 0


def test_pull_that_nobody_waits_for_any_more_ends(
    box: Box, either_engine: DockerEngine, registry: Registry
):
    """A cancelled mistake of 100 GB must not fill the disk; whoever wants it later has it from the start."""
    push(either_engine, registry, "mistake", "whole", 32 << 20)
    registry.line.bytes_per_s = 3 << 20
    reference = f"{registry.host}/lab/mistake:1"
    job = box.submit("--image", reference, *SAYS)
    wait_until(lambda: "MiB" in box.job(job)["reason"], 30, "the pull to get going")
    assert box.run("cancel", str(job)).returncode == 0

    def has_stopped() -> bool:
        before = registry.line.sent_bytes
        time.sleep(1)
        return registry.line.sent_bytes == before

    wait_until(has_stopped, 6, "the registry to be left alone, long before the image is here")
    registry.line.bytes_per_s = 0
    again = box.submit("--image", reference, *SAYS)
    assert box.wait_state(again, *ENDS)["state"] == "succeeded", box.job(again)
    assert log(box, again) == "whole\n"

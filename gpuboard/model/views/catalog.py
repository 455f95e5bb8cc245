"""What leaves the daemon for those who make a job: images and templates."""

from __future__ import annotations

import msgspec

from gpuboard.model.requests import SubmitRequest
from gpuboard.model.views import SCHEMA


class ImageView(msgspec.Struct, frozen=True, kw_only=True):
    """A local image that jobs may use."""

    reference: str
    id: str
    created_at: str | None = None
    size_bytes: int | None = None


class ImageList(msgspec.Struct, frozen=True, kw_only=True):
    """Local images."""

    schema: int = SCHEMA
    images: list[ImageView] = []


class TemplateView(msgspec.Struct, frozen=True, kw_only=True):
    """One of the lab's jobs as a beginning for others."""

    name: str
    about: str = ""
    request: SubmitRequest
    """What it asks for, as the caller would."""


class TemplateList(msgspec.Struct, frozen=True, kw_only=True):
    """The lab's templates, by name."""

    schema: int = SCHEMA
    templates: list[TemplateView] = []

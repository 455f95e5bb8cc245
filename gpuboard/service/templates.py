"""The lab's templates: jobs in the configuration, as a beginning for everybody's."""

from __future__ import annotations

from gpuboard.config.settings import TemplateConfig
from gpuboard.model.job import Mount
from gpuboard.model.person import Caller, Person
from gpuboard.model.requests import SubmitRequest
from gpuboard.model.views.catalog import TemplateList, TemplateView
from gpuboard.service.context import ServiceContext


class TemplateService:
    """What the configuration offers as a beginning."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    def list(self, caller: Caller) -> TemplateList:
        """Return the templates by name, as the caller would ask for them."""
        templates = self._context.config.templates
        return TemplateList(
            templates=[
                TemplateView(name=name, about=one.about, request=_request(one, caller.person))
                for name, one in sorted(templates.items())
            ]
        )


def _request(template: TemplateConfig, person: Person) -> SubmitRequest:
    pairs = (text.partition("=") for text in template.env)
    return SubmitRequest(
        image=template.image,
        command=list(template.command),
        name=template.name,
        gpus=template.gpus,
        gpu_type=template.gpu_type,
        gpu_memory=template.gpu_mem,
        time_limit=template.time,
        env={key: value for key, _, value in pairs},
        mounts=[_mount(_own(text, person)) for text in template.mounts],
        ports=list(template.ports),
        workdir=_own(template.workdir, person),
        shm_size=template.shm_size,
        cpus=template.cpus,
        memory=template.memory,
        class_name=template.class_name,
        preemptible=template.preemptible,
        requeue=template.requeue,
    )


def _own(text: str, person: Person) -> str:
    return text.replace("{home}", person.home).replace("{user}", person.name)


def _mount(text: str) -> Mount:
    source, _, rest = text.partition(":")
    target, _, mode = rest.partition(":")
    return Mount(source, target or source, mode == "ro")

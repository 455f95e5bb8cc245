"""The lab's templates, as each caller would ask for them."""

from __future__ import annotations

import msgspec

from gpuboard.config import parse_config
from gpuboard.service.services import Services
from tests.support.engine import Box
from tests.support.services import AS_ANN, AS_BEN

CONFIG = """
[templates.train]
about = "two GPUs over night"
image = "pytorch:2.4"
command = ["python", "train.py"]
gpus = 2
time = "12h"
env = ["WANDB_MODE=offline"]
mounts = ["{home}/data:/data:ro", "/scratch/{user}:/scratch"]
ports = ["8888"]
class_name = "night"
"""


def test_a_template_is_told_with_the_callers_own_paths(box: Box, services: Services) -> None:
    templates = parse_config(CONFIG, env={}).templates
    services.templates._context.config = msgspec.structs.replace(
        services.templates._context.config, templates=templates
    )
    (template,) = services.templates.list(AS_ANN).templates
    assert (template.name, template.about) == ("train", "two GPUs over night")
    request = template.request
    assert (request.image, request.command, request.gpus) == (
        "pytorch:2.4",
        ["python", "train.py"],
        2,
    )
    assert request.ports == ["8888"]
    assert request.env == {"WANDB_MODE": "offline"}
    assert [(m.source, m.target, m.read_only) for m in request.mounts] == [
        (f"{AS_ANN.person.home}/data", "/data", True),
        ("/scratch/ann", "/scratch", False),
    ]
    others = services.templates.list(AS_BEN).templates[0].request
    assert others.mounts[1].source == "/scratch/ben"


def test_without_any_there_are_none(services: Services) -> None:
    assert services.templates.list(AS_ANN).templates == []

"""Configuration: TOML into one frozen Config; an unknown key is an error with the nearest spelling."""

from gpuboard.config.reading import SYSTEM_FILE, config_file, load_config, parse_config
from gpuboard.config.settings import (
    ApiConfig,
    ClassConfig,
    Config,
    DaemonConfig,
    DevicesConfig,
    DockerConfig,
    GroupConfig,
    JobsConfig,
    LogsConfig,
    PolicyConfig,
    QuotaConfig,
    ReservationsConfig,
    TemplateConfig,
    UsageConfig,
)
from gpuboard.config.standard import defaults_for

__all__ = [
    "SYSTEM_FILE",
    "ApiConfig",
    "ClassConfig",
    "Config",
    "DaemonConfig",
    "DevicesConfig",
    "DockerConfig",
    "GroupConfig",
    "JobsConfig",
    "LogsConfig",
    "PolicyConfig",
    "QuotaConfig",
    "ReservationsConfig",
    "TemplateConfig",
    "UsageConfig",
    "config_file",
    "defaults_for",
    "load_config",
    "parse_config",
]

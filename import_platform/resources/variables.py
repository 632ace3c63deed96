"""Variables that a declaration names, such as a password or a webhook: looked up when they are needed, never before."""

from __future__ import annotations

import os
from collections.abc import Mapping

from import_platform.errors import ConfigError


def required_variable(name: str, environ: Mapping[str, str] | None = None) -> str:
    """Its value of now. Raises ConfigError where it is not set; the sentence names it."""
    env = os.environ if environ is None else environ
    if name not in env:
        raise ConfigError(
            f"the variable {name} is not set",
            remedy=f"Set {name} in the environment of this process, then try again.",
        )
    return env[name]


def optional_variable(name: str) -> str | None:
    """Its value of now; None where it is not set, or empty."""
    return os.environ.get(name) or None

"""Where the steps of a run work: in the run's own process, in processes beside it, on Dask, or in pods."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping
from enum import StrEnum
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import dagster as dg

from import_platform.errors import ConfigError

VARIABLE = "IMPORT_PLATFORM_EXECUTOR"


class Steps(StrEnum):
    """The values of IMPORT_PLATFORM_EXECUTOR."""

    IN_PROCESS = "in_process"
    MULTIPROCESS = "multiprocess"
    DASK = "dask"
    KUBERNETES = "kubernetes"


_NEEDS = {Steps.DASK: ("distributed", "dask"), Steps.KUBERNETES: ("dagster_k8s", "cluster")}
"""The package that an executor needs beside Dagster, and our extra that brings it."""

_DEFINED = {
    Steps.IN_PROCESS: ("dagster", "in_process_executor"),
    Steps.MULTIPROCESS: ("dagster", "multiprocess_executor"),
    Steps.DASK: ("import_platform.resources.dask_executor", "dask_executor"),
    Steps.KUBERNETES: ("import_platform.resources.kubernetes_executor", "kubernetes_executor"),
}
"""By name, as two of them need packages that are extras and take a second to import."""

_ONE_PROCESS = frozenset({"in_process", "execute_in_process_executor"})


def executor(environ: Mapping[str, str] | None = None) -> dg.ExecutorDefinition:
    """The executor that IMPORT_PLATFORM_EXECUTOR names. What the command line starts works in its own process anyway.

    Raises:
        ConfigError: no such executor, or its package is not installed.
    """
    env = os.environ if environ is None else environ
    name = env.get(VARIABLE) or Steps.IN_PROCESS
    if name not in set(Steps):
        known = ", ".join(Steps)
        raise ConfigError(f"{VARIABLE} names no executor", found=name[:100], remedy=f"Write one of {known}.")
    steps = Steps(name)
    module, extra = _NEEDS.get(steps, ("dagster", ""))
    if find_spec(module) is None:
        remedy = f"Install import_platform[{extra}], in the code location and where steps work."
        raise ConfigError(f"{VARIABLE} names an executor that is not installed", executor=name, remedy=remedy)
    made: dg.ExecutorDefinition = getattr(import_module(_DEFINED[steps][0]), _DEFINED[steps][1])
    return made


def is_one_process(context: Any) -> bool:
    """Whether all steps of the run of this step's context work in one process."""
    return context.job_def.executor_def.name in _ONE_PROCESS


def run_process(context: Any) -> int | None:
    """The id of the process that holds this step's run together; None where this step cannot tell.

    A step's own process may end, or be killed and replaced, while its run goes on.
    """
    if is_one_process(context):
        return os.getpid()
    parent = multiprocessing.parent_process()
    return parent.pid if parent is not None and context.job_def.executor_def.name == Steps.MULTIPROCESS else None

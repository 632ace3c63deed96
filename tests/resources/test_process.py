from __future__ import annotations

import subprocess
import sys

from import_platform.resources.naming import HOST_TAG, PROCESS_TAG
from import_platform.resources.process import is_gone, process_tags

PRINT_TAGS = """
import json
from import_platform.resources.process import process_tags
print(json.dumps(process_tags()), flush=True)
"""


def _child(code):
    return subprocess.Popen(
        [sys.executable, "-c", PRINT_TAGS + code], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )


def test_a_running_process_is_not_gone_and_a_killed_one_is():
    import json

    child = _child("input()")
    tags = json.loads(child.stdout.readline())
    assert not is_gone(tags)
    child.kill()
    # Not waited for yet: a killed process whose parent has not looked is still listed, and yet works no more.
    while child.poll() is None:
        pass
    assert is_gone(tags)


def test_this_process_is_not_gone():
    assert not is_gone(process_tags())


def test_the_same_id_with_another_start_is_another_process():
    tags = process_tags()
    pid = tags[PROCESS_TAG].partition(":")[0]
    assert is_gone({**tags, PROCESS_TAG: f"{pid}:1"})


def test_a_process_of_another_host_is_never_called_gone():
    assert not is_gone({HOST_TAG: "elsewhere.1", PROCESS_TAG: "1:1"})


def test_a_run_without_tags_is_never_called_gone():
    assert not is_gone({})

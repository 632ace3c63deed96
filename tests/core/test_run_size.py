"""How large a run is, for a queue and for a pod."""

import pytest

from import_platform.core.budget import GIB, MIB
from import_platform.core.run_size import MemoryClass, kubernetes_config, largest, memory_class


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(0, "small"), (30, "small"), (31, "medium"), (60, "medium"), (61, "large"), (300, "large")],
)
def test_the_class_is_the_share_of_the_budget(percent, expected):
    assert memory_class(percent * 10, budget_bytes=1000) == expected


def test_what_nobody_knows_is_large():
    assert memory_class(None, budget_bytes=GIB) is MemoryClass.LARGE
    assert largest([5, None]) is None
    assert largest([5, 7]) == 7
    assert largest([]) is None


def test_a_pod_asks_for_what_is_expected_and_its_limit_leaves_the_budget_whole():
    config = kubernetes_config(400 * MIB, budget_bytes=GIB)
    assert config == {
        "container_config": {"resources": {"requests": {"memory": "500Mi"}, "limits": {"memory": "1280Mi"}}}
    }
    assert 1280 * MIB * 80 // 100 >= GIB


@pytest.mark.parametrize("expected", [None, 20 * GIB])
def test_a_pod_never_asks_for_more_than_its_limit(expected):
    memory = kubernetes_config(expected, budget_bytes=GIB)["container_config"]["resources"]
    assert memory["requests"] == memory["limits"]

"""What a trial counts, and what it reads."""

from __future__ import annotations

import time

import pytest

from rpdr.pipeline.trials import WARM, _Steps

STEP_S = 0.05


@pytest.mark.parametrize("done", [1, WARM, WARM + 1])
def test_a_step_takes_its_time_however_few_there_are(done: int):
    steps = _Steps(60.0)
    for _ in range(done):
        time.sleep(STEP_S)
        steps.told()
    assert steps.seconds >= 0.9 * STEP_S
    assert steps.begin < STEP_S * WARM

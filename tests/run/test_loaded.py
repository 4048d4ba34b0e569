"""A run's student as it is loaded to link."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rpdr.config import LinkConfig
from rpdr.reranker import Calibration
from rpdr.reranker.reranker import CALIBRATION_FILE
from rpdr.reranker.shortcut import Shortcut
from rpdr.run.loaded import calibrated
from tests.scored import SHOWS


def test_what_the_student_is_not_asked_about_is_set_when_it_links(tmp_path: Path):
    replace(SHOWS, dev_right=(False,) * 300).save(tmp_path / CALIBRATION_FILE)
    assert calibrated(tmp_path, LinkConfig())[1] is None  # an older student's
    Shortcut(
        Calibration(), dev_confidence=SHOWS.dev_confidence, dev_right=(True,) * 300, dev_same=(True,) * 300, dev_exact=(False,) * 300
    ).save(tmp_path)
    plain, none = calibrated(tmp_path, LinkConfig(shortcut=None))
    assert none is None
    assert not any(plain.dev_right)
    seen, shortcut = calibrated(tmp_path, LinkConfig(shortcut=0.98))
    assert shortcut is not None
    assert shortcut.above < 1
    assert 200 < sum(seen.dev_right) <= 300
    stricter = calibrated(tmp_path, LinkConfig(shortcut=0.999))[1]
    assert stricter is not None
    assert stricter.above == 1  # 300 mentions do not show that

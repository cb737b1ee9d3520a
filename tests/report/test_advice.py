"""Every anomaly has advice that a tired person can follow."""

from __future__ import annotations

import pytest

from training_monitor.records import KINDS
from training_monitor.report.advice import ADVICE, FAILURES, Advice, advice_for


def test_every_kind_of_anomaly_has_advice_in_triage_order() -> None:
    assert tuple(ADVICE) == KINDS


@pytest.mark.parametrize("advice", [*ADVICE.values(), *FAILURES.values()], ids=lambda a: a.title)
def test_advice_is_short_sentences(advice: Advice) -> None:
    assert advice.actions
    for sentence in (advice.meaning, advice.look_first, *advice.actions):
        assert sentence.endswith(".")
        assert len(sentence) <= 130
        assert "\n" not in sentence


def test_a_crash_is_told_apart_by_its_failure() -> None:
    assert advice_for("crashed", "cuda_oom").title == "GPU out of memory"
    assert advice_for("crashed", "never heard of") is ADVICE["crashed"]
    assert advice_for("crashed") is ADVICE["crashed"]


def test_a_failure_kind_changes_no_other_advice() -> None:
    assert advice_for("loss_spike", "cuda_oom") is ADVICE["loss_spike"]


def test_an_unknown_kind_still_gets_an_answer() -> None:
    assert advice_for("gremlins").actions

"""The table of thresholds and what may stand in it."""

from __future__ import annotations

from typing import Any

import pytest

from training_monitor.detect.thresholds import Limits, Thresholds
from training_monitor.errors import ConfigError


def test_the_defaults_are_the_promised_table() -> None:
    assert Thresholds().table() == {
        ("loss_spike", "warning"): 1.5,
        ("loss_spike", "critical"): 2.0,
        ("mfu_drop", "warning"): 0.15,
        ("mfu_drop", "critical"): 0.30,
        ("plateau", "warning"): 500,
        ("plateau", "critical"): 1000,
        ("slowdown", "warning"): 1.5,
        ("slowdown", "critical"): 2.0,
        ("grad_norm_spike", "warning"): 5.0,
        ("grad_norm_spike", "critical"): 10.0,
    }
    assert Thresholds().plateau_improvement == 0.01


def test_a_mapping_overrides_what_it_names_and_nothing_else() -> None:
    given = Thresholds.from_mapping({"loss_spike": {"critical": 3}, "plateau": {"improvement": 0.02}})
    assert given == Thresholds(loss_spike=Limits(1.5, 3.0), plateau_improvement=0.02)


@pytest.mark.parametrize(
    ("mapping", "problems"),
    [
        ({"loss_spike": {"critical": 1.2}}, ["d.loss_spike.critical: 1.2 is not above warning 1.5"]),
        ({"slowdown": {"warning": 1}}, ["d.slowdown.warning: 1 is not a ratio above 1"]),
        ({"mfu_drop": {"critical": 30}}, ["d.mfu_drop.critical: 30 is not between 0 and 1 (0.15 is −15 %)"]),
        ({"plateau": {"improvement": 0}}, ["d.plateau.improvement: 0 is not between 0 and 1"]),
        ({"loss_spike": {"warning": True}}, ["d.loss_spike.warning: True is not a number"]),
        ({"loss_spike": {"warning": float("nan")}}, ["d.loss_spike.warning: nan is not a ratio above 1"]),
        ({"loss_spike": 2}, ["d.loss_spike: 2 is not a mapping such as {warning: …, critical: …}"]),
        ({"slowdown": {"warn": 2}}, ["d.slowdown.warn: unknown key, did you mean warning?; known: warning, critical"]),
        (
            {"loss_spikes": {}, "slowdown": {"critical": "x"}},
            [
                "d.loss_spikes: unknown detector, did you mean loss_spike?; "
                "known: loss_spike, mfu_drop, plateau, slowdown, grad_norm_spike",
                "d.slowdown.critical: 'x' is not a number",
            ],
        ),
    ],
)
def test_every_wrong_number_is_named_with_its_place_and_what_is_allowed(
    mapping: dict[str, Any], problems: list[str]
) -> None:
    with pytest.raises(ConfigError) as error:
        Thresholds.from_mapping(mapping, "d")
    assert error.value.problems == problems


def test_the_constructor_checks_its_numbers_too() -> None:
    with pytest.raises(ConfigError, match=r"detectors\.loss_spike\.critical: 1\.2 is not above warning 1\.5"):
        Thresholds(loss_spike=Limits(1.5, 1.2))

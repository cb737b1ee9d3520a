"""MFU computed from what a log says."""

from __future__ import annotations

import pytest

from training_monitor.estimate.mfu import computed_mfu

H100 = 989e12


def test_tflops_per_device_over_the_peak() -> None:
    assert computed_mfu(tflops=400.0, peak_flops=H100) == pytest.approx(400 / 989)


def test_a_real_nanochat_line_gives_the_mfu_that_it_prints() -> None:
    # step 08349/16704: tok/sec: 817,841 | mfu: 51.12, FLOPs per token 4.945112e+09, 8 H100
    mfu = computed_mfu(
        tokens_per_second=817_841, scope="global", flops_per_token=4.945112e9, peak_flops=H100, world_size=8
    )
    assert mfu == pytest.approx(0.5112, abs=5e-5)


def test_tokens_of_one_device_need_no_world_size() -> None:
    args = {"tokens_per_second": 10_000.0, "flops_per_token": 4e10, "peak_flops": H100}
    assert computed_mfu(scope="device", **args) == pytest.approx(4e14 / H100)
    assert computed_mfu(scope="global", **args) is None
    assert computed_mfu(**args) is None


def test_six_flops_per_parameter_stand_in_for_unknown_flops_per_token() -> None:
    mfu = computed_mfu(tokens_per_second=1e4, scope="device", parameters=5e9, peak_flops=H100)
    assert mfu == pytest.approx(6 * 5e9 * 1e4 / H100)


def test_an_impossible_result_is_unknown() -> None:
    assert computed_mfu(tokens_per_second=1e5, scope="device", parameters=47e9, peak_flops=H100) is None
    assert computed_mfu(tflops=0.0, peak_flops=H100) is None
    assert computed_mfu(tflops=float("nan"), peak_flops=H100) is None


@pytest.mark.parametrize("peak", [None, 0.0, float("inf"), float("nan"), -1.0])
def test_no_peak_means_no_mfu(peak: float | None) -> None:
    assert computed_mfu(tflops=400.0, peak_flops=peak) is None

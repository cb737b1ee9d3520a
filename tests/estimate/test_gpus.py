"""Peaks of accelerators, by the names that logs print."""

from __future__ import annotations

import pytest

from training_monitor.estimate.gpus import GPUS, find_gpu, peak_flops


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835),
        ("H100 SXM", 989),
        ("h100-sxm5", 989),
        ("NVIDIA H200", 989),
        ("NVIDIA GH200 480GB", 989),
        ("NVIDIA H20", 148),
        ("NVIDIA B200", 2250),
        ("NVIDIA GB200", 2500),
        ("NVIDIA GB300", 2500),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A100-PCIE-40GB", 312),
        ("NVIDIA A10G", 70),
        ("NVIDIA A10", 125),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362),
        ("NVIDIA L40", 181),
        ("Tesla V100-SXM2-32GB", 125),
        ("Tesla T4", 65),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("RTX4090", 165.2),
        ("NVIDIA GeForce RTX 3090", 71),
        ("NVIDIA GeForce RTX 3090 Ti", 80),
        ("NVIDIA GeForce RTX 5090", 209.5),
        ("NVIDIA RTX 6000 Ada Generation", 364.2),
        ("NVIDIA RTX A6000", 154.8),
        ("AMD Instinct MI300X", 1307.4),
        ("AMD Instinct MI250X", 191.5),
        ("TPU v4", 275),
        ("TPU v5 lite", 197),
        ("TPU v5e", 197),
        ("TPU v5p", 459),
        ("TPU v6e", 918),
        ("TPU v6 lite", 918),
        ("TPU7x", 2307),
    ],
)
def test_a_device_is_found_by_the_name_that_logs_print(name: str, tflops: float) -> None:
    peak = peak_flops(name)
    assert peak is not None
    assert peak / 1e12 == pytest.approx(tflops)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "cpu",
        "NVIDIA GeForce RTX 4070",
        "NVIDIA GeForce RTX 4090 D",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA A100-SXM4-80GB MIG 1g.10gb",
        "H1000",
        "unknown",
    ],
)
def test_an_unknown_device_stays_unknown(name: str) -> None:
    assert peak_flops(name) is None


def test_fp8_has_its_own_peak_only_where_the_hardware_has_it() -> None:
    assert peak_flops("NVIDIA H100 80GB HBM3", "fp8") == 1.979e15
    assert peak_flops("NVIDIA H100 80GB HBM3", "float8_e4m3") == 1.979e15
    assert peak_flops("NVIDIA A100-SXM4-80GB", "fp8") is None


def test_no_precision_means_bf16_and_an_unknown_one_means_unknown() -> None:
    assert peak_flops("NVIDIA A100-SXM4-80GB", None) == 312e12
    assert peak_flops("NVIDIA A100-SXM4-80GB", "bfloat16") == 312e12
    assert peak_flops("NVIDIA A100-SXM4-80GB", "fp32") is None


@pytest.mark.parametrize("gpu", GPUS, ids=lambda g: f"{g.name}-{g.pattern}")
def test_every_row_states_its_source_and_plausible_numbers(gpu: object) -> None:
    assert gpu in GPUS
    row = GPUS[GPUS.index(gpu)]  # type: ignore[arg-type]
    assert row.source
    assert 5e13 < row.half < 1e16
    assert row.fp8 is None or row.half <= row.fp8 <= 2.05 * row.half


def test_every_row_can_be_reached_by_its_own_name() -> None:
    for gpu in GPUS:
        found = find_gpu(gpu.name)
        assert found is not None
        assert found.name == gpu.name

"""Peak FLOP/s of accelerators, for model FLOPs utilisation.

Dense numbers: data sheets often print the one with structured sparsity, which is twice as high. Accumulation in fp32
for GeForce cards (half of what the data sheet shows for fp16 accumulation). One row is one device as a log counts
devices: a GPU, a TPU chip, one GCD of an MI250X.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Gpu(NamedTuple):
    """One accelerator. `half`, `fp8`: dense FLOP/s of one device; None where the hardware has no such matrix unit."""

    name: str
    pattern: str  # regular expression on the normalised name; the first row that matches counts
    half: float  # bf16 and fp16; fp16 only where the device has no bf16 (V100, T4)
    fp8: float | None
    source: str


_HOPPER = "NVIDIA H100 data sheet (with sparsity: 1,979 / 3,958 SXM; 1,513 / 3,026 PCIe; 1,671 / 3,341 NVL)"
_BLACKWELL = "NVIDIA Blackwell data sheet 3384703 (HGX B200 and B100, GB200 NVL72; half of the numbers with sparsity)"
_ULTRA = "NVIDIA Blackwell Ultra data sheet (HGX B300, GB300 NVL72; fp16 and fp8 as Blackwell)"
_ADA = "NVIDIA Ada GPU architecture white paper, appendix (fp32 accumulation)"
_AMPERE = "NVIDIA GA102 white paper, appendix (fp32 accumulation)"
_CDNA = "AMD Instinct product page, peak matrix performance"
_TPU = "Google Cloud TPU system architecture, peak compute per chip"

GPUS: tuple[Gpu, ...] = (
    Gpu("GB300", r"gb300", 2.5e15, 5.0e15, _ULTRA),
    Gpu("B300", r"b300", 2.25e15, 4.5e15, _ULTRA),
    Gpu("GB200", r"gb200", 2.5e15, 5.0e15, _BLACKWELL),
    Gpu("B200", r"b200", 2.25e15, 4.5e15, _BLACKWELL),
    Gpu("B100", r"b100", 1.75e15, 3.5e15, _BLACKWELL),
    Gpu("H200 NVL", r"h200.* nvl", 836e12, 1.671e15, "NVIDIA H200 data sheet (with sparsity: 1,671 / 3,341)"),
    Gpu("H200", r"g?h200", 989e12, 1.979e15, "NVIDIA H200 data sheet (with sparsity: 1,979 / 3,958)"),
    Gpu("H100 NVL", r"h100.* nvl", 835e12, 1.671e15, _HOPPER),
    Gpu("H100 PCIe", r"h100.* pcie", 756e12, 1.513e15, _HOPPER),
    Gpu("H100 SXM", r"h100", 989e12, 1.979e15, _HOPPER),
    Gpu("H800 PCIe", r"h800.* pcie", 756e12, 1.513e15, "as H100 PCIe; NVLink is what differs"),
    Gpu("H800 SXM", r"h800", 989e12, 1.979e15, "as H100 SXM; NVLink is what differs"),
    Gpu("H20", r"h20", 148e12, 296e12, "NVIDIA H20 data sheet"),
    Gpu("A100", r"a100", 312e12, None, "NVIDIA A100 data sheet (SXM and PCIe; with sparsity: 624)"),
    Gpu("A800", r"a800", 312e12, None, "as A100; NVLink is what differs"),
    Gpu("A40", r"a40", 149.7e12, None, "NVIDIA A40 data sheet"),
    Gpu("A30", r"a30", 165e12, None, "NVIDIA A30 data sheet"),
    Gpu("A10G", r"a10g", 70e12, None, "AWS EC2 G5 instances: 70 TFLOPS fp16 tensor per A10G"),
    Gpu("A10", r"a10", 125e12, None, "NVIDIA A10 data sheet"),
    Gpu("L40S", r"l40s", 362e12, 733e12, "NVIDIA L40S data sheet"),
    Gpu("L40", r"l40", 181e12, 362e12, "NVIDIA L40 data sheet"),
    Gpu("L20", r"l20", 119.5e12, 239e12, "NVIDIA L20 data sheet"),
    Gpu("L4", r"l4", 121e12, 242e12, "NVIDIA L4 data sheet (with sparsity: 242 / 485)"),
    Gpu("V100", r"v100s?.* pcie", 112e12, None, "NVIDIA V100 data sheet (PCIe); fp16 only"),
    Gpu("V100", r"v100", 125e12, None, "NVIDIA V100 data sheet (SXM2); fp16 only"),
    Gpu("T4", r"t4", 65e12, None, "NVIDIA T4 data sheet; fp16 only"),
    Gpu("RTX PRO 6000", r"rtx pro 6000", 503.8e12, 1007.6e12, "NVIDIA RTX Blackwell PRO white paper"),
    Gpu(
        "RTX 6000 Ada", r"rtx 6000 ada", 364.2e12, 728.5e12, "NVIDIA RTX 6000 Ada data sheet (with sparsity: 1,457 fp8)"
    ),
    Gpu("RTX A6000", r"(rtx )?a6000", 154.8e12, None, "NVIDIA RTX A6000 data sheet (with sparsity: 309.7)"),
    Gpu("RTX 5090", r"rtx 5090", 209.5e12, 419e12, "NVIDIA RTX Blackwell white paper, appendix (fp32 accumulation)"),
    Gpu("RTX 5080", r"rtx 5080", 112.6e12, 225.1e12, "NVIDIA RTX Blackwell white paper, appendix (fp32 accumulation)"),
    Gpu("RTX 4090", r"rtx 4090", 165.2e12, 330.3e12, _ADA),
    Gpu("RTX 4080", r"rtx 4080(?! super)", 97.5e12, 194.9e12, _ADA),
    Gpu("RTX 3090 Ti", r"rtx 3090 ti", 80e12, None, _AMPERE),
    Gpu("RTX 3090", r"rtx 3090", 71e12, None, _AMPERE),
    Gpu("RTX 3080", r"rtx 3080(?! ti)", 59.5e12, None, _AMPERE),
    Gpu("MI355X", r"mi355x?", 2.5166e15, 5.0332e15, _CDNA),
    Gpu("MI350X", r"mi350x?", 2.3069e15, 4.6139e15, _CDNA),
    Gpu("MI325X", r"mi325x?", 1.3074e15, 2.6149e15, _CDNA),
    Gpu("MI300A", r"mi300a", 980.6e12, 1.9612e15, _CDNA),
    Gpu("MI300X", r"mi300x?", 1.3074e15, 2.6149e15, _CDNA),
    Gpu("MI250X", r"mi250x", 191.5e12, None, _CDNA + " (383 for the two GCDs, each of which is a device)"),
    Gpu("MI250", r"mi250", 181e12, None, _CDNA + " (362.1 for the two GCDs, each of which is a device)"),
    Gpu("TPU v7", r"tpu ?v?7x?|ironwood", 2.307e15, 4.614e15, _TPU),
    Gpu("TPU v6e", r"tpu ?v6( lite|e)?|trillium", 918e12, None, _TPU),
    Gpu("TPU v5e", r"tpu ?v5( lite|litepod|e)", 197e12, None, _TPU),
    Gpu("TPU v5p", r"tpu ?v5p?", 459e12, None, _TPU),
    Gpu("TPU v4", r"tpu ?v4", 275e12, None, _TPU),
    Gpu("TPU v3", r"tpu ?v3", 123e12, None, _TPU),
    Gpu("Gaudi 3", r"gaudi ?3|hl 325l?", 1.835e15, 1.835e15, "Intel Gaudi 3 white paper, matrix engine"),
    Gpu("Gaudi 2", r"gaudi ?2|hl 225h?", 432e12, 865e12, "Intel Gaudi 2 white paper, matrix engine"),
    Gpu("Trainium2", r"trn2|trainium ?2", 667e12, 1.299e15, "AWS Trainium2 architecture, per chip"),
)

_ROWS = tuple((re.compile(rf"(?<![a-z0-9])(?:{gpu.pattern})(?![a-z0-9])"), gpu) for gpu in GPUS)
#: Parts and mobile versions of a device have other peaks than the device that they are named after.
_OTHER = re.compile(r"(?<![a-z0-9])(mig|laptop|mobile|max ?q|d)(?![a-z0-9])")
_HALF = {"bf16", "bfloat16", "fp16", "float16", "half", "16", "16 mixed", "bf16 mixed"}
_FP8 = re.compile(r"f(p|loat) ?8|mxfp8|e4m3|e5m2")


def find_gpu(name: str) -> Gpu | None:
    """The row of a device named as logs name it ("NVIDIA H100 80GB HBM3"), or None."""
    words = re.sub(r"(rtx) ?(\d)", r"\1 \2", re.sub(r"[^a-z0-9]+", " ", name.lower()))
    if _OTHER.search(words):
        return None
    return next((gpu for pattern, gpu in _ROWS if pattern.search(words)), None)


def is_half(precision: str | None) -> bool:
    """Whether matrix products run in bf16 or fp16, which is what None stands for."""
    return _words(precision) in _HALF


def _words(precision: str | None) -> str:
    return re.sub(r"[^a-z0-9]+", " ", (precision or "bf16").lower()).strip()


def peak_flops(gpu: str, precision: str | None = "bf16") -> float | None:
    """Dense FLOP/s of one device in `precision` (None: as bf16), or None where device or precision is unknown.

    >>> peak_flops("NVIDIA H100 80GB HBM3")
    989000000000000.0
    >>> peak_flops("NVIDIA GeForce RTX 4070") is None
    True
    """
    row = find_gpu(gpu)
    if row is None:
        return None
    if is_half(precision):
        return row.half
    return row.fp8 if _FP8.search(_words(precision)) else None

"""Accelerators by name: what their makers say of them. No torch."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """One device.

    Args:
        title: its name in full.
        bfloat16_flops_per_s: peak of dense matrix products, without sparsity, summed in float32.
        float32_flops_per_s: the same in float32 proper, which is what torch multiplies in by default; not TF32.
        memory_bytes: as sold, a GB being 10^9 bytes; most hold a little more.
    """

    title: str
    bfloat16_flops_per_s: float
    float32_flops_per_s: float
    memory_bytes: int

    def flops_per_s(self, bfloat16: bool) -> float:
        """The peak in one of the two precisions."""
        return self.bfloat16_flops_per_s if bfloat16 else self.float32_flops_per_s


# Data sheets give tensor-core figures with sparsity, which is twice the dense figure here.
ACCELERATORS = {
    # NVIDIA, DGX / HGX B200 data sheet (2024): per GPU an eighth of 36 PFLOPS with sparsity, 600 TFLOPS, 1,440 GB
    "b200": Accelerator(
        title="NVIDIA B200 (HGX)",
        bfloat16_flops_per_s=2250e12,
        float32_flops_per_s=75e12,
        memory_bytes=180 * 10**9,
    ),
    # NVIDIA, H200 Tensor Core GPU data sheet (2024), H200 SXM
    "h200": Accelerator(
        title="NVIDIA H200 SXM",
        bfloat16_flops_per_s=989.4e12,
        float32_flops_per_s=66.9e12,
        memory_bytes=141 * 10**9,
    ),
    # NVIDIA, H100 Tensor Core GPU data sheet and architecture white paper (2022), H100 SXM5
    "h100": Accelerator(
        title="NVIDIA H100 SXM",
        bfloat16_flops_per_s=989.4e12,
        float32_flops_per_s=66.9e12,
        memory_bytes=80 * 10**9,
    ),
    # The same, H100 PCIe
    "h100-pcie": Accelerator(
        title="NVIDIA H100 PCIe",
        bfloat16_flops_per_s=756e12,
        float32_flops_per_s=51e12,
        memory_bytes=80 * 10**9,
    ),
    # NVIDIA, A100 80GB Tensor Core GPU data sheet (2021)
    "a100": Accelerator(
        title="NVIDIA A100 80GB",
        bfloat16_flops_per_s=312e12,
        float32_flops_per_s=19.5e12,
        memory_bytes=80 * 10**9,
    ),
    # The same, A100 40GB
    "a100-40gb": Accelerator(
        title="NVIDIA A100 40GB",
        bfloat16_flops_per_s=312e12,
        float32_flops_per_s=19.5e12,
        memory_bytes=40 * 10**9,
    ),
    # NVIDIA, L40S data sheet (2023)
    "l40s": Accelerator(
        title="NVIDIA L40S",
        bfloat16_flops_per_s=362.05e12,
        float32_flops_per_s=91.6e12,
        memory_bytes=48 * 10**9,
    ),
    # NVIDIA, L4 data sheet (2023)
    "l4": Accelerator(
        title="NVIDIA L4",
        bfloat16_flops_per_s=121e12,
        float32_flops_per_s=30.3e12,
        memory_bytes=24 * 10**9,
    ),
    # NVIDIA, Ada GPU architecture white paper (2022), appendix A, with float32 accumulation
    "rtx4090": Accelerator(
        title="NVIDIA GeForce RTX 4090",
        bfloat16_flops_per_s=165.2e12,
        float32_flops_per_s=82.6e12,
        memory_bytes=24 * 10**9,
    ),
    # NVIDIA, Ampere GA102 GPU architecture white paper (2020), appendix, with float32 accumulation
    "rtx3090": Accelerator(
        title="NVIDIA GeForce RTX 3090",
        bfloat16_flops_per_s=71e12,
        float32_flops_per_s=35.6e12,
        memory_bytes=24 * 10**9,
    ),
}

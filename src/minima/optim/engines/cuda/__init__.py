"""The fused engine on NVIDIA GPUs: the kernel of the CPU for a grid of threads, and the driver that launches it."""

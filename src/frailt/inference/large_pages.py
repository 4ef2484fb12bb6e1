"""Memory on large pages: a cache is read row by row in every step, and many small pages take time to look up."""

import mmap
from contextlib import suppress
from math import prod

import torch
from torch import Tensor

LARGE_PAGE_BYTES = 2**21


def empty(like: Tensor, *shape: int) -> Tensor:
    """`like.new_empty(shape)`, on large pages where it fills some, the system has them and this is a CPU's memory."""
    size = prod(shape) * like.element_size()
    if like.device.type != "cpu" or size < LARGE_PAGE_BYTES or not hasattr(mmap, "MADV_HUGEPAGE"):
        return like.new_empty(shape)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # the tensor keeps it
    with suppress(OSError):  # a kernel without them has plain pages
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=like.dtype).view(shape)

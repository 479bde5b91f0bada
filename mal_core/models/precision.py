"""In which numbers a network computes where it draws."""

import torch


def computes_in_bf16(precision: str, device: torch.device) -> bool:
    """Whether forward passes run under autocast to bf16.

    Args:
        precision: fp32, bf16, or auto: bf16 on a GPU that has it, else fp32.
        device: Where the network is.
    """
    fits = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return precision == "bf16" or (precision == "auto" and fits)

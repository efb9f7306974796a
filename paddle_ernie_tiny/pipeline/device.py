"""The device that a run trains on."""

from __future__ import annotations

from ..errors import InputError


def find_device(device: str) -> str:
    """ "cpu" or "gpu" ("auto": the GPU if Paddle finds one). Raises InputError for a GPU that is not there."""
    import paddle

    gpu = paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    if device == "gpu" and not gpu:
        remedy = "install the gpu extra and check nvidia-smi, or set device=cpu"
        raise InputError("no GPU that this Paddle can use", "device", remedy)
    return "gpu" if device == "gpu" or (device == "auto" and gpu) else "cpu"

"""The machine, the versions and the device of a run."""

from __future__ import annotations

from ..errors import InputError
from ..machine import describe_machine, git_commit


def find_device(device: str) -> str:
    """ "cpu" or "gpu" ("auto": the GPU where Paddle finds one). Raises InputError for a GPU that is not there."""
    import paddle

    gpu = paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    if device == "gpu" and not gpu:
        raise InputError(
            "no GPU that this Paddle can use",
            "device",
            "install the gpu extra and check nvidia-smi, or set device=cpu",
        )
    return "gpu" if device == "gpu" or (device == "auto" and gpu) else "cpu"


def describe() -> dict:
    """What a reader needs to judge a measurement: CPU, cores, threads, device, versions."""
    import paddle

    return {**describe_machine(), "device": paddle.get_device()}


def header(context) -> dict:
    """What decided a run beside its configuration; stands in config.resolved.yaml."""
    values = {
        "environment": describe(),
        "git_commit": git_commit(),
        "data_fingerprints": context.data.fingerprints,
        "labels": context.data.labels,
    }
    if context.config.general_corpus is not None:
        values["general_corpus_fingerprint"] = context.corpus_fingerprint
    return values

"""What decided a run beside its configuration."""

from __future__ import annotations

from typing import Any

import paddle

from ..machine import describe_machine, git_commit
from .context import RunContext


def run_header(context: RunContext) -> dict[str, Any]:
    """Machine, versions, commit, labels and data fingerprints, for config.resolved.yaml."""
    values = {
        "environment": {**describe_machine(), "device": paddle.get_device()},
        "git_commit": git_commit(),
        "data_fingerprints": context.data.fingerprints,
        "labels": context.data.labels,
    }
    if context.config.general_corpus is not None:
        values["general_corpus_fingerprint"] = context.corpus_fingerprint
    return values

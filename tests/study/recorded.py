"""A small study whose jobs are recorded by hand: no training, every answer known."""

import numpy as np

from paddle_ernie_tiny.pipeline.step import PREDICTIONS

GOLD = np.array([0, 1, 0, 1, 1, 0, 1, 0, 1, 1])
VARIANTS = ["full", "no_general", "no_soft_label", "fine_tuned"]


def answers(wrong):
    """Class ids: the gold labels, but for the rows that are wrong."""
    given = GOLD.copy()
    given[list(wrong)] ^= 1
    return given


def finish(settings, job, given, teacher=0.9, **more):
    """Records a job whose student has given these answers to ten rows; its last two are not unseen."""
    job.folder.mkdir(parents=True, exist_ok=True)
    logits = np.eye(2)[given]
    unseen = np.arange(len(GOLD)) < 8
    np.savez_compressed(job.folder / PREDICTIONS, unseen=unseen, logits=logits, labels=GOLD, rows=np.arange(len(GOLD)))
    right = given == GOLD
    names = [stage.stage for stage in job.config.stages]
    stages = [{"name": name, "steps": 10, "rows_trained": 80, "seconds": 1.5, "curve": []} for name in names]
    values = {
        **{"score": float(right.mean()), "score_unseen": float(right[unseen].mean()), "interval": [0.1, 0.9]},
        **{"params": 1000, "rows": len(GOLD), "rows_unseen": 8, "settings": None, "agreement": 0.75, "kl": 0.5},
        "teacher": teacher and {"score": teacher, "score_unseen": 0.8, "params": 5000},
        "floor": {"score": 0.6, "score_unseen": 0.5},
        **{"kind": "classification", "metric": "accuracy", "evaluated_on": "test", "labels": ["negative", "positive"]},
        **{"stages": stages, "environment": {"python": "3.11"}, **more},
    }
    job.finish(job.key(settings), values)


def of(jobs, variant, task=None):
    return [job for job in jobs if job.variant == variant and task in (None, job.task)]

"""Distil the demo's student from Python, watch it train, and ask it. From the checkout's root:

python examples/distil_api.py [key.sub=value ...]

The run folder is runs/demo_api; the same call again continues where it stopped.
"""

import sys

import paddle_ernie_tiny as et


def show(progress: et.Progress) -> None:
    """One line for every log line of a training."""
    losses = ", ".join(f"{name} {value:.4f}" for name, value in progress.losses.items())
    share = progress.steps / progress.total_steps
    print(f"{progress.title}: {share:.0%}, {progress.seconds_left:.0f} s left, {losses}")


run = et.distil("configs/demo.yaml", overrides=sys.argv[1:], output_dir="runs/demo_api", on_progress=show)

scores = {name: run.report[name]["score"] for name in ("teacher", "baseline", "student")}
print(", ".join(f"{name} {score:.4f}" for name, score in scores.items()))

texts = ["房间很宽敞，不过隔音太差", "早餐丰富"]
for text, answer in zip(texts, run.predictor().predict(texts), strict=True):
    print(f"{answer.label} {answer.probability:.3f}  {text}")

"""The lines about a training where its output is not a terminal."""

from types import SimpleNamespace

from paddle_ernie_tiny.training import callbacks
from paddle_ernie_tiny.watch import Watcher


def test_a_line_comes_after_half_a_minute_without_one(monkeypatch, capsys):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(time=lambda: clock.now))
    progress = callbacks.ProgressLine("pre-training", Watcher())
    state = SimpleNamespace(global_step=0, max_steps=10)
    progress.on_train_begin(None, state, None)
    said = []
    for step, now in enumerate((10.0, 20.0, 31.0, 40.0, 62.0), start=1):
        clock.now, state.global_step = now, step
        progress.on_step_end(None, state, None)
        said.append(capsys.readouterr().out.strip())
    progress.on_train_end(None, state, None)
    assert said == ["", "", "pre-training: step 3/10  left 01:12", "", "pre-training: step 5/10  left 01:02"]

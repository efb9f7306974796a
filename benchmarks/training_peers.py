"""Is a step of distillation as fast as a peer's? This toolkit beside PyTorch with transformers, in one run.

    python benchmarks/training_peers.py --peer-python PYTHON --json OUT.json

A task-specific step of a BERT-base teacher (12 layers, 768 wide) and a 4L-312 student with all default terms
(attention, hidden states, embedding output, soft and hard labels): forward passes, loss, backward, clipping, AdamW.
PYTHON is the interpreter of an environment with torch, transformers and safetensors. Each side works in a process of
its own, with the same weights, rows, threads and malloc settings, and they take turns. Dropout is off, so that both
must find the same losses, which is checked. Steps that are compared:

    dynamic      this toolkit, the teacher in the dynamic graph
    inference    this toolkit, the teacher in Paddle Inference (`teacher.engine: inference`)
    cached       this toolkit, the teacher's signals from disk, as from the second pass on
    attentions   PyTorch, eager attention, whose maps the models return (sdpa has none to return)
    hooks        PyTorch, sdpa; queries and keys of the compared layers by hooks, as this toolkit reads them

The peer of a ratio is the faster one of the two. Ratios are medians of each round's own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import STUDENTS, TEACHER, VOCABULARY, machine, pair

from paddle_ernie_tiny.machine import cpu_cores, import_paddle, tune_process

OWN, PEER = ("dynamic", "inference", "cached"), ("attentions", "hooks")
RATES = {"learning_rate": 5e-5, "weight_decay": 0.01, "max_grad_norm": 1.0}


def main() -> None:
    """Parses the arguments, measures, prints, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="Python of the environment with torch and transformers")
    parser.add_argument("--batch", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--threads", type=int, default=cpu_cores())
    parser.add_argument("--rounds", type=int, default=6, help="the first one is not counted (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)  # this toolkit's process
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads if not args.serve else os.environ["OMP_NUM_THREADS"])
    tune_process()
    import_paddle()
    if args.serve:
        return serve(args.serve)
    if not args.peer_python:
        parser.error("give --peer-python")
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), args)
        result = {"settings": settings_of(args), **measure(Path(folder), args), "machine": machine()}
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def settings_of(args) -> dict:
    """What both sides were given."""
    return {
        **{"teacher": TEACHER, "student": STUDENTS["4l-312h"], "length": args.length, "threads": args.threads},
        **{"rounds": args.rounds, "peer": "PyTorch and transformers, fused AdamW, malloc as here"},
        **RATES,
    }


def prepare(folder: Path, args) -> None:
    """Writes the weights of both models for the peer, in PyTorch's terms, and the rows."""
    from safetensors.numpy import save_file

    from paddle_ernie_tiny.models.architectures import in_torch_terms
    from paddle_ernie_tiny.models.weights import to_numpy

    objective, student, teacher = pair("task_specific", "4l-312h")
    for name, model in ("teacher", teacher), ("student", student.classifier):
        arrays = {key.removeprefix("bert."): value for key, value in to_numpy(model.state_dict()).items()}
        turned = in_torch_terms(arrays, lambda value: np.ascontiguousarray(value.T), "bert.")
        save_file(turned, str(folder / f"{name}.safetensors"))
    arrays = {name.removesuffix(".weight"): value for name, value in student.projection_arrays().items()}
    save_file(arrays, str(folder / "projections.safetensors"))
    rng, rows = np.random.default_rng(0), max(args.batch)
    data = {"ids": rng.integers(5, VOCABULARY, (rows, args.length)), "labels": rng.integers(0, 2, rows)}
    save_file(data, str(folder / "batches.safetensors"))
    shape = {"vocab_size": VOCABULARY, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    shapes = {"teacher": {**shape, **TEACHER}, "student": {**shape, **STUDENTS["4l-312h"]}}
    (folder / "facts.json").write_text(json.dumps({**shapes, "layers": objective.layers, **RATES}))


class Own:
    """This toolkit's trainer of the stage, for one way to ask the teacher."""

    def __init__(self, folder: Path, name: str, size: int):
        from safetensors.numpy import load_file

        from paddle_ernie_tiny.config import TrainingSettings
        from paddle_ernie_tiny.data.rows import EncodedRows
        from paddle_ernie_tiny.distillation.teacher import Layout, SignalCache, Teacher
        from paddle_ernie_tiny.distillation.trainers import TaskSpecificDistillation
        from paddle_ernie_tiny.training.trainer import Training, training_arguments

        data = {key: value[:size] for key, value in load_file(str(folder / "batches.safetensors")).items()}
        rows = EncodedRows(data["ids"].tolist(), np.zeros_like(data["ids"]).tolist(), data["labels"])
        objective, student, model = pair("task_specific", "4l-312h")  # the weights that `prepare` wrote
        teacher = Teacher(model, objective.needs("teacher"), "inference" if name == "inference" else "dynamic")
        if name == "cached":
            layout = Layout(teacher.needs, TEACHER["hidden_size"], labels=2)
            teacher.cache = SignalCache(folder / f"signals-{size}", {}, layout, rows.lengths)
        settings = TrainingSettings(max_steps=10**6, per_device_train_batch_size=size, warmup_ratio=0.0, **RATES)
        arguments = training_arguments(settings, size, folder / name, folder / "vdl", 0)
        self.trainer = TaskSpecificDistillation(student, teacher, Training(arguments, rows, 0, name))
        self.trainer.create_optimizer_and_scheduler(num_training_steps=10**6)
        self.rows = [self.trainer.train_dataset[row] for row in range(size)]

    def step(self) -> dict[str, float]:
        """One step of training, as PaddleNLP's Trainer takes it."""
        import paddle

        trainer = self.trainer
        batch = {key: paddle.to_tensor(value) for key, value in trainer.make_batch(self.rows).items()}
        trainer.training_step(trainer.model, batch)
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
        trainer.optimizer.clear_grad()
        losses, trainer._term_sums = trainer._term_sums, {}
        return {name: float(value) for name, value in losses.items()}


def serve(folder: Path) -> None:
    """Takes steps until the input ends, as `training_peers_torch.py` does."""
    owned: dict[tuple[str, int], Own] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        name, size = asked["name"], asked["batch"]
        if (name, size) not in owned:
            owned = {key: own for key, own in owned.items() if key[1] == size}
            owned[name, size] = Own(folder, name, size)
        start, cpu = time.perf_counter(), time.process_time()
        losses = owned[name, size].step()
        took = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
        print(json.dumps({**took, "losses": losses}), flush=True)


class Side:
    """A process that takes steps when it is asked to."""

    def __init__(self, command: list[str], threads: int):
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, text=True, env=environment, **pipes)

    def __call__(self, name: str, batch: int) -> dict[str, Any]:
        """One step: its seconds, and the losses before it."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps({"name": name, "batch": batch}) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit("a side ended; its message is above")

    def close(self) -> None:
        """Ends the process."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def measure(folder: Path, args) -> dict:
    """The sides take turns; of each batch size the seconds, the ratios and how far the losses are apart."""
    own = Side([sys.executable, __file__, "--serve", str(folder)], args.threads)
    script = str(Path(__file__).with_name("training_peers_torch.py"))
    peer = Side([args.peer_python, "-I", script, str(folder), str(args.threads)], args.threads)
    sides = {**dict.fromkeys(OWN, own), **dict.fromkeys(PEER, peer)}
    results = {}
    try:
        for batch in args.batch:
            turns = [{name: side(name, batch) for name, side in sides.items()} for _ in range(args.rounds)]
            results[f"batch {batch}"] = compared(turns)
    finally:
        own.close()
        peer.close()
    return results


def compared(turns: list[dict[str, Any]]) -> dict:
    """Medians of all rounds but the first, ratios of the faster peer, and differences of the losses."""

    def of(what: str) -> dict[str, np.ndarray]:
        return {name: np.array([turn[name][what] for turn in turns[1:]]) for name in turns[0]}

    def medians(values: dict[str, np.ndarray]) -> dict[str, float]:
        return {name: round(float(np.median(value)), 3) for name, value in values.items()}

    seconds, cpu = of("seconds"), of("cpu_seconds")
    peer = min(PEER, key=lambda name: np.median(seconds[name]))
    apart = {}
    for name in (*OWN[1:], *PEER):
        pairs = [(turn["dynamic"]["losses"], turn[name]["losses"]) for turn in turns]
        relative = [[abs(other[term] / value - 1.0) for term, value in first.items()] for first, other in pairs]
        apart[name] = {"first step": float(f"{max(relative[0]):.1e}"), "all": float(f"{np.max(relative):.1e}")}
    return {
        "seconds": medians(seconds),
        "cpu_seconds": medians(cpu),
        "peer": peer,
        "ratio_to_peer": medians({name: seconds[name] / seconds[peer] for name in OWN}),
        "losses": {name: round(value, 6) for name, value in turns[0]["dynamic"]["losses"].items()},
        "largest_relative_difference_of_losses_to_dynamic": apart,
    }


if __name__ == "__main__":
    main()

"""What does distilling cost, beside the models' own forwards and backwards?

    python benchmarks/distillation.py step     --json OUT.json   a step against a bare teacher and a bare student
    python benchmarks/distillation.py cached   --json OUT.json   signals read from disk against an online teacher
    python benchmarks/distillation.py students --json OUT.json   three students together against three runs
    python benchmarks/distillation.py teacher  --json OUT.json   a teacher's forward pass in each engine
    python benchmarks/distillation.py memory   --json OUT.json   resident memory over 10,000 steps of small models

Models are of the shape of BERT-base (12 layers, 768 wide) and of the students named in the result, with random
weights: speed does not depend on them. What is compared takes turns in one process, so that other load on the machine
meets all of it; ratios are of medians. No step updates weights: optimisers cost the same on both sides.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from common import STUDENTS, TEACHER, VOCABULARY, alternate, classifier, distilled, machine, pair, rounded

from paddle_ernie_tiny.machine import import_paddle, tune_process


def main() -> None:
    """Parses the arguments, measures, prints, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=sorted(MEASUREMENTS))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7, help="the first one is not counted (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=8, help="of the data set, for `cached` (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="where to write the result")
    args = parser.parse_args()
    tune_process()
    import_paddle()
    result = {"what": args.what, **MEASUREMENTS[args.what](args), "machine": machine()}
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure_step(args) -> dict:
    """A step of task-specific distillation, all terms, against the two bare models; and where its own time goes."""
    import paddle
    import paddle.nn.functional as F

    from paddle_ernie_tiny.distillation.teacher import Teacher

    inputs, labels = _batch(args)
    bare_teacher, bare_student = classifier(TEACHER), classifier(STUDENTS["4l-312h"])
    bare_teacher.eval()
    objective, student, teacher_model = pair("task_specific", "4l-312h")
    teacher = Teacher(teacher_model, objective.needs("teacher"))

    def teacher_forward():
        with paddle.no_grad():
            bare_teacher(**inputs)

    def student_both():
        F.cross_entropy(bare_student(**inputs), labels).backward()
        bare_student.clear_gradients()

    parts: dict[str, list[float]] = {"teacher": [], "student forward": [], "objective forward": [], "backward": []}

    def step():
        marks = [time.perf_counter()]
        teacher_states = teacher(inputs)
        marks.append(time.perf_counter())
        student_states = student(**inputs)
        marks.append(time.perf_counter())
        total = objective.total(objective(student_states, teacher_states, inputs["attention_mask"], labels))
        marks.append(time.perf_counter())
        total.backward()
        marks.append(time.perf_counter())
        student.clear_gradients()
        for name, seconds in zip(parts, np.diff(marks), strict=True):
            parts[name].append(seconds)

    work = {"bare teacher forward": teacher_forward, "bare student forward and backward": student_both, "step": step}
    seconds = alternate(work, args.rounds)
    bare = seconds["bare teacher forward"] + seconds["bare student forward and backward"]
    return {
        "seconds": rounded(seconds),
        "step_over_bare": round(seconds["step"] / bare, 3),
        "profile_seconds": rounded({name: float(np.median(values[1:])) for name, values in parts.items()}),
        "objective": objective.equation(),
        "settings": {"batch": args.batch, "length": args.length, "teacher": TEACHER, "student": STUDENTS["4l-312h"]},
    }


def measure_cached(args) -> dict:
    """Samples per second of training steps with signals from disk and with an online teacher, and the loss of both."""
    from paddle_ernie_tiny.distillation.teacher import Layout, SignalCache, Teacher

    objective, student, teacher_model = pair("task_specific", "4l-312h")
    needs = objective.needs("teacher")
    layout = Layout(needs, TEACHER["hidden_size"], labels=2)
    lengths = np.full(args.batch * args.batches, args.length)
    folder = Path(tempfile.mkdtemp())
    try:
        cache = SignalCache(folder / "signals", {"teacher": "benchmark"}, layout, lengths)
        teacher = Teacher(teacher_model, needs, cache=cache)  # without the rows' numbers it is asked online
        batches = [_batch(args, seed) for seed in range(args.batches)]
        losses: dict[str, list[float]] = {"online": [], "cached": []}
        turn = {"online": 0, "cached": 0}

        def step(name, ask):
            number = turn[name] % args.batches
            turn[name] += 1
            inputs, labels = batches[number]
            teacher_states = ask(inputs, number)
            total = objective.total(objective(student(**inputs), teacher_states, inputs["attention_mask"], labels))
            total.backward()
            student.clear_gradients()
            losses[name].append(float(total))

        def rows(number):
            import paddle

            return paddle.arange(number * args.batch, (number + 1) * args.batch)

        start = time.perf_counter()
        for number in range(args.batches):  # the first epoch
            teacher(batches[number][0], rows(number))
        cache.sync()
        filling = time.perf_counter() - start
        work = {
            "online": lambda: step("online", lambda inputs, number: teacher(inputs)),
            "cached": lambda: step("cached", lambda inputs, number: teacher(inputs, rows(number))),
        }
        seconds = alternate(work, max(args.rounds, args.batches + 1))
        size = sum(file.stat().st_size for file in (folder / "signals").iterdir())
    finally:
        shutil.rmtree(folder)
    difference = max(abs(c - o) / o for o, c in zip(losses["online"], losses["cached"], strict=True))
    return {
        "seconds_a_step": rounded(seconds),
        "samples_per_second": rounded({name: args.batch / value for name, value in seconds.items()}),
        "cached_times_as_fast": round(seconds["online"] / seconds["cached"], 2),
        "largest_relative_difference_of_losses": float(f"{difference:.2e}"),
        "bytes_per_token": round(size / (len(lengths) * args.length), 1),
        "seconds_to_fill": round(filling, 2),
        "settings": {"batch": args.batch, "length": args.length, "batches": args.batches},
    }


def measure_students(args) -> dict:
    """A step of general distillation of three students together, against a step of each alone."""
    from paddle_ernie_tiny.distillation.teacher import Teacher
    from paddle_ernie_tiny.terms import Needs

    inputs, _ = _batch(args)
    students = {name: pair("general", name)[1] for name in STUDENTS}
    model = classifier(TEACHER)

    def step(students):
        teacher = Teacher(model, Needs.union(student.objective.needs("teacher") for student in students))
        states = teacher(inputs)
        for student in students:
            objective = student.objective
            objective.total(objective(student(**inputs), states, inputs["attention_mask"])).backward()
            student.clear_gradients()
        teacher.release()

    work = {f"{name} alone": (lambda student=student: step([student])) for name, student in students.items()}
    seconds = alternate({**work, "together": lambda: step(list(students.values()))}, args.rounds)
    alone = sum(seconds[name] for name in work)
    return {
        "seconds": rounded(seconds),
        "together_over_alone": round(seconds["together"] / alone, 3),
        "settings": {"batch": args.batch, "length": args.length, "teacher": TEACHER, "students": STUDENTS},
    }


def measure_teacher(args) -> dict:
    """A teacher's forward pass with its states: dynamic graph, static graph, and Paddle Inference."""
    from paddle_ernie_tiny.distillation.teacher import Teacher

    inputs, _ = _batch(args)
    objective, _, model = pair("task_specific", "4l-312h")
    teachers = {each: Teacher(model, objective.needs("teacher"), each) for each in ("dynamic", "static", "inference")}
    seconds = alternate({each: partial(teacher, inputs) for each, teacher in teachers.items()}, args.rounds)
    return {
        "seconds": rounded(seconds),
        "share_of_the_dynamic_graph_s_time": rounded({name: s / seconds["dynamic"] for name, s in seconds.items()}),
        "settings": {"batch": args.batch, "length": args.length, "teacher": TEACHER},
    }


def measure_memory(args) -> dict:
    """Resident memory of the whole trainer over 10,000 steps of small models, sampled every 1,000 steps."""
    import paddle

    from paddle_ernie_tiny.config import TrainingSettings
    from paddle_ernie_tiny.data.rows import EncodedRows
    from paddle_ernie_tiny.distillation.teacher import Teacher
    from paddle_ernie_tiny.distillation.trainers import TaskSpecificDistillation
    from paddle_ernie_tiny.training.trainer import Training, training_arguments

    small = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    paddle.seed(0)
    student_model, model = classifier({**small, "num_hidden_layers": 1}, 1000), classifier(small, 1000)
    objective, student = distilled("task_specific", student_model, model)
    rng = np.random.default_rng(0)
    ids = [rng.integers(5, 1000, size=rng.integers(4, 32)).tolist() for _ in range(2000)]
    rows = EncodedRows(ids, [[0] * len(row) for row in ids], rng.integers(0, 2, 2000))
    settings = TrainingSettings(max_steps=10_000, per_device_train_batch_size=8, logging_steps=1000, save_steps=5000)
    folder, samples = Path(tempfile.mkdtemp()), {}

    class Sampled(TaskSpecificDistillation):
        def compute_loss(self, model, inputs, return_outputs=False):
            if self.state.global_step % 1000 == 0:
                samples[self.state.global_step] = _resident_mb()
            return super().compute_loss(model, inputs, return_outputs)

    try:
        arguments = training_arguments(settings, len(rows), folder, folder / "vdl", 0)
        training = Training(arguments, rows, 0, Sampled.stage.title)
        trainer = Sampled(student, Teacher(model, objective.needs("teacher")), training)
        trainer.train()
        trainer.conclude()
    finally:
        shutil.rmtree(folder)
    samples[10_000] = _resident_mb()
    return {
        "resident_mb": {str(step): round(value, 1) for step, value in samples.items()},
        "growth_mb_from_step_1000": round(samples[10_000] - samples[1000], 1),
    }


def _batch(args, seed: int = 0):
    import paddle

    ids = paddle.to_tensor(np.random.default_rng(seed).integers(5, VOCABULARY, (args.batch, args.length)))
    inputs = {"input_ids": ids, "token_type_ids": paddle.zeros_like(ids), "attention_mask": paddle.ones(ids.shape)}
    return inputs, paddle.zeros([args.batch], dtype="int64")


def _resident_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


MEASUREMENTS = {
    "step": measure_step,
    "cached": measure_cached,
    "students": measure_students,
    "teacher": measure_teacher,
    "memory": measure_memory,
}

if __name__ == "__main__":
    main()

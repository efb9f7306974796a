"""What do batches of similar length bring, against batches in random order that are all padded to one length?

    python benchmarks/grouping.py speed  --data train.tsv --dev dev.tsv --vocab vocab.txt --json OUT.json
    python benchmarks/grouping.py scores --data train.tsv --dev dev.tsv --vocab vocab.txt --json OUT.json

speed: steps of task-specific distillation (a BERT-base-shaped teacher, a 4L-312 student, random weights) on the rows'
own lengths, in turns. scores: a small model fine-tuned in both kinds of batches, three seeds each.
The files are tsv with columns text_a and label (0 or 1), such as ChnSentiCorp's.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from common import classifier, machine, pair, rounded

from paddle_ernie_tiny.machine import import_paddle, tune_process

LABELS = ["0", "1"]


def main() -> None:
    """Parses the arguments, measures, prints, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "scores"))
    parser.add_argument("--data", type=Path, required=True, help="training rows")
    parser.add_argument("--dev", type=Path, required=True, help="rows that are scored")
    parser.add_argument("--vocab", type=Path, required=True, help="a vocab.txt")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--batches", type=int, default=16, help="for speed, of either kind (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="where to write the result")
    args = parser.parse_args()
    tune_process()
    import_paddle()
    measure = {"speed": measure_speed, "scores": measure_scores}[args.what]
    result = {"what": args.what, **measure(args), "machine": machine()}
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure_speed(args) -> dict:
    """Steps of task-specific distillation on real lengths: batches of similar rows, or all padded to 128 tokens."""
    import paddle

    from paddle_ernie_tiny.distillation.teacher import Teacher
    from paddle_ernie_tiny.training.batches import LengthGroupedBatchSampler, collate

    tokenizer, train, _ = _real_rows(args)

    def tensors(indices, rows, fixed):
        batch = collate([rows[int(i)] for i in indices], tokenizer.pad_id)
        if fixed:
            width = args.length - batch["input_ids"].shape[1]
            for name in ("input_ids", "token_type_ids", "attention_mask"):
                batch[name] = np.pad(batch[name], ((0, 0), (0, width)))
        labels = paddle.to_tensor(batch.pop("labels"))
        return {name: paddle.to_tensor(value) for name, value in batch.items()}, labels

    objective, student, model = pair("task_specific", "4l-312h")
    teacher = Teacher(model, objective.needs("teacher"))
    seconds: dict[str, list[float]] = {"grouped": [], "fixed": []}

    def step(name, indices):
        inputs, labels = tensors(indices, train, name == "fixed")
        start = time.perf_counter()
        teacher_states = teacher(inputs)
        terms = objective(student(**inputs), teacher_states, inputs["attention_mask"], labels)
        objective.total(terms).backward()
        student.clear_gradients()
        seconds[name].append(time.perf_counter() - start)

    # a sample of a real epoch's batches; and as many of the same size in random order
    grouped = list(LengthGroupedBatchSampler(train.lengths, args.batch, seed=0))[: args.batches]
    shuffled = np.random.default_rng(0).permutation(len(train))
    for number, indices in enumerate(grouped):
        step("grouped", indices)
        step("fixed", shuffled[number * args.batch : (number + 1) * args.batch])
    speed = {name: args.batch / float(np.mean(values[1:])) for name, values in seconds.items()}
    return {
        "samples_per_second": rounded(speed),
        "grouped_times_as_fast": round(speed["grouped"] / speed["fixed"], 2),
        "tokens": {
            "mean_length": round(float(train.lengths.mean()), 1),
            "cut_to_longest": round(float((train.lengths == args.length).mean()), 3),
            "padding_when_grouped": round(_padding(LengthGroupedBatchSampler(train.lengths, args.batch, 0), train), 3),
            "padding_when_fixed": round(1 - float(train.lengths.mean()) / args.length, 3),
        },
        "settings": {"batch": args.batch, "length": args.length, "batches": len(grouped)},
    }


def measure_scores(args) -> dict:
    """What grouping does to the score: a small model fine-tuned in both kinds of batches, with three seeds."""
    tokenizer, train, dev = _real_rows(args)
    accuracy = {
        name: [_fine_tuned(train, dev, tokenizer, name == "fixed", args.length, seed) for seed in range(3)]
        for name in ("grouped", "fixed")
    }
    means = {name: round(float(np.mean(values)), 4) for name, values in accuracy.items()}
    return {
        "dev_accuracy": accuracy,
        "mean": means,
        "standard_error_of_one": round(float(np.sqrt(0.25 / len(dev))), 4),
        "rows": {"train": 3000, "dev": len(dev)},
    }


def _real_rows(args):
    from paddle_ernie_tiny.data.tables import TableFormat
    from paddle_ernie_tiny.data.tokenization import WordPieceTokenizer
    from paddle_ernie_tiny.kinds import KINDS

    kind = KINDS["classification"]
    tokenizer = WordPieceTokenizer.from_vocab_file(args.vocab)
    table = TableFormat(text="text_a", label="label")
    train, dev = (kind.encode(tokenizer, kind.read(path, table, LABELS), args.length) for path in (args.data, args.dev))
    return tokenizer, train, dev


def _padding(sampler, rows) -> float:
    """Share of a grouped epoch's tokens that is padding."""
    batches = [rows.lengths[indices] for indices in sampler]
    return 1 - sum(int(b.sum()) for b in batches) / sum(int(b.max()) * len(b) for b in batches)


def _fine_tuned(train, dev, tokenizer, fixed: bool, length: int, seed: int) -> float:
    """Dev accuracy of a 2-layer, 128-wide model after two epochs over 3,000 rows, in either kind of batches."""
    import paddle
    from paddle.io import BatchSampler, RandomSampler

    from paddle_ernie_tiny.config import TrainingSettings
    from paddle_ernie_tiny.kinds import KINDS
    from paddle_ernie_tiny.kinds.metrics import METRICS
    from paddle_ernie_tiny.training.inference import predict
    from paddle_ernie_tiny.training.tasks import FinetuneTrainer
    from paddle_ernie_tiny.training.trainer import Training, training_arguments

    class FixedLength(FinetuneTrainer):
        def _get_train_sampler(self):
            sampler = RandomSampler(self.train_dataset)
            return BatchSampler(sampler=sampler, batch_size=self.args.per_device_train_batch_size)

        def make_batch(self, rows):
            batch = super().make_batch(rows)
            width = length - batch["input_ids"].shape[1]
            for name in ("input_ids", "token_type_ids", "attention_mask"):
                batch[name] = np.pad(batch[name], ((0, 0), (0, width)))
            return batch

    shape = {"num_hidden_layers": 2, "hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 256}
    paddle.seed(seed)
    np.random.seed(seed)
    kind, model = KINDS["classification"], classifier(shape, tokenizer.vocab_size)
    rows = train.take(np.random.default_rng(seed).permutation(len(train))[:3000])
    settings = TrainingSettings(num_train_epochs=2, learning_rate=1e-3, per_device_train_batch_size=32)
    folder = Path(tempfile.mkdtemp())
    try:
        arguments = training_arguments(settings, len(rows), folder, folder / "vdl", seed)
        training = Training(arguments, rows, tokenizer.pad_id, "fine-tuning")
        trainer = (FixedLength if fixed else FinetuneTrainer)(model, kind, training)
        trainer.train()
        trainer.conclude()
    finally:
        shutil.rmtree(folder)
    return round(METRICS["accuracy"](predict(model, kind, dev, tokenizer.pad_id, LABELS)), 4)


if __name__ == "__main__":
    main()

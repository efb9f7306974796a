"""Logit losses on a task of 100 labels: cross-entropy of soft labels against DIST, DKD and standardized logits.

The task is written here: requests to ten devices, ten things to ask of each, in many words; the labelled rows use half
of the words, the test rows all of them, and the teacher has read all of them in unlabelled text. One teacher for each
seed; its students differ in the soft loss alone (same start, steps, rate and temperature, no latent terms).

    python benchmarks/many_labels.py --out WORK --json result.json
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from common import machine

import paddle_ernie_tiny as et
from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.kinds.scored import Scored
from paddle_ernie_tiny.kinds.uncertainty import difference, interval

DEVICES = {
    "空调": ("空调", "冷气", "挂机", "制冷的那台", "吹冷风的"),
    "电视": ("电视", "电视机", "大屏", "看剧的那块屏", "投屏"),
    "灯": ("灯", "吊灯", "台灯", "照明", "灯光"),
    "窗帘": ("窗帘", "帘子", "遮光帘", "纱帘", "百叶"),
    "音箱": ("音箱", "音响", "喇叭", "放歌的", "低音炮"),
    "热水器": ("热水器", "热水", "烧水的", "洗澡水", "储水罐"),
    "扫地机": ("扫地机", "扫地的", "拖地机", "清洁机器人", "吸尘的"),
    "门锁": ("门锁", "锁", "大门", "指纹锁", "门禁"),
    "冰箱": ("冰箱", "冷柜", "冷藏室", "保鲜柜", "冰柜"),
    "洗衣机": ("洗衣机", "洗衣服的", "滚筒", "甩干机", "波轮"),
}
ACTIONS = {
    "打开": ("打开{d}", "把{d}开起来", "启动{d}", "{d}开一下", "让{d}工作", "我要用{d}"),
    "关闭": ("关掉{d}", "把{d}停了", "{d}不用了", "关一下{d}", "让{d}休息", "{d}可以歇了"),
    "调高": ("把{d}调大点", "{d}再高一些", "{d}加一档", "{d}不够强", "给{d}往上调", "{d}太弱了"),
    "调低": ("把{d}调小点", "{d}再低一些", "{d}减一档", "{d}太猛了", "给{d}往下调", "{d}弱一点"),
    "查询": ("{d}现在怎么样", "看看{d}的状态", "{d}开着吗", "查一下{d}", "{d}在干什么", "{d}正常吗"),
    "定时": ("{d}晚上八点再开", "给{d}设个时间", "过一小时再让{d}动", "{d}定个点", "早上让{d}自己开", "{d}预约一下"),
    "重启": ("{d}重新启动", "把{d}关了再开", "{d}死机了重来", "复位{d}", "{d}重置一下", "让{d}从头来"),
    "维修": ("{d}坏了", "找人修{d}", "{d}出故障了", "{d}报修", "师傅来看看{d}", "{d}有异响"),
    "购买": ("想买{d}", "{d}多少钱", "换个新{d}", "推荐一款{d}", "下单{d}", "{d}有优惠吗"),
    "投诉": ("{d}太差劲了", "我要投诉{d}", "{d}让人失望", "再也不买这种{d}", "{d}质量不行", "{d}要退货"),
}
BEFORE = ("", "", "麻烦", "请", "帮我", "你好，", "那个，", "现在")
AFTER = ("", "", "吧", "，谢谢", "啊", "，快点", "。", "，听到没")
LABELS = [f"{device}-{action}" for device, action in product(DEVICES, ACTIONS)]
SPLITS = {"train": 1500, "dev": 500, "test": 3000}
CORPUS_LINES = 30_000
TEMPERATURE = 2.0
LATENT_OFF = {name: {"weight": 0.0} for name in ("attention", "hidden", "embedding")}
HARD = {"hard_label": {"weight": 0.5}}
LOSSES: dict[str, dict[str, Any]] = {
    "cross_entropy": {"soft_label": {"weight": 1.0, "temperature": TEMPERATURE}},
    "standardized": {"soft_label": {"weight": 1.0, "temperature": TEMPERATURE, "standardize": True}},
    "dist": {"soft_label": {"weight": 0.0}, "dist": {"weight": 1.0, "temperature": TEMPERATURE}},
    "dkd": {"soft_label": {"weight": 0.0}, "dkd": {"weight": 1.0, "temperature": TEMPERATURE}},
    "no soft label": {"soft_label": {"weight": 0.0}},
}


def request(rng: Random, label: str, seen: bool) -> str:
    """A request in words; `seen`: in those that labelled rows use."""
    device, action = label.split("-")
    names, phrases = DEVICES[device], ACTIONS[action]
    if seen:
        names, phrases = names[: len(names) // 2 + 1], phrases[: len(phrases) // 2]
    return rng.choice(BEFORE) + rng.choice(phrases).format(d=rng.choice(names)) + rng.choice(AFTER)


def write_data(folder: Path, seed: int) -> None:
    """Labelled splits, and a corpus in which two requests of the same label are beside one another."""
    rng = Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in SPLITS.items():
        labels = [LABELS[i % len(LABELS)] for i in range(count)]
        rows = [f"{request(rng, label, seen=split != 'test')}\t{label}" for label in labels]
        rng.shuffle(rows)
        (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    pairs = ((rng.choice(LABELS), rng) for _ in range(CORPUS_LINES))
    lines = (f"{request(rng, label, False)}；{request(rng, label, False)}" for label, _ in pairs)
    (folder / "general.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def training(**settings: Any) -> dict[str, Any]:
    return {"per_device_train_batch_size": 64, "save_steps": 200, "logging_steps": 100, **settings}


def run(given: argparse.Namespace, seed: int, loss: str, teacher: dict[str, Any]) -> et.Distilled:
    """One student of the seed's teacher, which `teacher` makes or names; a finished run is not repeated."""
    data = given.out / f"data-{seed}"
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    student: dict[str, Any] = {
        "num_hidden_layers": 2,
        "hidden_size": 64,
        "num_attention_heads": 4,
        "intermediate_size": 256,
    }
    student["init"] = {"method": "teacher_embeddings"}
    return et.distil(
        output_dir=str(given.out / f"{loss.replace(' ', '-')}-{seed}"),
        seed=seed,
        device="cpu",
        task={"name": "hundred", "labels": LABELS, "metric": "accuracy", "max_length_tokens": 40},
        data={split: str(data / f"{split}.tsv") for split in SPLITS},
        general_corpus={"path": str(data / "general.txt"), "max_length_tokens": 48},
        teacher=teacher,
        student={**student, **no_dropout},
        objective={**LATENT_OFF, **HARD, **LOSSES[loss]},
        stages=[{"stage": "task_specific", "training": training(num_train_epochs=given.epochs, learning_rate=2e-3)}],
    )


def answers(run_folder: Path) -> Scored:
    with np.load(run_folder / "stages" / "1-task_specific" / "predictions.npz") as arrays:
        return KINDS["classification"].of_arrays(arrays, LABELS)


def pooled(each: list[Scored]) -> Scored:
    """The answers of all seeds as those of one model on all of their rows."""
    logits, gold = (np.concatenate([getattr(one, name) for one in each]) for name in ("logits", "targets"))
    return Scored.of(logits, gold, LABELS)


def main() -> None:
    """Parses the arguments, runs, compares, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for data and runs")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=60)
    given = parser.parse_args()
    shape = {"num_hidden_layers": 4, "hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 512}
    shape |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    pretrain = {"vocab_size": 1000, "shape": shape, "mask_probability": 0.3, "whole_word_masking": True}
    pretrain["training"] = training(max_steps=800, learning_rate=1.5e-3, per_device_train_batch_size=128)
    finetune = training(num_train_epochs=12, learning_rate=5e-4)
    found: dict[str, list[Scored]] = {loss: [] for loss in LOSSES}
    teachers = []
    for seed in given.seeds:
        write_data(given.out / f"data-{seed}", seed)
        teacher: dict[str, Any] = {"pretrain": pretrain, "finetune": finetune}
        for loss in LOSSES:
            done = run(given, seed, loss, teacher)
            if "pretrain" in teacher:
                teachers.append(done.report["teacher"]["score"])
                teacher = {"model": str(done.folder / "teacher" / "finetuned" / "final")}
            found[loss].append(answers(done.folder))
    result: dict[str, Any] = {"seeds": given.seeds, "epochs": given.epochs, "temperature": TEMPERATURE}
    result |= {"teacher": teachers, "rows_per_seed": SPLITS["test"], "losses": {}, "machine": machine()}
    base = found["cross_entropy"]
    for loss, each in found.items():
        scores = [interval("accuracy", scored).score for scored in each]
        gains = [asdict(difference("accuracy", *pair)) for pair in zip(each, base, strict=True)]
        against = difference("accuracy", pooled(each), pooled(base))
        result["losses"][loss] = {
            "scores": scores,
            "mean": float(np.mean(scores)),
            "pooled": asdict(interval("accuracy", pooled(each))),
            "against_cross_entropy": {"seeds": gains, "pooled": asdict(against)},
        }
        print(loss, [round(score, 4) for score in scores], against)
    given.json.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

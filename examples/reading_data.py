"""Writes the example of extractive reading: short passages about people, with questions and where their answers stand.

    python examples/reading_data.py         # writes examples/own_task/data/passages.json again, byte for byte the same

A passage tells of several people where they were born, what they study and what they like; between the sentences are
remarks that answer nothing. Some facts hold full-width characters or emoji, so that places in characters, in tokens and
in bytes differ. A question asks for one fact of one person; some ask about a person who is not in the passage, and have
no answer. The form is SQuAD's: what CMRC2018, DRCD and DuReader-robust are published in.
"""

import argparse
import json
from pathlib import Path
from random import Random
from typing import Any

SEED = 2018
PASSAGES, QUESTIONS = 14, 3  # questions of each passage
UNANSWERABLE = 0.2  # share of the questions
DEFAULT_FILE = Path(__file__).parent / "own_task" / "data" / "passages.json"

SURNAMES, GIVEN = "王李张刘陈杨赵黄周吴", ("小明", "建国", "秀英", "志强", "丽华", "海燕", "文静", "子轩")
PLACES = ("北京", "上海", "大理", "哈尔滨", "成都", "乌鲁木齐", "苏州", "拉萨")
SUBJECTS = ("医学", "历史", "计算机科学", "ＡＩ与数据", "中国文学", "数学", "Linux系统", "法律")
LIKES = ("打篮球🏀", "读《红楼梦》", "喝咖啡☕", "看第１２届电影节", "爬山", "养猫🐱", "下围棋", "弹guitar")
FACTS = {  # the sentence, the question, the answers
    "place": ("{name}出生在{fact}。", "{name}出生在哪里？", PLACES),
    "subject": ("{name}在大学里学的是{fact}。", "{name}学的是什么专业？", SUBJECTS),
    "like": ("周末的时候，{name}最喜欢{fact}。", "{name}周末喜欢做什么？", LIKES),
}
REMARKS = (
    "那一年的冬天特别冷。",
    "大家都觉得很有意思。",
    "后来他们常常见面（每月一次）。",
    "这件事说来话长……",
    "🎉时间过得真快！",
)


def passage(rng: Random, people: int, questions: int, unanswerable: float = UNANSWERABLE) -> dict[str, Any]:
    """A paragraph of SQuAD's form about so many people; a longer context has more of them."""
    names = rng.sample([surname + given for surname in SURNAMES for given in GIVEN], people + 1)
    told, absent = names[:-1], names[-1]
    sentences = [(name, kind) for name in told for kind in FACTS]
    rng.shuffle(sentences)
    context, places = "", {}
    for name, kind in sentences:
        sentence, _, values = FACTS[kind]
        fact = rng.choice(values)
        before = sentence.partition("{fact}")[0].format(name=name)
        places[name, kind] = len(context) + len(before), fact
        context += sentence.format(name=name, fact=fact)
        context += rng.choice(REMARKS) if rng.random() < 0.4 else ""
    asked = []
    for name, kind in rng.sample(sentences, questions):
        impossible = rng.random() < unanswerable
        start, fact = places[name, kind]
        question = FACTS[kind][1].format(name=absent if impossible else name)
        answers = [] if impossible else [{"text": fact, "answer_start": start}]
        asked.append({"question": question, "answers": answers, "is_impossible": impossible})
    return {"context": context, "qas": asked}


def document(
    seed: int, passages: int, questions: int = QUESTIONS, people: int = 3, unanswerable: float = UNANSWERABLE
) -> dict[str, Any]:
    """A whole file in SQuAD's form."""
    rng = Random(seed)
    paragraphs = [passage(rng, people, questions, unanswerable) for _ in range(passages)]
    for number, paragraph in enumerate(paragraphs):
        for place, asked in enumerate(paragraph["qas"]):
            asked["id"] = f"people-{number}-{place}"
    return {"version": "1.0", "data": [{"title": "people", "paragraphs": paragraphs}]}


def write(file: Path, **how: Any) -> None:
    """Writes a `document`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document(**how), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Writes the example of extractive reading.")
    parser.add_argument("--file", type=Path, default=DEFAULT_FILE)
    write(parser.parse_args().file, seed=SEED, passages=PASSAGES)

"""Writes a small task with any number of labels per row: which topics a Chinese sentence names.

    python examples/topic_data.py           # writes examples/own_task/data/topics.tsv again, byte for byte the same

A sentence is one to four clauses. A clause names a topic by one of its words, or none; what is denied (没有, 不谈) is
named all the same. The labels of a row are the topics that it names, in a cell with commas between; of some rows none.
"""

from pathlib import Path
from random import Random

SEED = 20220518
ROWS = 320
FILE = Path(__file__).parent / "own_task" / "data" / "topics.tsv"
TOPICS = {
    "体育": ("篮球", "足球", "马拉松", "羽毛球", "游泳"),
    "美食": ("火锅", "饺子", "烤鸭", "豆腐", "米线"),
    "旅行": ("航班", "酒店", "景区", "高铁", "签证"),
    "科技": ("芯片", "手机", "机器人", "卫星", "软件"),
    "天气": ("台风", "降温", "暴雨", "大雪", "雾霾"),
}
SHARES = (0.35, 0.3, 0.2, 0.2, 0.1)  # of rows that name each topic
NAMING = (
    *("昨天聊了{w}", "大家都在说{w}", "关于{w}的消息不少", "他喜欢{w}"),
    *("今天不谈{w}", "没有人提到{w}", "{w}又有了新变化"),
)
EMPTY = ("时间过得很快", "会议推迟到下午", "请按顺序排队", "我们改天再说", "这件事不着急", "他笑了笑没回答")


def topic_rows(count: int, seed: int = SEED) -> list[tuple[str, list[str]]]:
    """(sentence, the topics that it names, in the order of `TOPICS`) of so many rows, all different."""
    random, rows = Random(seed), dict[str, list[str]]()
    while len(rows) < count:
        named = [topic for topic, share in zip(TOPICS, SHARES, strict=True) if random.random() < share]
        clauses = [random.choice(NAMING).format(w=random.choice(TOPICS[topic])) for topic in named]
        clauses += random.sample(EMPTY, random.choice((0, 1)) if clauses else random.choice((1, 2)))
        random.shuffle(clauses)
        rows.setdefault("，".join(clauses) + "。", named)
    return list(rows.items())


def topic_table(rows: list[tuple[str, list[str]]], separator: str = ",") -> str:
    """The rows as a tsv file with a header."""
    return "文本\t主题\n" + "".join(f"{text}\t{separator.join(named)}\n" for text, named in rows)


if __name__ == "__main__":
    FILE.write_text(topic_table(topic_rows(ROWS)), encoding="utf-8")

"""Writes the data of the examples for sentence vectors: a small help centre, its questions, and what means the same.

    python examples/help_centre.py          # writes examples/own_task/data/help_centre again, byte for byte the same

A meaning is a device and a problem. Each problem has one document and five ways to ask for it, with hardly a word in
common; the fifth is asked in dev and test alone, of other devices in each. Files, with the columns of their header:

- `search_train.tsv`, `search_dev.tsv`, `search_test.tsv`: a question, and the document that answers it;
- `triples.tsv`: the same with a document that does not, and how much better the right one is (0.5 or 1);
- `pairs_train.tsv`, `pairs_dev.tsv`, `pairs_test.tsv`: two questions, and how alike they are: 5 for one meaning, 2 for
  the same problem of another device, 1 for another problem of the same device, 0 for neither;
- `general/text.txt`: sentences about the devices, without labels.
"""

import argparse
from pathlib import Path
from random import Random

SEED = 2010
DEFAULT_FOLDER = Path(__file__).parent / "own_task" / "data" / "help_centre"
DEVICES = ("手机", "耳机", "电脑", "平板", "手表", "音箱", "相机", "打印机", "键盘", "电视", "冰箱", "台灯")
# of each problem: its document, then the ways to ask
PROBLEMS = {
    "start": (
        "{d}没有反应时，先接上电源等半小时，再长按开关十秒。",
        ("{d}打不开怎么办", "{d}按了开关没有反应", "为什么我的{d}启动不了", "{d}一直是黑的", "{d}坏了，开不了机"),
    ),
    "battery": (
        "{d}的电池可以免费检测，容量低于八成时更换。",
        ("{d}用一会儿就没电", "{d}充一次电只能用半天", "{d}耗电太快", "{d}撑不到晚上", "{d}电量掉得厉害"),
    ),
    "network": (
        "请在{d}的设置里忘记旧的无线网络，再输入密码。",
        ("{d}连不上网", "{d}找不到信号", "{d}上不了网怎么处理", "{d}总是断线", "{d}的网络时好时坏"),
    ),
    "return": (
        "{d}自签收之日起七天内可以退货，运费由我们承担。",
        ("{d}不喜欢能退吗", "买了{d}想退掉", "{d}怎么退钱", "我要把{d}寄回去", "{d}后悔了，可以不要吗"),
    ),
    "warranty": (
        "{d}保修一年，凭订单号即可，不需要发票。",
        ("{d}保多久", "{d}坏了免费修吗", "{d}的保修期有多长", "修{d}要花钱吗", "{d}过保了没有"),
    ),
    "invoice": (
        "购买{d}的发票在订单页面下载，抬头可以修改一次。",
        ("{d}能开发票吗", "买{d}的票据在哪里下载", "{d}怎么报销", "给{d}开一张票", "{d}的抬头写错了"),
    ),
    "delivery": (
        "{d}付款后两天内发出，物流单号会发短信告诉您。",
        ("{d}什么时候到", "我的{d}寄出来了吗", "{d}发货了没有", "{d}还要等几天", "{d}怎么还没收到"),
    ),
    "clean": (
        "清洁{d}请用微湿的软布，不要用酒精。",
        ("{d}脏了怎么擦", "用什么洗{d}", "{d}上有指纹", "{d}落了很多灰", "{d}表面怎么保养"),
    ),
}  # fmt: skip
REMARKS = ("我们店里的{d}卖得很好。", "新款{d}下个月上市。", "这台{d}是去年买的。", "{d}和旧的一样大。")


def ask(device: str, problem: str, way: int) -> str:
    """A question in one of the ways to ask."""
    return PROBLEMS[problem][1][way].format(d=device)


def answer(device: str, problem: str) -> str:
    """The document of a meaning."""
    return PROBLEMS[problem][0].format(d=device)


def build() -> dict[str, str]:
    """The content of every file by its name."""
    rng = Random(SEED)
    meanings = [(device, problem) for device in DEVICES for problem in PROBLEMS]
    held = {"dev": meanings[::2], "test": meanings[1::2]}
    train = [(meaning, way) for meaning in meanings for way in range(4)]
    rng.shuffle(train)
    files = {"search_train": _table("question document", [(ask(*m, way), answer(*m)) for m, way in train])}
    for split, asked in held.items():
        files[f"search_{split}"] = _table("question document", [(ask(*m, 4), answer(*m)) for m in asked])
    triples = []
    for (device, problem), way in train:
        wrong = rng.choice([m for m in meanings if m != (device, problem)])
        margin = 0.5 if wrong[0] == device or wrong[1] == problem else 1
        triples.append((ask(device, problem, way), answer(device, problem), answer(*wrong), str(margin)))
    files["triples"] = _table("question document other margin", triples)
    files["pairs_train"] = _table("one other score", _pairs(rng, meanings, range(4), 600))
    for split, asked in held.items():
        files[f"pairs_{split}"] = _table("one other score", _pairs(rng, asked, range(5), 120))
    texts = [ask(*m, way) for m in meanings for way in range(4)] + [answer(*m) for m in meanings]
    texts += [remark.format(d=device) for remark in REMARKS for device in DEVICES]
    lines = [rng.choice(texts) + rng.choice(texts) for _ in range(1500)]
    return {**{f"{name}.tsv": text for name, text in files.items()}, "general/text.txt": "\n".join(lines) + "\n"}


def _pairs(rng: Random, meanings: list[tuple[str, str]], ways: range, count: int) -> list[tuple[str, str, str]]:
    rows: dict[tuple[str, str], str] = {}
    while len(rows) < count:
        device, problem = rng.choice(meanings)
        near = [m for m in meanings if (m[0] == device) + (m[1] == problem) == len(rows) % 3]
        other, (way, another) = rng.choice(near), rng.sample(ways, 2)
        score = {(True, True): 5, (False, True): 2, (True, False): 1, (False, False): 0}
        rows[ask(device, problem, way), ask(*other, another)] = str(score[other[0] == device, other[1] == problem])
    return [(*texts, score) for texts, score in rows.items()]


def _table(columns: str, rows: list) -> str:
    return "\n".join("\t".join(row) for row in [columns.split(), *rows]) + "\n"


def write(folder: Path, files: dict[str, str]) -> None:
    """Writes the files below a folder."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=DEFAULT_FOLDER)
    write(parser.parse_args().out, build())

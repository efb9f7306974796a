"""The words of the demo's grammar: domains, their aspects, and the opinion words that go with each aspect.

Everything here was written for this project. An opinion word has one polarity everywhere (a
test checks it) and reads naturally after a degree adverb (很宽敞) and after 不 (不宽敞).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Aspect:
    """Something reviewers talk about: its `names` and the adjectives praising or blaming it."""

    names: tuple[str, ...]
    positive: tuple[str, ...]
    negative: tuple[str, ...]


@dataclass(frozen=True)
class Domain:
    """One domain of reviews: what is reviewed, its aspects, and facts without any opinion."""

    subjects: tuple[str, ...]
    aspects: tuple[Aspect, ...]
    facts: tuple[str, ...]


def _aspect(names: str, positive: str, negative: str) -> Aspect:
    return Aspect(tuple(names.split()), tuple(positive.split()), tuple(negative.split()))


def _domain(subjects: str, facts: str, *aspects: Aspect) -> Domain:
    return Domain(tuple(subjects.split()), aspects, tuple(facts.split()))


def _service(names: str) -> Aspect:
    return _aspect(
        names,
        "热情 周到 耐心 贴心 亲切 友善 细心 礼貌 专业",
        "冷淡 敷衍 傲慢 怠慢 粗鲁 冷漠 散漫 蛮横 懒散",
    )


def _price(names: str) -> Aspect:
    return _aspect(
        names,
        "实惠 划算 公道 合理 便宜 亲民 厚道",
        "离谱 昂贵 虚高 坑人 黑心 吓人 荒唐",
    )


DOMAINS: dict[str, Domain] = {
    "hotel": _domain(
        "酒店 宾馆 民宿 旅馆",
        "周末住了一晚 出差住了三天 在网上订的 带孩子一起住的 房间在六楼 离车站两公里",
        _aspect("房间 客房", "宽敞 整洁 明亮 温馨 安静 舒适", "嘈杂 狭小 阴暗 潮湿 破旧 脏乱"),
        _aspect("床 枕头", "柔软 舒服 松软 干爽 暖和 蓬松", "粗硬 发黄 硌人 塌陷 粗糙 难闻"),
        _aspect("设施 卫生间", "齐全 新颖 先进 完善 崭新 好用", "老化 陈旧 残缺 失灵 老旧 落后"),
        _aspect("位置 交通", "便利 方便 优越 便捷 顺路 理想", "偏僻 荒凉 尴尬 难找 偏远 闭塞"),
        _service("前台 服务"),
        _price("房价 价格"),
    ),
    "phone": _domain(
        "手机 平板 新机",
        "用了一个星期 买的黑色 给爸妈买的 换下了旧手机 内存是大号的 昨天刚拆封",
        _aspect("屏幕 画面", "清晰 细腻 通透 亮丽 护眼 艳丽", "模糊 刺眼 昏暗 失真 暗淡 粗糊"),
        _aspect("系统 操作", "流畅 稳定 顺滑 灵敏 丝滑 省心", "卡顿 臃肿 迟钝 死板 混乱 笨拙"),
        _aspect("电池 续航", "持久 耐用 给力 强劲 省电 坚挺", "虚弱 短命 拉胯 糟心 费电 疲软"),
        _aspect("外观 手感", "精致 轻薄 时尚 圆润 精美 大气", "笨重 粗糙 廉价 硌手 俗气 土气"),
        _aspect("音质 声音", "洪亮 清脆 浑厚 动听 悦耳 饱满", "沙哑 刺耳 沉闷 嘶哑 尖锐 浑浊"),
        _service("客服 售后"),
        _price("价格 定价"),
    ),
    "restaurant": _domain(
        "餐厅 饭馆 小店 火锅店",
        "点了四个菜 两个人去的 中午吃的 店开在二楼 靠窗坐的 路过进去的",
        _aspect("菜 味道", "鲜美 可口 地道 鲜嫩 醇厚 爽口", "油腻 寡淡 难吃 腥气 干柴 苦涩"),
        _aspect("分量 用料", "充足 实在 扎实 十足 讲究 丰盛", "寒酸 抠门 单薄 可怜 小气 将就"),
        _aspect("环境 店面", "优雅 幽静 舒心 别致 典雅 惬意", "杂乱 拥挤 喧闹 脏乱 憋闷 邋遢"),
        _aspect("上菜 出餐", "迅速 飞快 利落 及时 麻利", "缓慢 迟缓 磨蹭 拖延 慢吞吞"),
        _service("服务 服务员"),
        _price("价格 菜价"),
    ),
    "book": _domain(
        "小说 书 文集",
        "一共三百页 在书店看到的 作者是新人 讲的是小镇往事 图书馆借的 分上下两册",
        _aspect("情节 故事", "紧凑 精彩 动人 曲折 新奇 感人", "拖沓 老套 平淡 俗套 牵强 狗血"),
        _aspect("文笔 语言", "优美 细腻 生动 凝练 隽永 幽默", "晦涩 啰嗦 干瘪 拗口 苍白 矫情"),
        _aspect("内容 观点", "充实 丰富 深刻 翔实 实用 独到", "空泛 肤浅 陈腐 零碎 浅薄 贫乏"),
        _aspect("纸张 印刷", "厚实 精良 清楚 结实 素雅 精美", "劣质 粗劣 模糊 单薄 刺鼻 廉价"),
        _price("定价 价格"),
    ),
    "course": _domain(
        "课程 网课 培训班",
        "每周两节课 报的周末班 学了一个月 班里二十个人 课后有作业 同事也报了名",
        _aspect("老师 讲课", "风趣 博学 生动 负责 幽默 细致", "枯燥 呆板 沉闷 含糊 散漫 啰嗦"),
        _aspect("课件 教材", "翔实 实用 丰富 清楚 新颖 详尽", "陈旧 空洞 零散 粗略 过时 杂乱"),
        _aspect("安排 进度", "合理 紧凑 有序 灵活 规范 周密", "松散 混乱 仓促 凌乱 松懈 僵化"),
        _price("学费 收费"),
    ),
    "delivery": _domain(
        "快递 物流 外卖",
        "寄的是一箱水果 从外地发的 下午三点到的 放在驿站了 一共两个包裹 重量五公斤",
        _aspect("配送 速度", "神速 准时 迅速 高效 及时 利索", "缓慢 拖延 滞后 磨叽 磨蹭 低效"),
        _aspect("包装 箱子", "严实 结实 牢固 用心 完好 严密", "破烂 草率 单薄 简陋 脏污 松散"),
        _service("快递员 骑手"),
        _price("运费 价格"),
    ),
    "clothes": _domain(
        "外套 裙子 毛衣 鞋",
        "买的灰色 身高一米七 平时穿中码 秋天穿的 送给妹妹的 配了牛仔裤",
        _aspect("面料 料子", "柔软 透气 亲肤 舒适 厚实 顺滑", "扎人 闷热 僵硬 单薄 粗糙 劣质"),
        _aspect("版型 款式", "修身 显瘦 合身 挺括 百搭 利落", "显胖 臃肿 松垮 老气 土气 怪异"),
        _aspect("颜色 配色", "鲜亮 素雅 耐看 高级 柔和", "暗沉 俗艳 艳俗 扎眼 灰暗"),
        _aspect("做工 走线", "精细 扎实 考究 细致 平整", "粗糙 毛躁 马虎 粗陋 歪斜"),
        _price("价格 价钱"),
    ),
}

# What a reviewer says at the end. It occurs in the general corpus only: in the labelled sentences it would
# give the label away.
GOOD_VERDICTS = ("好评", "很值", "推荐", "满意")
BAD_VERDICTS = ("差评", "很亏", "后悔", "失望")

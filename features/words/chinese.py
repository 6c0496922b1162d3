"""Chinese words: split by jieba, and those that carry no sentiment."""

from __future__ import annotations

import logging
import re
import warnings
from functools import cache
from typing import Any

CJK = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
LONG_RUN = re.compile(r"[\u4e00-\u9fd5a-zA-Z0-9+#&._%-]{500}")  # of what jieba splits as one sentence

# Particles, pronouns, prepositions and the like, simplified and traditional. As in English, negations (不, 没, …) and
# contrasts (但, 却, …) are left out on purpose, and so are words of degree (很, 太, …).
STOP_WORDS_ZH = frozenset(
    """的 地 得 了 着 著 过 過 之 所 吗 嗎 呢 吧 啊 呀 么 麼 们 們 个 個 些 一个 一個 一些 一下
    我 你 您 他 她 它 咱 我们 我們 你们 你們 他们 他們 她们 她們 它们 它們 咱们 咱們 自己 我的 你的 他的 她的 它的
    这 這 那 此 该 該 这个 這個 那个 那個 这些 這些 那些 这里 這裡 那里 那裡 这样 這樣 那样 那樣 这种 這種 那种 那種
    谁 誰 哪 哪个 哪個 哪里 哪裡 什么 什麼 怎么 怎麼 怎样 怎樣 多少 几 幾 何
    是 有 在 会 會 被 把 将 將 给 給 对 對 从 從 向 往 由 于 於 以 为 為 跟 和 与 與 及 以及 或 或者 并 並 而 且 而且
    就 也 都 还 還 又 再 当 當 时 時 时候 時候 如果 因为 因為 所以 那么 那麼 然后 然後 等 等等 上 下 里 裡 中""".split()  # noqa: SIM905
)


def split_chinese(text: str) -> list[str]:
    """The words of a text, with what is between them."""
    text = LONG_RUN.sub(r"\g<0> ", text)  # jieba's time grows with the square of a sentence
    return list(load_jieba().lcut(text))


@cache
def load_jieba() -> Any:
    """The package, without its messages. Call it before threads start, as silencing warnings is not thread-safe."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it imports pkg_resources, and its sources have invalid escapes
        import jieba
    jieba.setLogLevel(logging.WARNING)
    return jieba

"""The texts of the page, in English and Chinese."""

from __future__ import annotations

from typing import Literal

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")

CHINESE = {
    "Try a post": "试一条帖子",
    "Posts of the data set": "数据集中的帖子",
    "Language": "语言",
    "Views": "视图",
    "Picture": "图片",
    "Drop a picture here, or choose a file": "将图片拖到此处，或选择文件",
    "JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF, up to {size} MB": (
        "JPEG、PNG、WebP、GIF、BMP、TIFF 或 AVIF，不超过 {size} MB"
    ),
    "Remove the picture": "移除图片",
    "Text": "文本",
    "What the post says": "帖子的文字内容",
    "Predict": "预测",
    "Clear": "清空",
    "Give a picture, a text, or both. The prediction and what it rests on appear here.": (
        "给出图片、文本，或两者。预测结果及其依据将显示在这里。"
    ),
    "Give a text. The prediction and what it rests on appear here.": "给出文本。预测结果及其依据将显示在这里。",
    "Give a picture. The prediction and what it rests on appear here.": "给出图片。预测结果及其依据将显示在这里。",
    "Prediction": "预测结果",
    "Working…": "正在预测…",
    "calibrated probability": "校准后的概率",
    "probability, not calibrated": "概率（未校准）",
    "Each modality alone": "各模态单独的预测",
    "What the same heads predict when they are shown one modality.": "同一组融合头只看到一种模态时的预测。",
    "The image alone": "仅图像",
    "The text alone": "仅文本",
    "image": "图像",
    "text": "文本",
    "Attention": "注意力",
    "Where the heads looked: brighter patches and stronger words had more weight. Weights are no proof of a cause.": (
        "融合头关注的位置：越亮的区块、颜色越深的词权重越大。权重并不能证明因果。"
    ),
    "How much each modality counted in the decision. Weights are no proof of a cause.": (
        "各模态在决策中所占的比重。权重并不能证明因果。"
    ),
    "Layer": "层",
    "Attention head": "注意力头",
    "mean": "平均",
    "Strength of the overlay": "叠加强度",
    "Weights of the modalities": "各模态的权重",
    "Picture with the attention of the heads": "叠加了注意力的图片",
    "Nearest training posts": "最近的训练帖子",
    "By cosine similarity of the cached features.": "按缓存特征的余弦相似度。",
    "similarity": "相似度",
    "The run's heads were trained on this post: the prediction says nothing about new posts.": (
        "该运行的融合头用过这条帖子训练：此预测不能代表对新帖子的表现。"
    ),
    "A post of the data set, predicted by the heads that never saw it.": "数据集中的帖子，由从未见过它的融合头预测。",
    "not used, as the run does not read it": "未使用，因为该运行不读取它",
    "Search": "搜索",
    "words of the text, or an id": "文本中的词，或编号",
    "Label": "标签",
    "Predicted": "预测",
    "Outcome": "结果",
    "Order": "排序",
    "all": "全部",
    "right": "正确",
    "wrong": "错误",
    "not a test row": "非测试行",
    "as in the data": "按数据顺序",
    "most certain first": "最确定的在前",
    "least certain first": "最不确定的在前",
    "{total} posts": "{total} 条帖子",
    "page {page} of {pages}": "第 {page} 页，共 {pages} 页",
    "Previous": "上一页",
    "Next": "下一页",
    "No post fits. Choose fewer conditions.": "没有符合条件的帖子，请减少条件。",
    "Predictions are of heads that never saw the post. {count} posts set aside for msa test are left out.": (
        "预测来自未见过该帖子的融合头。为 msa test 留出的 {count} 条帖子不在其中。"
    ),
    "Predictions are of heads that never saw the post.": "预测来自未见过该帖子的融合头。",
    "no label": "无标签",
    "no prediction": "无预测",
    "✓ as predicted": "✓ 与预测一致",
    "✗ predicted {label}": "✗ 预测为 {label}",
    "no picture": "无图片",
    "picture cannot be read": "图片无法读取",
    "no text": "无文本",
    "Close": "关闭",
    "Explain this post": "解释这条帖子",
    "label": "标签",
    "predicted": "预测",
    "The data set's posts are not here: start with msa serve RUN --posts POSTS.": (
        "未提供数据集的帖子：请以 msa serve RUN --posts POSTS 启动。"
    ),
    "Token": "令牌",
    "This server needs the token that it was started with.": "此服务器需要启动时设置的令牌。",
    "Sign in": "登录",
    "The token is wrong.": "令牌错误。",
    "The server cannot be reached. Is msa serve still running?": "无法连接服务器。msa serve 仍在运行吗？",
    "The server is busy. Try again in a moment.": "服务器繁忙，请稍后再试。",
    "This is too large.": "内容过大。",
    "This is not an image that can be read.": "这不是可以读取的图片。",
    "The post cannot be predicted.": "无法预测这条帖子。",
    "Something is wrong with the request.": "请求有误。",
    "accuracy {value} on the test rows": "测试行上的准确率 {value}",
    "The page needs JavaScript; the interface at /predict does not.": "此页面需要 JavaScript；/predict 接口不需要。",
    "Details": "详情",
}


class PageWords(dict[str, str]):
    """English to the language of the page; a text that has no translation is an error in English, too."""

    def __init__(self, language: Language) -> None:
        super().__init__(CHINESE if language == "zh" else {english: english for english in CHINESE})
        self.language = language

    def __call__(self, english: str, **values: object) -> str:
        return self[english].format(**values)


def pick_language(asked: str | None, stored: str | None, accepted: str) -> Language:
    """The language that is asked for, else the one asked for before, else the first known of Accept-Language."""
    for one in (asked, stored):
        if one in LANGUAGES:
            return "zh" if one == "zh" else "en"
    ranked = []
    for number, part in enumerate(accepted.split(",")[:20]):
        name, _, quality = part.strip().partition(";q=")
        try:
            ranked.append((-float(quality or 1), number, name.partition("-")[0].lower()))
        except ValueError:
            continue
    return next(("zh" if name == "zh" else "en" for _, _, name in sorted(ranked) if name in LANGUAGES), "en")

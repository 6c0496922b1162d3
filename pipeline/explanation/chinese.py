"""The Chinese texts of explanations."""

from __future__ import annotations

from .remarks import (
    ALL_FOLDS,
    FIRST_IMAGE,
    HELD_OUT,
    LIMITS,
    NO_BOX,
    NO_GRID,
    NO_WEIGHTS,
    NO_WORDS,
    OTHER_WORDS,
    RIGHT,
    TRAINED,
    WRONG,
)

CHINESE = {
    "post": "帖子",
    "Attention": "注意力",
    "Weights of the modalities by true class": "各真实类别的模态权重",
    "Mean weight in the fused vector, or in the combined decision.": "在融合向量或合并判定中的平均权重。",
    "Post {id}, {kind}": "帖子 {id}（{kind}）",
    FIRST_IMAGE: "{encoder}：共 {images} 张图片，显示第一张的图块",
    RIGHT: "最有把握的正确预测",
    WRONG: "最有把握的错误预测",
    "predicted {label} with probability {p}, true class {truth}": "预测为 {label}，概率 {p}；真实类别为 {truth}",
    "Mean over {count} test posts, by heads that never saw them.": "{count} 条测试帖子的均值，由未见过它们的头给出。",
    "Post {id}": "帖子 {id}",
    "Words": "词",
    "Figures": "图",
    "prediction": "预测",
    "label": "标签",
    "probability": "概率",
    "probability {p}": "概率 {p}",
    "predicted right": "预测正确",
    "predicted wrong": "预测错误",
    "predicted by": "预测来源",
    HELD_OUT: "第 {numbers} 折的头，训练时未见过该帖子",
    ALL_FOLDS: "{count} 折的均值",
    TRAINED: "{count} 折的均值，训练时用过该帖子",
    "weight of {side}": "{side}的权重",
    "image and text": "图像与文本",
    "What the same heads predict with one modality absent.": "同样的头在缺少一个模态时的预测。",
    "The stronger the colour of a word, the more of the attention among the words of {encoder} fell on it.": (
        "颜色越深，{encoder} 的各词中该词得到的注意力越多。"
    ),
    "Picture: {encoder}": "图片：{encoder}",
    "Attention on {rows} × {columns} patches; the frame is what the encoder sees of the picture.": (
        "{rows} × {columns} 个图块上的注意力；方框为编码器所见部分。"
    ),
    "Attention on {rows} × {columns} patches.": "{rows} × {columns} 个图块上的注意力。",
    "Patches by layer and attention head: {encoder}": "各层各注意力头的图块：{encoder}",
    "One row per layer, one column per attention head; each panel has its own scale.": (
        "每行一层，每列一个注意力头；各小图单独缩放。"
    ),
    "share of the attention among words": "占各词注意力的比例",
    "Words: {encoder}": "词：{encoder}",
    "Mean over layers and attention heads; of a long text, the {count} words with the most.": (
        "各层各注意力头的均值；长文本只列出最高的 {count} 个词。"
    ),
    "Words by layer and attention head: {encoder}": "各层各注意力头的词：{encoder}",
    "Each column is scaled to its highest weight.": "每列按其最大权重缩放。",
    "Attention by layer": "各层的注意力",
    "Mean over queries and attention heads; a learned sink takes what is given to nothing.": (
        "对查询与注意力头取均值；“无”为学得的注意力汇点所得。"
    ),
    "image vector": "图像向量",
    "patches": "图块",
    "text vector": "文本向量",
    "words": "词",
    "special tokens": "特殊词元",
    "nothing": "无",
    LIMITS: (
        "注意力表明头读取了什么，而非改变什么会改变其答案（Jain & Wallace，2019）；编码器已使每个词元融合了其上下文。"
    ),
    NO_WEIGHTS: "{fusion} 没有注意力，也没有各模态的权重",
    NO_GRID: "{encoder}：其词元不构成网格",
    NO_BOX: "{encoder}：其图块在图片中的位置未知",
    NO_WORDS: "{encoder}：词未知，词元以序号表示",
    OTHER_WORDS: "{encoder}：此处文本得到 {here} 个词元，而特征有 {stored} 个，故词元以序号表示",
}

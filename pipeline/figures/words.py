"""The texts of figures and of the page, in English and Chinese."""

from __future__ import annotations

import os
from typing import Literal

from ..explanation import chinese

Language = Literal["auto", "en", "zh"]
CHINESE = {
    "training": "训练",
    "validation": "验证",
    "epoch": "轮次",
    "loss": "损失",
    "accuracy": "准确率",
    "balanced accuracy": "平衡准确率",
    "macro f1": "宏平均 F1",
    "weighted f1": "加权 F1",
    "mcc": "MCC",
    "f1": "F1",
    "precision": "精确率",
    "recall": "召回率",
    "support": "样本数",
    "class": "类别",
    "score": "得分",
    "{metric} over epochs": "{metric}随轮次的变化",
    "Mean over the heads of all folds that still train; the band is one standard deviation.": (
        "各折中仍在训练的头的均值；阴影为一个标准差。"
    ),
    "Confusion matrix": "混淆矩阵",
    "predicted class": "预测类别",
    "true class": "真实类别",
    "Test rows by true and predicted class, and their share of the true class; summed over repeats.": (
        "测试行按真实类别与预测类别计数，以及占真实类别的比例；多次重复相加。"
    ),
    "Scores by class": "各类别得分",
    "On test rows; n is the number of posts of the class.": "在测试行上；n 为该类别的帖子数。",
    "Calibration": "校准",
    "uncalibrated": "未校准",
    "temperature-scaled": "温度缩放后",
    "error": "误差",
    "confidence": "置信度",
    "On the dashed line a prediction is right as often as its probability says. The temperature of each fold is fitted "
    "on its validation rows.": "落在虚线上表示概率与正确率一致。每一折的温度在其验证行上拟合。",
    "Each class against all others.": "每个类别对其余类别。",
    "Micro-average over the classes.": "各类别的微平均。",
    "area": "面积",
    "false positive rate": "假正率",
    "true positive rate": "真正率",
    "ROC curves": "ROC 曲线",
    "average precision": "平均精确率",
    "Precision-recall curves": "精确率–召回率曲线",
    "Main metrics": "主要指标",
    "Head and baselines": "融合头与基线",
    "Heads": "各融合头",
    "Mean over folds; the line is one standard deviation to each side.": "各折均值；线段为上下一个标准差。",
    "both": "图文",
    "image": "图像",
    "text": "文本",
    "{modality} alone": "仅{modality}",
    "difference": "差值",
    "Score minus that of the full head on the same test rows; the line is the 95 % interval.": (
        "与完整的头在相同测试行上的得分之差；线段为 95 % 置信区间。"
    ),
    "Difference from the full head": "与完整的头之差",
    "gain": "增益",
    "What each modality adds to the score, averaged over adding it first and second; the line is one standard "
    "deviation over folds to each side.": "每个模态对得分的增益，取先加入与后加入的平均；线段为各折上下一个标准差。",
    "Shapley values": "Shapley 值",
    "test posts without the modality": "缺少该模态的测试帖子",
    "training rows": "训练行数",
    "{metric} as a modality goes missing": "模态缺失时的{metric}",
    "{metric} by training rows": "{metric}随训练行数的变化",
    "Mean over folds; the band is one standard deviation to each side.": "各折均值；阴影为上下一个标准差。",
    "95 % interval {low} to {high}": "95 % 置信区间 {low} 至 {high}",
    "no interval from so few posts": "帖子太少，不给出区间",
    "posts scored": "计分的帖子",
    "folds": "折数",
    "repeats": "重复次数",
    "encoders": "编码器",
    "run": "运行",
    "runs": "运行",
    "head": "融合头",
    "setting": "设置",
    "value": "取值",
    "Training": "训练过程",
    "Classes": "类别",
    "Probabilities": "概率",
    "Ablation": "消融",
    "Missing modalities and learning curves": "模态缺失与学习曲线",
    "Posts": "帖子",
    "posts": "帖子数",
    "share": "占比",
    "label": "标签",
    "labels": "各标签数",
    "predicted": "预测",
    "likely label": "可能的标签",
    "same": "相同之处",
    "group": "分组",
    "image and text": "图像与文本",
    "neither": "均错误",
    "right alone": "单独正确",
    "head right": "融合头正确",
    "Shapley value": "Shapley 值",
    "{name}: mean {value}": "{name}：均值 {value}",
    "Shapley values of posts": "各帖子的 Shapley 值",
    "What each modality adds to the probability of a test post's predicted class: its gain, averaged over adding it "
    "first and second.": "每个模态对测试帖子预测类别概率的增益，取先加入与后加入的平均。",
    "Who is right where image and text alone predict different classes": "图像与文本单独预测不一致时谁正确",
    "Highest loss": "损失最高",
    "Of the {count} test posts that are predicted wrong, those whose label is least probable.": (
        "{count} 个预测错误的测试帖子中，标签概率最低的帖子。"
    ),
    "Image and text disagree": "图像与文本不一致",
    "The head predicts one class without the text and another without the image: {count} test posts, by falling "
    "Jensen-Shannon divergence.": "隐藏文本与隐藏图像时预测不同：{count} 个测试帖子，按 Jensen-Shannon 散度降序。",
    "Likely label errors": "可能的标签错误",
    "Heads that never saw the post are confident of another class: {count} test posts by confident learning "
    "(Northcutt et al., 2021), the likeliest first. Look before you correct: some are hard, not wrong.": (
        "未见过该帖子的头确信它属于另一类别：按置信学习（Northcutt 等，2021）共 {count} 个测试帖子，最可能者在前。"
        "更正前请先查看：有些只是难例。"
    ),
    "Duplicates with different labels": "标签不同的重复帖子",
    "The same content, or one group, with different labels: {count} times. Of each two are shown.": (
        "内容相同或同组而标签不同：{count} 处，每处显示两个帖子。"
    ),
    "Texts and pictures of these posts: {command}": "显示这些帖子的文本与图片：{command}",
    "All test posts, with whole texts: {command}": "全部测试帖子及完整文本：{command}",
    "The head reads one modality, or an earlier version wrote the run: none are compared.": (
        "融合头只读取一个模态，或运行来自较早版本：不比较模态。"
    ),
    "Settings": "设置",
    "What differs from the defaults.": "与默认值不同的设置。",
    "All settings are the defaults.": "全部为默认设置。",
    "Paired tests on the same test rows": "相同测试行上的配对检验",
    "minus": "减去",
    "McNemar p": "McNemar p",
    "corrected t p": "校正 t 检验 p",
    "Differences from {run} on the test rows that both have": "与 {run} 在共同测试行上之差",
    "test rows": "测试行",
    "inputs": "输入",
    "Made by {program}; nothing on this page leaves it or comes from elsewhere.": (
        "由 {program} 生成；本页不加载任何外部内容，也不向外发送数据。"
    ),
    "learning rate": "学习率",
    "At the last step of each epoch; mean over the heads of all folds.": "每轮最后一步的学习率；各折各头的均值。",
    "batch": "批次",
    "running mean": "滑动平均",
    "Loss over batches": "损失随批次的变化",
    "Training loss of each batch of the first fold's head, and its running mean.": (
        "第一折的头在每个批次上的训练损失及其滑动平均。"
    ),
    "Optimization": "优化过程",
    "Difference from {run}": "与 {run} 之差",
    "On the test rows that both have; the line is the 95 % interval by the bootstrap.": (
        "在共同的测试行上；线段为自助法 95 % 置信区间。"
    ),
    "{metric} by {setting}": "不同 {setting} 的{metric}",
    "The best of each pair of settings.": "每对取值中最好的一个。",
    " In brackets: pruned before the last epoch.": "括号内：在最后一轮之前被剪枝。",
    "Sweep": "超参数搜索",
    "Winner and baselines": "最优设置与基线",
    "of the winner on posts that no choice has seen": "最优设置在未参与选择的帖子上",
    "Importance of each setting": "各超参数的重要性",
    "share of the variance": "方差占比",
    "Inner-fold {metric} of every trial after {epochs} epochs, which all of them trained for.": (
        "所有试验都训练到的第 {epochs} 轮之后，内层各折的{metric}。"
    ),
    "Parallel coordinates": "平行坐标图",
    "Loss over epochs by settings": "不同设置下损失随轮次的变化",
    "Mean over inner folds; training solid, validation dotted. At most the best {count} trials.": (
        "内层各折的均值；实线为训练，点线为验证。最多显示最好的 {count} 次试验。"
    ),
    "{trials} trials on {folds} inner folds: {complete} complete, {pruned} pruned, {failed} failed.": (
        "{trials} 次试验，{folds} 个内层折：{complete} 次完成，{pruned} 次剪枝，{failed} 次失败。"
    ),
    "Shown is the sweep {name} alone.": "仅显示搜索 {name}。",
    "Leaderboard: the best {count} trials on the inner folds": "排行榜：内层折上最好的 {count} 次试验",
    "trial": "试验",
    "weight": "权重",
    "Greedy ensemble: the trials that were picked": "贪心集成：选中的试验",
    "order of the trials": "试验的先后",
    " Drawn are {drawn} of {trials} trials; the table has all of them.": (
        "图中为 {trials} 次试验中的 {drawn} 次；表中为全部。"
    ),
    " Shown are the trials of one of {folds} outer folds, whose winner was best.": (
        "显示 {folds} 个外层折中最优者所在一折的试验。"
    ),
    "state": "状态",
    "complete": "完成",
    "pruned": "剪枝",
    "epochs": "轮数",
    "Cost": "成本",
    "Extraction is paid once, for all heads; seconds are those of one process.": (
        "特征提取只需一次，供所有头使用；秒数按单个进程计。"
    ),
    "what": "项目",
    "number": "数量",
    "seconds": "秒",
    "seconds each": "每个秒数",
    "extraction": "特征提取",
    "extraction of {modality}: {encoders}": "{modality}特征提取：{encoders}",
    "heads of {run}": "{run} 的头",
    "data": "数据",
    "{count} posts": "{count} 条帖子",
    "date": "日期",
    "version": "版本",
    "Task and data": "任务与数据",
    "Method": "方法",
    "Results": "结果",
    "Discussion": "讨论",
    "Reproduction": "复现",
    "which question, which posts, which labels": "要回答的问题、使用的帖子、标签",
    "encoders, fusion, training, and why": "编码器、融合方式、训练方法及其理由",
    "what is seen here, and what follows from it": "这里看到了什么，由此得出什么",
    "limits, errors, what to try next": "局限、错误分析、下一步的尝试",
    **chinese.CHINESE,
}
ENGLISH = {"macro f1": "macro F1", "weighted f1": "weighted F1", "f1": "F1", "mcc": "MCC"}


class Words:
    """Gives an English text in the language of a report; names that have no translation stay."""

    def __init__(self, language: Language = "en") -> None:
        self.language = _by_locale() if language == "auto" else language

    def __call__(self, text: str) -> str:
        return (CHINESE if self.language == "zh" else ENGLISH).get(text, text)


def _by_locale() -> Literal["en", "zh"]:
    """The language that POSIX' variables name, the first that is set."""
    found = next((value for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := os.environ.get(name))), "")
    return "zh" if found.lower().startswith("zh") else "en"

"""The model card of an exported run: README.md with the metadata of the Hugging Face Hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...features.spec import MODALITIES, EncoderSpec
from ..config.ensemble_config import EnsembleConfig
from ..config.used_settings import used_settings
from ..evaluation.table_formats import escape_markdown
from ..metrics.statistics import INTERVAL_METRICS
from ..metrics.tables import class_cells, interval_text, metric_cells, metric_title, scored_text
from ..runs.results import Evaluation
from ..runs.runs import Run
from ..runs.stored_run import StoredRun
from .graph import FeatureInput
from .programs import ONNX, TORCH

HUBS = ("transformers", "sentence-transformers")  # sources whose encoders are named by their id on the Hub
TASKS: dict[tuple[str, ...], str] = {  # the Hub has none for both
    ("text",): "text-classification",
    ("image",): "image-classification",
}
METRIC_TYPES = {"accuracy": "accuracy", "macro_f1": "f1"}
INTENDED = """\
Labels posts from the features of the encoders below, as part of research or of the analysis of many posts. It was made
for posts like those that it was trained on: on others, first evaluate it on a labelled sample. Labels of sentiment are
opinions of annotators, and irony, rare topics, other languages and dialects are judged worse. It is not meant for
decisions about single people. The licences of the encoders and of the data apply, and the author of the run has to add
that of the model."""


def write_card(stored: StoredRun, run: Run, inputs: Sequence[FeatureInput], files: Sequence[str]) -> str:
    """The card of a folder that holds these files."""
    evaluation = stored.evaluation
    assert evaluation, "a run folder has an evaluation"
    title = stored.path.resolve().name
    sections = [
        ("", _summary(stored, run)),
        ("Labels", "\n".join(f"{number}. {escape_markdown(one)}" for number, one in enumerate(run.classes))),
        ("How to load", _loading(run, inputs, files)),
        ("Inputs", _inputs(inputs)),
        ("Metrics", _metrics(evaluation, run)),
        ("Data", _data(stored)),
        ("Training", _training(stored, run)),
        ("Intended use and limits", INTENDED),
    ]
    text = "\n\n".join(f"## {name}\n\n{content}" if name else content for name, content in sections)
    return f"---\n{_metadata(stored, run, evaluation, files)}\n---\n\n# {escape_markdown(title)}\n\n{text}\n"


def _metadata(stored: StoredRun, run: Run, evaluation: Evaluation, files: Sequence[str]) -> str:
    """The metadata that the Hub reads, as YAML."""
    from huggingface_hub import EvalResult, ModelCardData

    sides = tuple(modality for modality in MODALITIES if run.specs[modality])
    task = TASKS.get(sides, "image-text-to-text")
    data = str(stored.made.get("data", {}).get("name", "")) or "unknown"
    results = [
        EvalResult(
            task_type=task,
            dataset_type=re.sub(r"[^\w./-]+", "-", data),
            dataset_name=data,
            metric_type=kind,
            metric_name=metric_title(name),
            metric_value=round(evaluation.metrics[name]["mean"], 4),
        )
        for name, kind in METRIC_TYPES.items()
    ]
    card = ModelCardData(
        base_model=[spec.architecture for spec in _on_hub(run)] or None,
        eval_results=results,
        library_name="msa",
        metrics=list(METRIC_TYPES.values()),
        model_name=stored.path.resolve().name,
        pipeline_tag=TASKS.get(sides),
        tags=["sentiment-analysis", *["multimodal"] * (len(sides) > 1), *["onnx"] * (ONNX in files)],
    )
    return str(card.to_yaml())


def _on_hub(run: Run) -> list[EncoderSpec]:
    return [spec for side in run.specs.values() for spec in side if spec.source in HUBS and "/" in spec.architecture]


def _summary(stored: StoredRun, run: Run) -> str:
    heads, folds = len(run.heads), len(run.folds)
    averaged = f"The probabilities of {heads} heads ({folds} folds) are averaged. " if heads > 1 else ""
    return (
        f"A sentiment classifier of posts: the fusion head `{run.config.label}` on features of "
        f"{' and '.join(f'`{spec.name}`' for side in run.specs.values() for spec in side)}. {averaged}"
        f"Decision thresholds{' and temperatures' if run.temperatures else ''} are part of the model: "
        f"probabilities {'are' if run.temperatures else 'are not'} calibrated. "
        f"Made by msa {stored.made.get('version', '')}, {str(stored.made.get('date', ''))[:10]}."
    )


def _loading(run: Run, inputs: Sequence[FeatureInput], files: Sequence[str]) -> str:
    needs = "numpy and onnxruntime" if ONNX in files else "numpy and torch"
    plain = [one for one in inputs if not one.view_of]
    exports = [f"msa cache export {one.spec.slug} POSTS --to {one.name}" for one in plain]
    named = ", ".join(one.name for one in plain)
    reading = ", ".join(f'read_features("{one.name}")' for one in plain)
    given = ", ".join(f"{one.name}=[{one.name}.get(post) for post in ids]" for one in plain)
    union = " | ".join(f"set({one.name})" for one in plain)
    lines = [
        f"`exported_model.py` needs {needs} alone. Features come from the encoders below, for example by msa:",
        "",
        *(["```sh", *exports, "```"]),
        "",
        "```python",
        "from exported_model import Model, read_features",
        "",
        f"{named} = {reading}  # or other arrays, see below",
        f"ids = sorted({union})",
        f'labels, probabilities = Model(".").predict({given})',
        "```",
    ]
    if TORCH in files:
        lines += ["", f"`torch.export.load('{TORCH}').module()` maps a dict of tensors to logits and probabilities."]
    if "model.safetensors" in files:
        lines += ["", "With msa and the encoders, this folder is a run: `msa predict FOLDER POSTS --cache cache`."]
    return "\n".join(lines)


def _inputs(inputs: Sequence[FeatureInput]) -> str:
    lines = [
        [
            one.name,
            one.spec.name,
            "image and text" if one.spec.reads == "post" else one.spec.modality,
            f"(batch, {one.length or 'positions'}, {one.spec.width}) float32",
        ]
        for one in inputs
    ]
    return (
        f"{_table(['input', 'encoder', 'modality', 'shape'], lines)}\n\n"
        "The first position is the pooled vector, tokens follow. The mask of an input, `NAME_mask`, is a boolean "
        "(batch, positions): False where there is padding, and in a whole row where a post lacks the modality. Outputs "
        "are `logits` and `probabilities`, (batch, classes) each; the label is that of the largest logit. `model.json` "
        "has the specs of the encoders: an encoder of another fingerprint gives other features."
    )


def _metrics(found: Evaluation, run: Run) -> str:
    header, lines = metric_cells({found.fusion: found.metrics} | found.baselines, (*INTERVAL_METRICS, "weighted_f1"))
    classes, rows = class_cells(found.per_class)
    several = (
        f" They are means and deviations over {found.folds} folds, each predicted by heads that did not see it; the "
        "model here averages the heads of all folds, and no post of this data is new to it."
        if found.folds > 1
        else ""
    )
    measured = found.calibration
    return (
        f"{scored_text(found.rows, found.folds, found.repeats)}.{several}\n\n{_table(header, lines)}\n\n"
        f"{interval_text(found.intervals)}. Expected calibration error {measured.before:.3f} before the "
        f"temperatures, {measured.after:.3f} with them.\n\n{_table(classes, rows)}"
    )


def _data(stored: StoredRun) -> str:
    data: dict[str, Any] = dict(stored.made.get("data", {}))
    if not data:
        return "Unknown: the run was made by an earlier version."
    return f"{escape_markdown(str(data['name']))}: {data['posts']} posts (digest `{data['digest']}`)."


def _training(stored: StoredRun, run: Run) -> str:
    """The settings that the head was trained with, but those that it does not use or that are left to msa."""
    if isinstance(run.config, EnsembleConfig):
        return "Heads of several settings; `config.json` of the run folder has those of each."
    used = used_settings(run.config.fusion)
    given = {**stored.config["head"], **stored.config["training"]}
    shown = {name: given[name] for name in given if name in used and isinstance(given[name], str | int | float)}
    shown |= {f"option {name}": value for name, value in run.config.options.items()}
    return _table(["setting", "value"], [[name, str(value)] for name, value in shown.items()])


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [[escape_markdown(cell) for cell in line] for line in (header, *lines)]
    rows.insert(1, ["---"] * len(header))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def loader_source() -> str:
    """The code of the stand-alone loader, for the folder of a model."""
    return Path(__file__).with_name("exported_model.py").read_text(encoding="utf-8")

"""The attention of a run in its report: the mean by layer, weights of the modalities, and a few test posts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...features.messages import notify
from ...features.posts.images import decode_pixels
from ...features.posts.samples import Sample, read_file
from ...features.spec import BadItem
from ..explanation.remarks import LIMITS
from ..runs.stored_run import StoredRun
from .attention import Pixels, layer_chart, patch_chart, stacked, word_chart
from .chart import Chart, short
from .section import Section, Shown
from .words import Words

SIDES = ("image", "text", "both")
SMALL_SIDE = 256  # pixels of a picture in the report


def attention_section(runs: Sequence[StoredRun], words: Words, shown: Shown) -> Section:
    """What a single trained head attends to, where its posts and the features of its cache are there."""
    trained = [run for run in runs if run.predictions]
    empty = Section(words("Attention"), [])
    if len(trained) != 1 or shown.corpus is None:
        return empty
    from ..explanation.run_attention import explain_run  # it imports torch

    try:
        found = explain_run(trained[0], shown.corpus)
    except ValueError as error:
        notify(f"the report of {trained[0].name} shows no attention: {error}")
        return empty
    if found is None:
        return empty
    charts = []
    if found.layers:
        charts.append(layer_chart(found.layers, words, "attention-layers"))
    if found.weights:
        title = words("Weights of the modalities by true class")
        caption = words("Mean weight in the fused vector, or in the combined decision.")
        charts.append(Chart("modality-weights", title, caption, *stacked(found.weights, SIDES, "class", words)))  # type: ignore[arg-type]
    for number, one in enumerate(found.examples, 1):
        post = one.explanation
        title = words("Post {id}, {kind}").format(id=short(post.id), kind=words(one.kind))
        caption = words("predicted {label} with probability {p}, true class {truth}").format(
            label=short(post.label), p=f"{post.probabilities.max():.2f}", truth=short(post.truth)
        )
        pixels = read_pixels(one.sample)
        parts = [patch_chart(i, pixels, words, "", longest=SMALL_SIDE) for i in post.images[:1]]
        parts += [word_chart(text, words, "") for text in post.texts[:1]]
        charts += [
            replace(part, name=f"attention-{number}-{place}", title=title, caption=f"{caption}. {part.title}")
            for place, part in enumerate(parts, 1)
        ]
    intro = words("Mean over {count} test posts, by heads that never saw them.").format(count=found.posts)
    return Section(words("Attention"), charts, intro=f"{intro} {words(LIMITS)}" if found.layers else intro)


def read_pixels(sample: Sample) -> Pixels | None:
    """The upright picture (H, W, 3) of a post; None where it has none, or it cannot be read."""
    try:
        return None if sample.image is None else decode_pixels(read_file(sample.image, "image"))
    except BadItem:
        return None

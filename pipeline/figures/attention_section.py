"""The attention of a run in its report: the mean by layer, weights of the modalities, and a few test posts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...features.messages import notify
from ...features.posts.images import decode_pixels
from ...features.posts.samples import Sample, read_file
from ...features.spec import BadItem
from ..explanation.explanation import ImageAttention, TextAttention
from ..explanation.remarks import LIMITS
from ..runs.stored_run import StoredRun
from .attention import Pixels, draw_patches, draw_words, layer_chart, stacked
from .chart import WIDTH, Chart, drawing, short
from .section import Section, Shown
from .words import Words

if TYPE_CHECKING:  # it imports torch
    from ..explanation.run_attention import Example

SIDES = ("image", "text", "both")
SMALL_SIDE = 256  # pixels of a picture in the report
SHORTEST = 2.6  # inches of a post's chart
MOST_WORDS = 12


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
    charts += [_post_chart(one, words, f"attention-{number}") for number, one in enumerate(found.examples, 1)]
    intro = words("Mean over {count} test posts, by heads that never saw them.").format(count=found.posts)
    return Section(words("Attention"), charts, intro=f"{intro} {words(LIMITS)}" if found.layers else intro)


def _post_chart(one: Example, words: Words, name: str) -> Chart:
    """The picture of a test post beside its words."""
    post = one.explanation
    panels: list[ImageAttention | TextAttention] = [*post.images[:1], *post.texts[:1]]
    with drawing(WIDTH, SHORTEST) as (figure, axes):
        axes.remove()
        for panel, part in zip(figure.subplots(1, max(1, len(panels)), squeeze=False)[0], panels, strict=False):
            if isinstance(part, ImageAttention):
                draw_patches(panel, part, read_pixels(one.sample), SMALL_SIDE)
            else:
                draw_words(panel, part, MOST_WORDS)
    title = words("Post {id}, {kind}").format(id=short(post.id), kind=words(one.kind))
    caption = words("predicted {label} with probability {p}, true class {truth}").format(
        label=short(post.label), p=f"{post.probabilities.max():.2f}", truth=short(post.truth)
    )
    rows: list[list[object]] = []
    for image in post.images[:1]:
        rows += [["patch", row, column, "", weight] for (row, column), weight in np.ndenumerate(image.weights)]
    for text in post.texts[:1]:
        rows += [["word", "", "", word, weight] for word, weight in zip(text.words, text.weights, strict=True)]
    return Chart(name, title, caption, figure, ["part", "row", "column", "word", "weight"], rows)


def read_pixels(sample: Sample) -> Pixels | None:
    """The upright picture (H, W, 3) of a post; None where it has none, or it cannot be read."""
    try:
        return None if sample.image is None else decode_pixels(read_file(sample.image, "image"))
    except BadItem:
        return None

"""The first step of every command that trains heads: features joined to posts, folds, a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from ...features.encoders.runtime import pick_device
from ...features.encoders.views import view_spec
from ...features.messages import notify
from ...features.posts.samples import Corpus, absent
from ...features.spec import EncoderSpec
from ...heads.registry import ESTIMATORS
from ..config.data_config import DataConfig
from ..config.head_config import HeadConfig
from ..config.memory import usable_memory
from .cached_features import CachedFeatures, find_spec, load_features
from .classes import order_classes, select_classes
from .leaks import refuse_leaks
from .missing import refuse_missing
from .split import Fold, ensemble_folds, load_or_make_folds
from .split_notices import describe_split
from .test_posts import mark_test_posts


def prepare(
    corpus: Corpus, data_config: DataConfig, config: HeadConfig, *, seed: int
) -> tuple[CachedFeatures, list[Fold], str]:
    """Load the features that the head needs, the folds, and the device to train on. No fold holds a test post.

    Raises ValueError where the posts cannot be trained on, as where most lack a modality.
    """
    image = [find_spec(data_config.cache, name, "image") for name in data_config.image if name != "none"]
    text = [find_spec(data_config.cache, name, "text") for name in data_config.text if name != "none"]
    table, folds = load_and_split(corpus, data_config, config, image=image, text=text, seed=seed)
    size = config.ensemble_size
    refuse_leaks(table, [one for fold in folds for one in ensemble_folds(table.posts, fold, count=size, seed=seed)])
    return table, folds, pick_device(data_config.device)


def load_and_split(
    corpus: Corpus,
    data_config: DataConfig,
    config: HeadConfig,
    *,
    image: Sequence[EncoderSpec],
    text: Sequence[EncoderSpec],
    seed: int,
) -> tuple[CachedFeatures, list[Fold]]:
    """The features of these encoders, and the folds. Whether an encoder was tuned on test rows is not looked at.

    Raises ValueError as `prepare`.
    """
    check_encodable(corpus)
    corpus = select_classes(corpus, min_per_class=data_config.min_per_class, drop=data_config.drop_label)
    table = load_features(
        corpus,
        data_config.cache,
        image=image,
        text=text,
        tokens=config.tokens,
        patches=config.patches,
        group_by=data_config.group_by,
        views=[[view_spec(spec, index) for spec in image] for index in range(1, config.views + 1)],
        near_duplicates=data_config.near_duplicates,
        memory=usable_memory(data_config.memory),
        whole=[name for name in config.fusions if name in ESTIMATORS],
    )
    if order := data_config.order:
        table = replace(table, classes=order_classes(table.classes, order), ordered=True)
    for modality, side in table.sides.items():
        if not side.present.any():
            raise ValueError(absent(modality, len(side.present), corpus.root))
    refuse_missing(table, config.fusions, most=data_config.max_missing)
    splits = data_config.cache / "splits"
    split = partial(load_or_make_folds, folder=splits, folds=data_config.folds, seed=seed, repeats=data_config.repeats)
    posts = mark_test_posts(table.posts, splits, share=data_config.hold_out, check=split)
    folds = split(posts)
    for line in describe_split(posts, folds, set(table.sides)):
        notify(line)
    return replace(table, posts=posts), folds


def check_encodable(corpus: Corpus) -> None:
    """Raise ValueError where an id or a label has characters that no file can hold, as half of a surrogate pair."""
    for sample in corpus.samples:
        for what, text in (("id", sample.id), ("label", sample.label or "")):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise ValueError(
                    f"{corpus.root}: the {what} {text!r} is not valid Unicode (post {sample.id!r}); mend it in the data"
                ) from error

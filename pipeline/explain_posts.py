"""`msa explain`: what the predictions of a stored run for some posts rested on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..features.encoders.encoder import Source
from ..features.extraction.embed import embed_corpus
from ..features.extraction.settings import ExtractSettings
from ..features.messages import near_names
from ..features.posts.samples import Corpus, Sample
from ..features.store.temporary_folders import TemporaryFolder
from .explanation.explain import explain
from .explanation.explanation import Explanation
from .explanation.originals import open_splitters, read_original, seen_in
from .explanation.summary import summary
from .predict import check_post, refuse_bad
from .runs.folders import find_run
from .runs.run_encoders import run_sources
from .runs.run_predictions import load_run_features
from .runs.runs import Run, cache_of, load_run


@dataclass(frozen=True)
class ExplainedPost:
    """A post with its explanation, and the files that it was written to."""

    sample: Sample
    explanation: Explanation
    trained: bool = False  # the run has learned from it, and no fold was tested on it
    files: tuple[Path, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        return {**self.explanation.to_dict(), "trained": self.trained, "files": [str(path) for path in self.files]}

    def to_text(self) -> str:
        """What the command prints."""
        page, *figures = self.files or (None,)
        where = [f"{len(figures)} files of figures: {figures[0].parent}"] if figures else []
        where += [f"page: {page}"] if page else []
        return "\n".join([summary(self.explanation, trained=self.trained), *where])


def explain_ids(
    run_folder: Path,
    corpus: Corpus,
    ids: Sequence[str],
    *,
    cache: Path | None = None,
    settings: ExtractSettings = ExtractSettings(),
    local_files_only: bool = False,
) -> list[ExplainedPost]:
    """Explain posts of a corpus by their ids. Features that the cache lacks are extracted first.

    A test row of the run is explained by the heads of the folds that never saw it, any other post by those of all
    folds. Raises ValueError for an unknown id, and as `predict_corpus`.
    """
    known = {sample.id: sample for sample in corpus.samples}
    for name in ids:
        if name not in known:
            near = near_names(name, known)
            raise ValueError(f"no post {name!r} among the {len(known)} in {corpus.root}{near}; `msa check` lists them")
    run, folder = load_run(run_folder), find_run(run_folder)
    chosen, place = replace(corpus, samples=[known[name] for name in ids]), cache_of(run, cache)
    sources = run_sources(run, place, local_files_only)
    embed_corpus(chosen, sources, place, replace(settings, tokens=run.config.tokens))
    return _explained(run, folder, chosen, place, sources, settings.device)


def explain_new(
    run_folder: Path,
    *,
    image: Path | None,
    text: str | None,
    cache: Path | None = None,
    settings: ExtractSettings = ExtractSettings(),
    local_files_only: bool = False,
) -> ExplainedPost:
    """Explain one post given by its file and its text; either may be missing. Nothing is cached.

    Raises ValueError as `predict_post`.
    """
    sample = check_post(image, text)
    run, folder = load_run(run_folder), find_run(run_folder)
    post = Corpus(Path(), "post", [sample])
    sources = run_sources(run, cache or run.cache, local_files_only)
    with TemporaryFolder() as name:
        refuse_bad(embed_corpus(post, sources, Path(name), replace(settings, tokens=run.config.tokens)))
        return _explained(run, folder, post, Path(name), sources, settings.device)[0]


def _explained(
    run: Run, folder: Path, corpus: Corpus, cache: Path, sources: Sequence[Source], device: str
) -> list[ExplainedPost]:
    table = load_run_features(run, corpus, cache)
    seen = seen_in(folder, table.posts)
    found = explain(
        run,
        table,
        [read_original(sample) for sample in corpus.samples],
        splitters=open_splitters(sources),
        folds=[one.tested for one in seen],
        device=device,
    )
    return [
        ExplainedPost(sample, one, trained=was.trained and not was.tested)
        for sample, one, was in zip(corpus.samples, found, seen, strict=True)
    ]

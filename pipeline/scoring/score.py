"""Predict posts in blocks into one file, of CSV, JSON lines or Parquet; an interrupted command continues."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import cache as keep
from functools import cached_property
from pathlib import Path
from typing import Any

from ...features.encoders.encoder import Source
from ...features.extraction.embed import embed_corpus
from ...features.extraction.plan import EncoderReport
from ...features.extraction.settings import ExtractSettings
from ...features.extraction.shard import Shard
from ...features.posts.samples import Corpus
from ...features.progress import detail, keeping, stage
from ...features.spec import MODALITIES, Reads
from ...features.store.durable import replacing
from ...features.store.errors import read_errors
from ...features.store.json_files import write_json
from ...features.store.store import Store
from ...features.store.temporary_folders import TemporaryFolder
from ..config.values import BLOCK_POSTS, TOKEN_BLOCK_POSTS
from ..predict import KNOWN, Predictions, choose_posts, predict_table
from ..runs.folders import find_run
from ..runs.made import describe_command
from ..runs.run_encoders import check_imported, compute_of, run_request, run_sources
from ..runs.run_predictions import load_run_features
from ..runs.runs import Run, cache_of, load_run
from ..runs.seen_posts import SeenPosts, read_seen_posts
from .blocks import Blocks, digest_run, digest_samples
from .formats import Format, pick_format


@dataclass(frozen=True)
class Scored:
    """A file of predictions: posts per class, and what was missing, bad, or known to the run, as counts by name."""

    out: Path
    counts: dict[str, int]
    labels: dict[str, int]
    resumed: int  # posts that an earlier command had predicted
    errors: Path | None  # the list of parts that could not be read

    def to_dict(self) -> dict[str, object]:
        """The object of `--json`."""
        return {
            "file": str(self.out),
            "errors": None if self.errors is None else str(self.errors),
            "counts": self.counts,
            "labels": self.labels,
            "resumed": self.resumed,
        }

    def to_text(self) -> str:
        """The number of posts of each class, what was not used, and the file."""
        posts = self.counts["posts"]
        lines = [f"{posts} posts predicted: {', '.join(f'{count} {label}' for label, count in self.labels.items())}"]
        if self.resumed:
            lines.append(f"{self.resumed} of them by an earlier command")
        without = [f"{self.counts[name]} without {name.removeprefix('no ')}" for name in ("no image", "no text")]
        lines.append(f"{', '.join(without)}, {self.counts['blind']} without input (predicted from nothing)")
        known = ", ".join(f"{self.counts[name]} {words}" for name, words in KNOWN.items() if self.counts.get(name))
        if known:
            lines.append(f"of these posts {known}: accuracy on them is no estimate for new posts")
        if cut := self.counts.get("cut"):
            lines.append(f"{cut} new texts are longer than the encoder reads, and their ends were left out")
        if further := self.counts.get("further images"):
            lines.append(f"{further} images beyond the first of their post")
        if self.errors is not None:
            lines.append(f"{self.counts['bad']} images or texts could not be read: {self.errors}")
        return "\n".join([*lines, f"written: {self.out}"])


@dataclass(frozen=True)
class BadPart:
    """What of a post could not be read: its image, its text, or one of both where they are embedded together."""

    id: str
    part: Reads
    file: str
    reason: str


@dataclass(frozen=True)
class Scorer:
    """Predicts blocks of posts by one run whose encoders are loaded once; `cache` None keeps no features."""

    run: Run
    folder: Path
    sources: Sequence[Source]
    place: Path  # the cache that knows the run's encoders and test sets
    cache: Path | None
    settings: ExtractSettings
    raw: bool

    def predict(self, corpus: Corpus) -> tuple[Predictions, list[BadPart], dict[str, int]]:
        """Predictions of a block, the parts of its posts that could not be read, and its counts."""
        with ExitStack() as stack:
            cache = self.cache or Path(stack.enter_context(TemporaryFolder()))
            reports = embed_corpus(corpus, self.sources, cache, compute_of(self.run, self.settings), merge=False)
            table = load_run_features(self.run, corpus, cache)
            bad = self._bad_parts(corpus, reports)
        stage("predicting")
        seen = self.seen if any(label is not None for label in table.posts.labels) else None
        predictions = predict_table(self.run, table, self.settings.device, self.raw)
        counts = {
            "posts": len(predictions.ids),
            "bad": len(bad),
            "cut": max((report.cut for report in reports), default=0),
            "blind": len(predictions.blind),
            **{f"no {part}": sum(getattr(one, part) is None for one in corpus.samples) for part in MODALITIES},
            "further images": len(corpus.owners),
            **(seen.count(table.posts) if seen else {}),
        }
        return predictions, bad, counts

    @cached_property
    def seen(self) -> SeenPosts | None:
        """What the run has seen; of a run on a million posts this takes seconds to read."""
        return read_seen_posts(self.folder, self.place / "splits")

    def _bad_parts(self, corpus: Corpus, reports: Sequence[EncoderReport]) -> list[BadPart]:
        reads = {spec.fingerprint: spec.reads for spec in self.run.encoders}
        found: dict[tuple[str, Reads, str], BadPart] = {}
        for report in reports:
            if not report.bad:
                continue
            part = reads[report.fingerprint]
            posts = {(item.id, item.file_name(part)) for item in corpus.items(part)}
            for record in read_errors(Path(report.path)):
                if (record.id, record.file) in posts:
                    bad = BadPart(record.id, part, record.file, record.reason)
                    found.setdefault((record.id, part, record.file), bad)
        return list(found.values())


def score_corpus(
    run_folder: Path,
    corpus: Corpus,
    out: Path,
    *,
    rows: str = "auto",
    shard: Shard | None = None,
    ray: str | None = None,
    block_posts: int = 0,
    cache: Path | None = None,
    keep_features: bool = True,
    settings: ExtractSettings = ExtractSettings(),
    local_files_only: bool = False,
    raw: bool = False,
) -> Scored:
    """Predict the posts of a corpus in blocks of `block_posts`, and write them to `out` in the order of the corpus.

    By default (0) a block has 16,384 posts, and 2,048 where the heads read tokens.
    Finished blocks stay in the folder `OUT.blocks`, and the same call continues after them; an `out` that is finished
    is left as it is. `rows` as in `predict_corpus`; with a `shard`, its rows alone go to a file that bears its number.
    `ray` is the address of a cluster that embeds the posts first, as for `extract`. Without `keep_features` embeddings
    are forgotten block by block. The size of the blocks changes the probabilities by less than 1e-5. Raises ValueError
    as `predict_corpus`, and where `out` or its blocks hold other predictions.
    """
    if block_posts < 0:
        raise ValueError(f"--block-posts must be 1 or more, or 0 for the default; got {block_posts}")
    if ray is not None and not keep_features:
        raise ValueError("--engine ray keeps embeddings in the cache, where its workers meet; leave out --no-cache")
    out = numbered(out, shard) if shard else out
    form = pick_format(out)
    chosen = choose_posts(corpus, rows)
    chosen = shard.take(chosen) if shard else chosen
    run, folder = load_run(run_folder), find_run(run_folder)
    block_posts = block_posts or (TOKEN_BLOCK_POSTS if run.config.tokens else BLOCK_POSTS)
    blocks = Blocks(out, _plan(folder, chosen, block_posts, raw), block_posts, len(chosen.samples))
    with blocks.held():
        if (summary := blocks.finished()) is not None:
            return _scored(blocks, summary, resumed=len(chosen.samples))
        place = cache_of(run, cache)
        check_imported(run, place)
        blocks.open()
        sources = [replace(one, load=keep(one.load)) for one in run_sources(run, place, local_files_only)]
        scorer = Scorer(run, folder, sources, place, place if keep_features else None, settings, raw)
        reports: list[EncoderReport] = []
        if ray is not None:
            from ...features.extraction.ray_engine import extract_on_ray

            request = run_request(run, place, local_files_only)
            reports = extract_on_ray(chosen, sources, request, place, compute_of(run, settings), address=ray)
        resumed = _predict_blocks(blocks, chosen, scorer, form)
        stage("writing the file")
        summary = _join_blocks(blocks, run.classes, form, cut=max((report.cut for report in reports), default=0))
        if keep_features and shard is None:
            for spec in run.encoders:
                Store.open(place, spec).compact()
    return _scored(blocks, summary, resumed=resumed)


def numbered(out: Path, shard: Shard) -> Path:
    """The file of a shard: scores-00002-of-00008.csv."""
    return out.with_name(f"{out.stem}-{shard.number:05}-of-{shard.count:05}{out.suffix}")


def _predict_blocks(blocks: Blocks, corpus: Corpus, scorer: Scorer, form: Format) -> int:
    """Predict the blocks that are not there yet; the number of posts whose blocks were."""
    total = len(corpus.samples)
    pending = [block for block in range(len(blocks)) if not blocks.done(block)]
    resumed = done = total - sum(len(corpus.samples[blocks.rows(block)]) for block in pending)
    keeping(lambda: f"{done} predicted posts are kept in {blocks.folder}, and the same command continues there")
    for block in pending:
        detail(f"{done} of {total} posts predicted")
        part = replace(corpus, samples=corpus.samples[blocks.rows(block)])
        predictions, bad, counts = scorer.predict(part)
        lines = "".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in bad)
        labels = Counter(predictions.labels)
        described = {"counts": counts, "labels": {label: labels[label] for label in predictions.classes}}
        blocks.write(block, form.encode(predictions), lines.encode(), described)
        done += len(part.samples)
    return resumed


def _join_blocks(blocks: Blocks, classes: Sequence[str], form: Format, *, cut: int) -> dict[str, Any]:
    """Write the file, the list of what could not be read, and the summary, which is returned; forget the blocks.

    `cut` texts were cut before the blocks were predicted.
    """
    totals: dict[str, Counter[str]] = {"counts": Counter(cut=cut), "labels": Counter()}
    for described in blocks.counts():
        for name, total in totals.items():
            total.update(described[name])
    if totals["counts"]["bad"]:
        with replacing(errors_of(blocks.out)) as file:
            for path in blocks.errors:
                file.write(path.read_bytes())
    summary = blocks.plan | {name: dict(total) for name, total in totals.items()} | {"made": describe_command()}
    write_json(blocks.summary, summary)
    with replacing(blocks.out) as file:
        form.join(blocks.predictions, classes, file)
    blocks.remove()
    return summary


def errors_of(out: Path) -> Path:
    """The list of the parts of posts that could not be read, beside a file of predictions."""
    return out.with_name(f"{out.name}.errors.jsonl")


def _scored(blocks: Blocks, summary: Mapping[str, Any], *, resumed: int) -> Scored:
    errors = errors_of(blocks.out) if summary["counts"]["bad"] else None
    return Scored(blocks.out, summary["counts"], summary["labels"], resumed, errors)


def _plan(run: Path, corpus: Corpus, block_posts: int, raw: bool) -> dict[str, Any]:
    """What decides the rows of the file and their probabilities."""
    data = {"name": corpus.name, "digest": digest_samples(corpus.samples), "posts": len(corpus.samples)}
    return {"run": digest_run(run), "data": data, "block_posts": block_posts, "raw": raw}

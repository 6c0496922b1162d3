"""`msa extract`: opens the encoders, embeds the corpus, reports every row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..encoders.sources import EncoderRequest, open_sources
from ..posts.samples import Corpus, Problem
from ..progress import keeping, stage
from ..store.durable import in_use
from ..text_table import Part, Report, Table, paragraph
from .embed import Progress, embed_corpus, show_items
from .plan import EncoderReport, cut_note, several_notes
from .settings import ExtractSettings
from .shard import Shard


@dataclass(frozen=True)
class Extraction(Report):
    """The result of an extraction: posts read, one report per encoder, the reader's problems and some of its notes."""

    rows: int
    encoders: Sequence[EncoderReport]
    problems: Sequence[Problem]
    shard: Shard | None = None
    notes: Sequence[str] = ()

    @property
    def bad_share(self) -> float:
        """Bad items over present items, of the worst encoder."""
        there = [(report.bad, report.rows - report.missing) for report in self.encoders]
        return max((bad / items for bad, items in there if items), default=0.0)

    @property
    def empty(self) -> list[str]:
        """The encoders that had nothing to read; a shard may have nothing by chance."""
        return [] if self.shard else [report.name for report in self.encoders if report.missing == report.rows]

    def to_dict(self) -> dict[str, Any]:
        shard = {"shard": str(self.shard)} if self.shard else {}
        return {"rows": self.rows, **shard, "encoders": [asdict(report) for report in self.encoders]}

    def parts(self) -> list[Part]:
        """A row for each encoder, with what became of the posts."""
        header = ["encoder", "read", "cached", "encoded", "dup.", "missing", "bad", "seconds", "MB"]
        lines = []
        for r in self.encoders:
            counts = r.rows, r.cached, r.encoded, r.duplicate, r.missing, r.bad
            lines.append([r.name, *counts, f"{r.seconds:.1f}", f"{r.bytes / 1e6:.1f}"])
        bad = [report for report in self.encoders if report.bad]
        notes = [f"{r.bad} bad items of {r.name} are listed in {Path(r.path) / 'errors.jsonl'}" for r in bad]
        notes += [f"{cut_note(r.name, r.cut, 'encoded')}; see --long-text" for r in self.encoders if r.cut]
        lacking = [report for report in self.encoders if 2 * report.missing > report.rows]
        further = {r.name: " and further images" * (r.rows > self.rows) for r in lacking}
        notes += [
            f"{r.missing} of {r.rows} posts{further[r.name]} have nothing for {r.name}; `msa check` shows why"
            for r in lacking
        ]
        notes += self.notes
        if self.problems:
            notes.append(f"{len(self.problems)} problems in the data; `msa check` lists them")
        if self.shard:
            notes.append(f"shard {self.shard} of the rows; after the last shard, `msa cache merge` joins the files")
        return [Table(header, lines), *paragraph(notes)]


def extract(
    corpus: Corpus,
    request: EncoderRequest,
    cache: Path,
    settings: ExtractSettings = ExtractSettings(),
    *,
    shard: Shard | None = None,
    ray: str | None = None,
    progress: Progress = show_items,
) -> Extraction:
    """Embed what the cache lacks. Raises ValueError for unknown encoders, weights that do not fit, a foreign cache.

    With a `shard`, only its rows are embedded and the parts are left unmerged. `ray` is the address of a cluster that
    computes, empty for RAY_ADDRESS or a cluster of this machine alone; None: this process computes.
    """
    if not corpus.samples:
        raise ValueError(f"no posts to extract in {corpus.root}; `msa check` shows what was read")
    stage("opening encoders")
    sources = open_sources(request, corpus, cache)
    written: dict[str, int] = {}
    keeping(lambda: f"{sum(written.values())} new embeddings are kept in {cache}, and the same command continues there")
    with in_use(cache / spec.slug for source in sources for spec in source.specs) as touch:

        def advance(name: str, done: int, total: int) -> None:
            touch()
            written[name] = done
            progress(name, done, total)

        if ray is not None:
            from .ray_engine import extract_on_ray
            from .ray_worker import OpenRequest

            remote = OpenRequest.of(request, sources, cache)
            reports = extract_on_ray(corpus, sources, remote, cache, settings, address=ray, progress=advance)
            return Extraction(len(corpus.samples), reports, corpus.problems, notes=several_notes(corpus))
        share = shard.take(corpus) if shard else corpus
        reports = embed_corpus(share, sources, cache, settings, merge=shard is None, progress=advance)
        return Extraction(len(share.samples), reports, corpus.problems, shard, several_notes(corpus))

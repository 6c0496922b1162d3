"""Opens the encoders of a request, and reopens the encoder of a stored spec."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from difflib import unified_diff
from functools import partial
from pathlib import Path
from shlex import quote

from ..messages import notify
from ..model_files.modelscope import PREFIX as MODELSCOPE
from ..posts.samples import Corpus
from ..posts.text import clean_text, is_chinese, read_text
from ..spec import MODALITIES, BadItem, Clean, EncoderSpec, Modality
from ..store.json_files import read_json, write_json
from ..store.store import Store
from ..store.stored_paths import read_path, stored_path
from .encoder import Encoder, EncoderOptions, Source
from .runtime import Runtime
from .tuned import keep_record, tuned_names
from .variants import parse_encoder_name, split_prefix
from .views import share_loaded, view_source
from .word_vectors import load_fitted
from .zoo import ALIASES, ENCODERS, ENGLISH, OWN, open_encoder

LOOKED_AT = 200  # texts whose language is looked at


@dataclass(frozen=True)
class EncoderRequest:
    """The encoders of an extraction: names per modality, and options for all of them.

    `weights` holds `FILE` or `NAME=FILE`, NAME being an encoder's name or `image` / `text`. `views` is the number of
    augmented views of each image, beside the plain one.
    """

    image: tuple[str, ...]
    text: tuple[str, ...]
    options: EncoderOptions = field(default_factory=EncoderOptions)
    weights: tuple[str, ...] = ()
    views: int = 0

    def pairs(self) -> list[tuple[Modality, str]]:
        """Every (modality, name), in order, also of those in a folder of tuned ones; `none` leaves a modality out."""
        given: tuple[tuple[Modality, tuple[str, ...]], ...] = (("image", self.image), ("text", self.text))
        pairs = [(modality, one) for modality, names in given for name in names for one in tuned_names(name, modality)]
        return [pair for pair in dict.fromkeys(pairs) if pair[1] != "none"]

    def files(self) -> dict[tuple[Modality, str], Path]:
        """The local weights file of each encoder that has one. Raises ValueError for an ambiguous one."""
        pairs = self.pairs()
        found: dict[tuple[Modality, str], Path] = {}
        for given in self.weights:
            name, _, file = given.rpartition("=")
            bases = {pair: parse_encoder_name(pair[1]).base for pair in pairs}
            if name:
                owners = [pair for pair in pairs if name in (*pair, bases[pair])]
            else:
                owners = [pair for pair in pairs if bases[pair] not in OWN]
            if len({(modality, bases[modality, name]) for modality, name in owners}) != 1:
                choices = ", ".join(f"{name}=FILE" for _, name in pairs)
                raise ValueError(f"--weights {given}: cannot tell which encoder it is for; write one of {choices}")
            if not Path(file).is_file():
                raise ValueError(f"--weights {given}: there is no file {file!r}")
            found |= dict.fromkeys(owners, Path(file))
        return found


def open_sources(request: EncoderRequest, corpus: Corpus, cache: Path) -> list[Source]:
    """Open every encoder of a request, and record its origin in the cache so that it can be reopened.

    Raises ValueError for unknown encoders, and where no post has what they read.
    """
    files = request.files()
    pairs = request.pairs()
    if not pairs:
        raise ValueError("at least one encoder is needed; give --image or --text")
    asked = {*request.options.pools, *(parse_encoder_name(name).pool for _, name in pairs)}
    if request.options.sentences and "prompts" not in asked:
        raise ValueError(f"--sentence is for an encoder NAME@prompts; got {', '.join(name for _, name in pairs)}")
    for modality, name in pairs:
        for read in _parts_read(name, modality):
            corpus.require(read)
    _point_out_language(corpus, pairs)
    texts = _texts(corpus, request.options.clean) if any(name.startswith("gensim:") for _, name in pairs) else ()
    sources = []
    for modality, name in pairs:
        options = replace(request.options, weights=files.get((modality, name)), corpus=texts, cache=cache)
        plain = share_loaded(open_encoder(name, modality, options))
        file = str(options.weights.resolve()) if options.weights else None
        base = absolute_name(parse_encoder_name(name).base)
        sources.append(_record_origin(plain, cache, base, file))
        for index in range(1, request.views + 1 if modality == "image" else 1):
            sources.append(_record_origin(view_source(plain, index), cache, base, file))
    return sources


def _parts_read(name: str, modality: Modality) -> Sequence[Modality]:
    parsed = parse_encoder_name(name)
    return MODALITIES if parsed.joint else ("image",) if parsed.ocr else (modality,)


def _record_origin(source: Source, cache: Path, base: str, weights: str | None) -> Source:
    """Write into the cache folder of each spec how it is opened alone; return the source."""
    for spec in source.specs:
        name = base + parse_encoder_name(spec.name, local=False).suffix
        folder = Store.open(cache, spec).folder
        keep_record(Path(base), spec, folder)
        origin = {"name": _place(name, folder, stored_path), "weights": weights and stored_path(weights, folder)}
        write_json(folder / "origin.json", origin)
    return source


def reopen(spec: EncoderSpec, cache: Path, *, local_files_only: bool = False) -> Source:
    """Open the encoder of a spec. Raises ValueError if the one on this machine would give other numbers."""
    if spec.source == "import":
        return Source((spec,), partial(_refuse_imported, spec, cache))
    if spec.weights.startswith("fit:"):
        return load_fitted((spec,), cache)
    note = cache / spec.slug / "origin.json"
    remedy = "run `msa extract` with this encoder again"
    origin = (
        read_json(note, "the origin of an encoder", remedy, name=str) if os.path.lexists(note) else {"name": spec.name}
    )
    folder = note.parent
    options = EncoderOptions(
        weights=read_path(str(origin["weights"]), folder) if origin.get("weights") else None,
        local_files_only=local_files_only,
        dtype=spec.dtype,
        cache=cache,
        clean=spec.clean,
        long_text=spec.long_text,
        prompt=spec.prompt,
        sentences=tuple(json.loads(spec.preprocess)["numbers"]) if spec.pool == "prompts" else (),
        max_length=spec.max_length,
    )
    source = open_encoder(_place(origin["name"], folder, read_path), spec.modality, options)
    if source.spec.fingerprint != spec.fingerprint:
        wanted, got = (json.dumps(json.loads(s.to_json()), indent=0).splitlines() for s in (spec, source.spec))
        changed = [line for line in unified_diff(wanted, got, n=0, lineterm="") if line[0] in "+-" and line[1] == '"']
        raise ValueError(
            f"encoder {spec.name!r} has fingerprint {source.spec.fingerprint} here, but {spec.fingerprint} is wanted "
            f"({' '.join(changed)[:300]}); use the same weights and versions, or train again"
        )
    return share_loaded(source)


def _refuse_imported(spec: EncoderSpec, cache: Path, runtime: Runtime) -> Encoder:
    """Fails only on loading: rows in the cache can be used without the encoder."""
    raise ValueError(
        f"{spec.name!r} was imported, so new posts cannot be embedded here; import their embeddings too: "
        f"`{import_line(Store(cache / spec.slug, spec))}`"
    )


def import_line(store: Store) -> str:
    """The command that imports more embeddings of an imported encoder, with names for the posts and the files."""
    spec = store.spec
    names = f"--name {quote(spec.name)} --modality {spec.modality}"
    tokens = " --tokens tokens.npy --offsets offsets.npy" if any(part.has_tokens for part in store.parts) else ""
    return f"msa cache import --append {names} posts --pooled pooled.npy --ids ids.txt{tokens}"


def pick_form(name: str, found: Sequence[EncoderSpec]) -> EncoderSpec:
    """The one of several cached forms that a name denotes: the uncleaned one, of these the encoder's default.

    Raises ValueError that lists them where that is none of them, or unknown.
    """
    plain = [spec for spec in found if spec.clean == "none"]
    if len(plain) == 1:
        return plain[0]
    for modality in sorted({spec.modality for spec in plain}):
        with suppress(ValueError, OSError):
            default = open_encoder(name, modality, EncoderOptions(local_files_only=True)).spec
            if default in plain:
                return default
    forms = ", ".join(
        f"{spec.slug} ({spec.modality}, clean {spec.clean}, {spec.dtype}{spec.prompt and f', prompt {spec.prompt!r}'}"
        f"{', windows' if spec.long_text == 'windows' else ''})"
        for spec in found
    )
    raise ValueError(f"{name!r} is cached in several forms: {forms}; name one of these")


def _place(name: str, folder: Path, place: Callable[[str, Path], str | Path]) -> str:
    """A name whose path, if it has one, is given by `stored_path` or `read_path`; a hub's id has none."""
    prefix, rest = split_prefix(name)
    local = Path(rest).is_absolute() or rest.startswith("../")
    return f"{prefix}{place(rest, folder)}" if local else name


def absolute_name(name: str) -> str:
    """The absolute path of a name that is a local folder or vectors file; any other name unchanged."""
    if name in ENCODERS or name in ALIASES:
        return name
    prefix, rest = split_prefix(name)
    local = Path(rest).expanduser()
    return f"{prefix}{local.resolve()}" if local.exists() else name


def _point_out_language(corpus: Corpus, pairs: Sequence[tuple[Modality, str]]) -> None:
    """Warn where most texts are Chinese and all of their encoders were trained on English."""
    names = [parse_encoder_name(name) for modality, name in pairs if modality == "text"]
    bases = {name.base.removeprefix("st:").removeprefix(MODELSCOPE) for name in names if not name.ocr}
    english = [base for base in bases if {base, ALIASES.get(base), f"sentence-transformers/{base}"} & ENGLISH]
    if not english or len(english) < len(bases):
        return
    texts = _texts(replace(corpus, samples=corpus.samples[:: max(1, len(corpus.samples) // LOOKED_AT)]), "none")
    chinese = sum(map(is_chinese, texts))
    if 2 * chinese > len(texts):
        notify(
            f"{chinese} of {len(texts)} texts are Chinese, and {' and '.join(sorted(english))} learnt from English; "
            "take --text lexicon_zh (extra `zh`), or --text BAAI/bge-base-zh-v1.5 where a model hub is reached"
        )


def _texts(corpus: Corpus, clean: Clean) -> tuple[str, ...]:
    """All readable texts of a corpus, cleaned, without test rows, for encoders that are fitted on them."""
    texts = []
    for sample in corpus.samples:
        if sample.text is not None and sample.split != "test":
            try:
                texts.append(clean_text(read_text(sample.text), clean))
            except BadItem:  # reported when it is extracted
                continue
    return tuple(texts)

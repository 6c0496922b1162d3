"""A tuned encoder remembers every row it has seen, and those rows are never test rows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image

from msa.features.cache.maintenance import collect_garbage
from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.sources import EncoderRequest, reopen
from msa.features.encoders.zoo import open_encoder
from msa.features.extraction.extract import extract
from msa.features.messages import Notice
from msa.features.posts.content import text_key
from msa.features.posts.samples import Corpus, Sample
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.config.tune_config import TuneConfig
from msa.pipeline.data.cached_features import CachedFeatures, find_spec, load_features
from msa.pipeline.data.join import join_posts
from msa.pipeline.data.leaks import refuse_leaks, refuse_seen
from msa.pipeline.data.seen import find_seen
from msa.pipeline.data.split import load_or_make_folds
from msa.pipeline.finetuning import inputs
from msa.pipeline.finetuning.finetune import finetune
from msa.pipeline.finetuning.request import TuneRequest
from msa.pipeline.finetuning.result import Finetuned
from msa.pipeline.training.folds import train_folds

N = 60
WORDS = [f"w{number}" for number in range(40)]
LOCAL = EncoderOptions(local_files_only=True)
QUICK = TuneConfig(epochs=2, batch_size=16, lr=1e-3)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT with random weights, and its tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "small-bert"
    torch.manual_seed(0)
    width = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    size = hf.BertConfig(vocab_size=45, max_position_embeddings=32, **width)
    hf.BertModel(size).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    hf.BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def noise(count: int = N) -> Corpus:
    """Posts of random words with random labels: nothing can be learned of a row but the row itself."""
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice(WORDS, 6, replace=False)) for _ in range(count)]
    labels = draw.permutation(["ab"[number % 2] for number in range(count)])
    samples = [
        Sample(f"p{n}", None, text, str(label)) for n, (text, label) in enumerate(zip(texts, labels, strict=True))
    ]
    return Corpus(Path(), "table", samples)


def load(corpus: Corpus, cache: Path, name: str) -> CachedFeatures:
    extract(corpus, EncoderRequest((), (name,), LOCAL), cache)
    return load_features(corpus, cache, image=[], text=[find_spec(cache, name, "text")], tokens=False)


def ask(name: Path | str, cache: Path, config: TuneConfig = QUICK, **options: Any) -> TuneRequest:
    return TuneRequest(EncoderRequest((), (str(name),), LOCAL), config, cache=cache, device="cpu", **options)


def tuned(
    bert: Path, folder: Path, config: TuneConfig = QUICK, *, folds: int | None = None, fold: int | None = None
) -> Finetuned:
    return finetune(noise(), ask(bert, folder / "cache", config, folds=folds, fold=fold), folder / "tuned")


def test_scores_on_rows_of_the_encoders_tuning_are_refused(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leak of a report that reached .824 so: tuned on the rows of one split, tested on the folds of another."""
    hard = TuneConfig(epochs=40, batch_size=16, lr=5e-3, head_lr=5e-3, patience=0, metric="accuracy")
    cache = tmp_path / "cache"
    own = load_or_make_folds(join_posts(noise())[1], cache / "splits", folds=None, seed=0)
    with monkeypatch.context() as patched:  # the epoch is one at which the training rows are known by heart
        known = [replace(own[0], valid=own[0].train[:20])]
        patched.setattr("msa.pipeline.finetuning.finetune.load_or_make_folds", lambda *args, **options: known)
        with pytest.warns(Notice, match="are left out"):
            result = tuned(bert, tmp_path, hard)
    table = load(noise(), cache, str(result.out))
    others = load_or_make_folds(table.posts, cache / "splits", folds=3, seed=0)
    with pytest.raises(
        ValueError, match=rf"'tuned:tuned' was tuned on stored split {result.folds[0].record.split} .* has seen"
    ):
        refuse_leaks(table, others)
    training = TrainConfig(epochs=30, batch_size=16, lr=1e-2)
    leaking = train_folds(table, others, HeadConfig("text", hidden=16, dropout=0.0), training)
    assert np.mean([fold.metrics["accuracy"] for fold in leaking]) > 0.7
    refuse_leaks(table, own)
    plain = load(noise(), cache, str(bert))
    refuse_leaks(plain, others)
    (honest,) = train_folds(table, own, HeadConfig("text", hidden=16, dropout=0.0), training)
    blind = train_folds(plain, others, HeadConfig("text", hidden=16, dropout=0.0), training)
    assert honest.metrics["accuracy"] < 0.85  # twelve rows, and chance
    assert abs(np.mean([fold.metrics["accuracy"] for fold in blind]) - 0.5) < 0.15


def test_a_fold_is_tested_with_the_encoder_of_that_fold_alone(bert: Path, tmp_path: Path) -> None:
    result = tuned(bert, tmp_path, folds=3, fold=1)
    cache = tmp_path / "cache"
    table = load(noise(), cache, str(result.out))
    folds = load_or_make_folds(table.posts, cache / "splits", folds=3, seed=0)
    refuse_leaks(table, [folds[1]])
    with pytest.raises(ValueError, match=r"fold 1 of 3, seed 0\) and has seen 20 of the 20 test rows"):
        refuse_leaks(table, [folds[1], folds[0]])
    swapped = replace(folds[1], train=folds[1].valid, valid=folds[1].train)
    count = len(folds[1].train)
    with pytest.raises(ValueError, match=rf"0 of the 20 test rows and {count} of the {count} validation rows"):
        refuse_leaks(table, [swapped])
    with pytest.raises(ValueError, match="has seen 40 of these 60 rows"):
        refuse_seen(table.image, table.text)


def test_a_copy_of_a_seen_row_counts_as_seen(bert: Path, tmp_path: Path) -> None:
    result = tuned(bert, tmp_path)
    known = next(s for s in noise().samples if text_key(str(s.text)) in result.folds[0].record.trained)
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")
    fresh = [Sample(f"q{n}", None, f"w{n} w{n + 1}", "ab"[n % 2]) for n in range(18)]
    linked = [replace(known, id="x", image=tmp_path / "1.png"), Sample("y", tmp_path / "1.png", "w1 w9 w2", "a")]
    corpus = Corpus(Path(), "table", [*fresh, *linked])
    table = load(corpus, tmp_path / "cache", str(result.out))
    assert table.text is not None
    assert np.flatnonzero(table.text.seen[0].trained).tolist() == [18]  # no image is read
    assert table.text.seen[0][np.array([3, 18])].trained.tolist() == [False, True]
    contents, posts = join_posts(corpus)  # where images are read, too, the post with the same image counts
    (seen,) = find_seen(table.text.specs, tmp_path / "cache", contents, posts.groups)
    assert np.flatnonzero(seen.trained).tolist() == [18, 19]


def test_test_rows_are_never_decoded_and_validation_rows_only_choose(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: set[str] = set()
    real = inputs.decode
    monkeypatch.setattr(inputs, "decode", lambda post, *how, **more: read.add(post.id) or real(post, *how, **more))
    result = tuned(bert, tmp_path, replace(QUICK, epochs=1))
    _, posts = join_posts(noise())
    (fold,) = load_or_make_folds(posts, tmp_path / "cache" / "splits", folds=None, seed=0)
    assert read == {posts.ids[row] for row in (*fold.train, *fold.valid)}
    assert result.folds[0].record.split == posts.digest(None, 0)
    assert set(result.folds[0].record.trained) == {text_key(str(noise().samples[row].text)) for row in fold.train}
    assert set(result.folds[0].record.selected) == {text_key(str(noise().samples[row].text)) for row in fold.valid}
    flipped = [
        replace(s, label={"a": "b", "b": "a"}[str(s.label)]) if row in fold.valid else s
        for row, s in enumerate(noise().samples)
    ]
    (tmp_path / "other").mkdir()
    monkeypatch.setattr("msa.pipeline.finetuning.finetune.load_or_make_folds", lambda *args, **options: [fold])
    request = ask(bert, tmp_path / "cache", replace(QUICK, epochs=1))
    again = finetune(replace(noise(), samples=flipped), request, tmp_path / "other" / "tuned")
    weights = [(folder / "weights.safetensors").read_bytes() for folder in (result.out, again.out)]
    assert weights[0] == weights[1]


def test_the_folder_is_an_encoder_that_gives_what_was_tuned(bert: Path, tmp_path: Path) -> None:
    result = tuned(bert, tmp_path)
    cache, name = tmp_path / "cache", str(result.out)
    table = load(noise(), cache, name)
    assert table.text is not None
    (spec,) = table.text.specs
    base, opened = open_encoder(str(bert), "text", LOCAL).spec, open_encoder(name, "text", LOCAL).spec
    assert (spec, spec.name) == (opened, "tuned:tuned")
    assert spec.fingerprint != base.fingerprint
    assert find_spec(cache, "tuned", "text") == spec
    assert result.folds[0].record.digest in spec.weights
    assert open_encoder(f"{name}@max", "text", LOCAL).spec.name == "tuned:tuned@max"
    encoder = reopen(spec, cache).load(Runtime())
    pooled = encoder.encode([encoder.preprocess(str(noise().samples[0].text))])[0].pooled[0]
    np.testing.assert_allclose(pooled, table.text.pooled[0], atol=1e-4)
    before = open_encoder(str(bert), "text", LOCAL).load(Runtime())
    plain = before.encode([before.preprocess(str(noise().samples[0].text))])[0].pooled[0]
    assert np.abs(plain - pooled).max() > 1e-2
    record = json.loads((result.out / "tuned.json").read_text())
    assert (record["base"], record["folds"], record["fold"]) == (str(bert), None, 0)
    record = cache / spec.slug / "tuned.json"
    record.write_text(record.read_text().replace(result.folds[0].record.trained[0], "0" * 32))
    with pytest.raises(ValueError, match="not the record that 'tuned:tuned' was cached with"):
        load_features(noise(), cache, image=[], text=[spec], tokens=False)
    record.unlink()
    with pytest.raises(ValueError, match=r"tuned.json: not the record of a tuned encoder"):
        load_features(noise(), cache, image=[], text=[spec], tokens=False)
    load(noise(), cache, name)  # extracting again brings it back
    collect_garbage(cache, [Corpus(Path(), "table", [Sample("z", None, "w1", "a")])], yes=True)
    assert not (cache / spec.slug).exists()


def test_the_same_seed_gives_the_same_weights_and_settings_change_them(bert: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    changes = [{}, {}, {"balance": "weights"}, {"lr": 1e-2}, {"warmup": 0.0}, {"weight_decay": 1.0}, {"head_lr": 1e-1}]
    found = []
    for number, change in enumerate(changes):
        folder = tmp_path / str(number)
        result = tuned(bert, folder, replace(QUICK, epochs=1, seed=1, **change))  # type: ignore[arg-type]
        found.append((result.out / "weights.safetensors").read_bytes())
    assert torch.equal(torch.get_rng_state(), state)
    assert found[0] == found[1]
    assert len(set(found)) == len(changes) - 1


def test_patience_ends_the_tuning_and_the_best_epoch_is_kept(bert: Path, tmp_path: Path) -> None:
    worsening = replace(QUICK, epochs=30, lr=3e-2, patience=2)
    result = tuned(bert, tmp_path, worsening)
    losses = [epoch["loss"] for epoch in result.folds[0].training["history"]]
    assert result.folds[0].training["best_epoch"] == 1 + int(np.argmin(losses))
    assert len(losses) == result.folds[0].training["best_epoch"] + 2
    assert str(result.out) in result.to_text()
    assert json.dumps(result.to_dict())


def test_what_cannot_be_tuned_is_refused(bert: Path, tmp_path: Path) -> None:
    result = tuned(bert, tmp_path, replace(QUICK, epochs=1))
    cases = {
        "tokens": "has no weights to tune",
        "lexicon": "has no weights to tune here; take an encoder of torchvision, timm or transformers",
        "gensim:word2vec": "is fitted on a corpus",
        str(result.out): "is tuned already",
        f"{bert}@max": "tuned as a whole; leave out '@max'",
    }
    for name, message in cases.items():
        with pytest.raises(ValueError, match=message):
            finetune(noise(), ask(name, tmp_path / "cache"), tmp_path / "new")
    with pytest.raises(ValueError, match="exists already"):
        tuned(bert, tmp_path)
    with pytest.raises(ValueError, match="--fold 3 is not there, wanted 0 to 2; add --folds 4 or more"):
        finetune(noise(), ask(bert, tmp_path / "c", folds=3, fold=3), tmp_path / "n")
    with pytest.raises(ValueError, match="serves text, not image"):
        open_encoder(str(result.out), "image", LOCAL)
    with pytest.raises(ValueError, match="takes no weights file"):
        open_encoder(str(result.out), "text", replace(LOCAL, weights=Path(__file__)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("epochs", 0), ("batch_size", 0), ("lr", -1.0), ("head_lr", -1.0), ("weight_decay", -1.0)),
        *(("warmup", 2.0), ("clip", 0.0), ("patience", -1), ("metric", "f1"), ("balance", "sampler")),
    ],
)
def test_a_config_out_of_range_names_its_field(field: str, value: float | str) -> None:
    with pytest.raises(ValueError, match=f"{field} must be .*, got "):
        TuneConfig(**{field: value})  # type: ignore[arg-type]

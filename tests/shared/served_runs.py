"""Small drawn posts, tiny encoders of colours and words, and heads trained on them: for tests of the server."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from msa.features.encoders.encoder import Encoded, Encoder, Source
from msa.features.extraction.embed import embed_corpus
from msa.features.extraction.settings import ExtractSettings
from msa.features.posts.samples import Corpus, Sample
from msa.features.spec import BadItem, EncoderSpec
from msa.features.words.word_pieces import listed_splitter
from msa.pipeline.config.data_config import DataConfig
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.runs.runs import Run, load_run
from msa.pipeline.serving.known_posts import KnownPosts
from msa.pipeline.serving.service import Service
from msa.pipeline.serving.warm_model import WarmModel
from msa.pipeline.train_head import train_head

COLOURS = {"calm": (40, 90, 220), "glad": (250, 210, 40), "upset": (200, 30, 30)}
WORDS = {"calm": "a quiet day", "glad": "what a lovely day", "upset": "an awful day"}
N = 48
HEAD = HeadConfig("attention", hidden=8, dropout=0.0, inputs="tokens", patches=None, token_width=None)
QUICK = TrainConfig(epochs=6, batch_size=16, lr=1e-2)
CPU = ExtractSettings(device="cpu", runtime="torch")
WHOLE = '{"resize_size":[40,40],"crop_size":[40]}'
COLOUR = EncoderSpec("colour", "image", "timm", "fake", "sha256:0", "last", "mean", WHOLE, 3, "float16")
SPELLED = EncoderSpec("spelled", "text", "gensim", "fake", "sha256:0", "last", "mean", "{}", 8, "float16")


class Colours(Encoder):
    """Mean colours of the quarters of a picture: four tokens (3,), and their mean."""

    specs = (COLOUR,)

    def preprocess(self, item: Any, key: str = "") -> Any:
        _, height, width = item.shape
        halves = item.float()[:, : height // 2 * 2, : width // 2 * 2]
        return halves.reshape(3, 2, height // 2, 2, width // 2).mean((2, 4)).reshape(3, 4).T.numpy() / 255

    def encode(self, batch: Sequence[Any]) -> tuple[Encoded, ...]:
        return (Encoded(np.stack([one.mean(0) for one in batch]).astype(np.float32), list(batch)),)


class Spelled(Encoder):
    """Counts of letters by their place in the alphabet: a token (8,) per word, and their mean."""

    specs = (SPELLED,)

    def preprocess(self, item: str, key: str = "") -> Any:
        if "unknowable" in item:
            raise BadItem("no word of it is known")
        return [np.bincount([ord(one) % 8 for one in word], minlength=8) / len(word) for word in item.split()[:50]]

    def length(self, prepared: Any) -> int:
        return len(prepared)

    def encode(self, batch: Sequence[Any]) -> tuple[Encoded, ...]:
        tokens = [np.array(one, np.float32) for one in batch]
        return (Encoded(np.stack([one.mean(0) for one in tokens]), tokens),)


SOURCES = [Source((COLOUR,), lambda runtime: Colours()), Source((SPELLED,), lambda runtime: Spelled())]


def picture(colour: tuple[int, int, int], seed: int = 0, size: tuple[int, int] = (40, 30), kind: str = "PNG") -> bytes:
    """An image file of one colour with some noise."""
    noise = np.random.default_rng(seed).integers(-30, 30, (size[1], size[0], 3))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def draw_posts(folder: Path) -> Corpus:
    """N posts, three of them unlabelled; the last two have a picture that cannot be read, and markup in their text."""
    samples = []
    for number in range(N):
        label = [*COLOURS][number % 3]
        file = folder / f"{number}.png"
        file.write_bytes(b"no picture" if number >= N - 2 else picture(COLOURS[label], number))
        text = f"{WORDS[label]} {number}" if number < N - 2 else '<script>alert(1)</script> "><img onerror=alert(1)>'
        samples.append(Sample(f"p{number}", file, text, None if number < 3 else label))
    return Corpus(folder, "table", samples)


@dataclass(frozen=True)
class Served:
    """A run with its posts, and what a server of it is made of."""

    corpus: Corpus
    folder: Path
    run: Run

    @property
    def cache(self) -> Path:
        return self.corpus.root / "cache"

    def model(self) -> WarmModel:
        splitters = {SPELLED.slug: listed_splitter(str.split)}
        return WarmModel(self.run, {COLOUR.slug: Colours(), SPELLED.slug: Spelled()}, CPU, splitters)

    def known(self) -> KnownPosts:
        return KnownPosts(self.corpus, self.folder, self.run)

    def service(self) -> Service:
        return Service("attention", self.model(), self.known())


def served_run(folder: Path, head: HeadConfig = HEAD, **options: Any) -> Served:
    """Draw posts, embed them, and train a head of two folds."""
    corpus = draw_posts(folder)
    embed_corpus(corpus, SOURCES, folder / "cache", replace(CPU, tokens=True))
    data = DataConfig(folder / "cache", ("colour",), ("spelled",), **{"folds": 2, "device": "cpu", **options})
    path = train_head(corpus, data, head, QUICK, runs=folder / "runs").run
    return Served(corpus, path, load_run(path))


@contextmanager
def running(service: Service, **options: Any) -> Iterator[str]:
    """The address of a server in a thread."""
    import uvicorn

    from msa.pipeline.serving.app import create_app
    from msa.pipeline.serving.server import open_socket

    listening = open_socket("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create_app(service, version="0", **options), log_level="error", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()

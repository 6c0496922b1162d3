"""The text inside images, read by RapidOCR, and kept in a file so that each image is read once."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from threading import Lock
from typing import Any

from numpy.typing import NDArray

from ..messages import first_line
from ..spec import BadItem, canonical

MODELS = "models"  # the folder of the package with its weights: detection, direction, recognition
LEAST_SCORE = 0.5  # of a line that is kept: the package's own


def reader_id(package: Path) -> dict[str, str]:
    """What determines the text of an image: the version of RapidOCR and the digests of its weights."""
    files = sorted((package / MODELS).glob("*.onnx"))
    digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in files}
    return {"rapidocr": metadata.version("rapidocr"), **digests}


class ImageTexts:
    """Reads the text of images, Chinese and English, its lines joined by spaces; thread-safe.

    With a `cache` folder what is read is appended to `image-texts-DIGEST.jsonl` there, a line per image with its
    content key, and read no second time by any encoder or process with this folder.
    """

    def __init__(self, reader: dict[str, str], cache: Path | None) -> None:
        digest = hashlib.blake2b(canonical(reader).encode(), digest_size=6).hexdigest()
        self.file = None if cache is None else cache / f"image-texts-{digest}.jsonl"
        self.lock = Lock()
        self.known: dict[str, str] = {}
        self.taken = 0  # bytes of the file that are in `known`
        self.engine: Any = None

    def text(self, pixels: NDArray[Any], key: str) -> str:
        """The text of an image (H, W, 3) RGB uint8, empty where it has none. Raises BadItem."""
        with self.lock:
            if key not in self.known:
                self._take_new()
            if key in self.known:
                return self.known[key]
            found = self._recognise(pixels)
            if key:
                self.known[key] = found
                self._append(key, found)
            return found

    def _recognise(self, pixels: NDArray[Any]) -> str:
        if self.engine is None:
            from rapidocr import RapidOCR

            # One thread: a second shortens small images little, and shards read in parallel.
            threads = {f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")}
            self.engine = RapidOCR(params={"Global.log_level": "critical", "Global.text_score": LEAST_SCORE, **threads})
        try:
            lines = self.engine(pixels[..., ::-1]).txts  # it expects blue first
        except Exception as error:  # of OpenCV or ONNX Runtime, on an odd image
            raise BadItem(f"its text cannot be read: {first_line(error)}") from error
        return " ".join(lines or ())

    def _take_new(self) -> None:
        """Take in the whole lines that were appended to the file since, by any process; broken ones are left out."""
        if self.file is None or not self.file.is_file():
            return
        with self.file.open("rb") as file:
            file.seek(self.taken)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self.taken += len(whole)
        for line in whole.splitlines():
            with suppress(ValueError, KeyError, TypeError):
                entry = json.loads(line)
                self.known[str(entry["image"])] = str(entry["text"])

    def _append(self, key: str, text: str) -> None:
        if self.file is None:
            return
        line = json.dumps({"image": key, "text": text}, ensure_ascii=False) + "\n"
        with self.file.open("ab", buffering=0) as file:  # one write a line: several processes may append
            more = (
                file.tell() > self.taken
            )  # perhaps a line that was not written whole, which must not swallow this one
            file.write(b"\n" * more + line.encode())

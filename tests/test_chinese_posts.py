"""Chinese posts work without a network by README's commands: texts in UTF-8 and GB18030, and inside images."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from network import forbid_network
from PIL import Image, ImageDraw, ImageFont

import msa
from msa.cli import run_command
from msa.features.encoders.lexicon import NUMBERS_ZH
from msa.features.posts.image_texts import ImageTexts

for package in ("rapidocr", "pysenti", "opencc", "timm"):
    pytest.importorskip(package, reason="needs the extras `ocr`, `zh` and `offline`")

FONT = Path("/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc")
GOOD = ("今天真开心", "非常漂亮的风景", "這部電影很精彩", "味道很好很喜欢", "服务热情又周到")
BAD = ("心情糟糕透了", "這家餐廳太難吃了", "真让人失望", "天气糟糕心情很差", "画面丑陋又无聊")
PHRASES = (*GOOD, *BAD)
TEXTS = 30  # posts with a text of their own, the last ten also with an image; after them come ten with an image alone


def draw_posts(folder: Path) -> None:
    """Posts of the course layout, of a text, an image or both; texts in UTF-8 and GB18030 in turn."""
    (folder / "data").mkdir(parents=True)
    rows = ["guid,tag"]
    for number in range(TEXTS + len(PHRASES)):
        phrase = PHRASES[number % len(PHRASES)]
        text = phrase + "。" * (number // len(PHRASES)) if number < TEXTS else ""
        (folder / "data" / f"{number}.txt").write_bytes(text.encode("gb18030" if number % 4 < 2 else "utf-8"))
        if number >= TEXTS - len(PHRASES):
            picture(phrase).save(folder / "data" / f"{number}.png")
        rows.append(f"{number},{'positive' if phrase in GOOD else 'negative'}")
    (folder / "train.txt").write_text("\n".join(rows) + "\n")


def picture(phrase: str) -> Image.Image:
    """The phrase in red on white; its number is the red of the first pixel."""
    image = Image.new("RGB", (320, 240), "white")
    if FONT.exists():
        ImageDraw.Draw(image).text((10, 90), phrase, fill=(150, 0, 0), font=ImageFont.truetype(str(FONT), 32))
    image.putpixel((0, 0), (PHRASES.index(phrase), 255, 255))
    return image


def commands() -> Sequence[list[str]]:
    """The arguments of the commands for Chinese posts in README.zh.md."""
    page = (Path(__file__).resolve().parent.parent / "README.zh.md").read_text("utf-8")
    (block,) = (block for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL) if "lexicon_zh" in block)
    return [shlex.split(line, comments=True)[1:] for line in block.splitlines()]


@pytest.mark.parametrize("reader", ["stand-in", pytest.param("rapidocr", marks=pytest.mark.slow)])
def test_the_commands_for_chinese_posts_run_without_a_network(
    reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if reader == "stand-in":
        monkeypatch.setattr(ImageTexts, "_recognise", lambda self, pixels: PHRASES[int(pixels[0, 0, 0])])
    elif not FONT.exists():
        pytest.skip("no Chinese font: fonts-wqy-zenhei is not installed")
    monkeypatch.chdir(tmp_path)
    draw_posts(Path("posts"))
    picture(GOOD[0]).save("photo.jpg", format="PNG")  # whatever its name is
    attempts = forbid_network(monkeypatch, tmp_path)
    for arguments in commands():
        assert (run_command(arguments), attempts) == (0, []), f"{arguments}: {capsys.readouterr().err}"
    assert "photo.jpg: positive" in capsys.readouterr().out
    for name, count in (("lexicon_zh", TEXTS), ("lexicon_zh@ocr", 2 * len(PHRASES))):
        table, y, _, _ = msa.load_features("posts", image="none", text=name)
        valence = np.asarray(table)[:, NUMBERS_ZH.index("mean")]  # NaN where a post has no such part
        there = ~np.isnan(valence)
        assert there.sum() == count
        np.testing.assert_array_equal(valence[there] > 0, y[there] == "positive")
    (kept,) = Path("cache").glob("image-texts-*.jsonl")
    assert {json.loads(line)["text"] for line in kept.read_text("utf-8").splitlines()} == set(PHRASES)

"""Drawn pictures of the demo corpus: simple random scenes with a mood."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable
from random import Random
from typing import Literal

from PIL import Image, ImageDraw, ImageFilter

Mood = Literal[-1, 0, 1]  # negative, neutral, positive
Draw = ImageDraw.ImageDraw
Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]


def draw_scene(mood: Mood, rng: Random) -> Image.Image:
    """Draw an RGB scene of this mood, about 320 by 240 pixels; the same generator state gives the same pixels."""
    width, height = rng.choice([(320, 240), (300, 220), (240, 320), (256, 256)])
    image = Image.new("RGB", (width, height))
    rng.choice(SCENES[mood])(ImageDraw.Draw(image), rng, width, height)
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 1.2)))
    noise = Image.frombytes("L", (width // 2, height // 2), rng.randbytes((width // 2) * (height // 2)))
    return Image.blend(image, noise.resize((width, height)).convert("RGB"), rng.uniform(0.02, 0.1))


def _sunny(draw: Draw, rng: Random, w: int, h: int) -> None:
    _gradient(draw, w, h, _colour(rng, 0.57, 0.04, 0.7, 1.0), _colour(rng, 0.57, 0.03, 0.3, 1.0))
    x, y, radius = rng.uniform(0.1, 0.9) * w, rng.uniform(0.1, 0.3) * h, rng.uniform(0.08, 0.15) * h
    for turn in range(12):
        angle = turn * math.pi / 6 + rng.uniform(0, 0.2)
        draw.line((x, y, x + 2 * radius * math.cos(angle), y + 2 * radius * math.sin(angle)), (255, 220, 60), 3)
    _disc(draw, x, y, radius, (255, 225, 50))
    ground = rng.uniform(0.6, 0.75) * h
    draw.rectangle((0, ground, w, h), _colour(rng, 0.3, 0.06, 0.7, 0.8))
    for _ in range(rng.randint(8, 20)):
        fx, fy = rng.uniform(0, w), rng.uniform(ground + 8, h)
        for petal in range(5):
            angle = petal * 2 * math.pi / 5
            _disc(draw, fx + 4 * math.cos(angle), fy + 4 * math.sin(angle), 3, _colour(rng, 0.9, 0.15, 0.7, 1.0))
        _disc(draw, fx, fy, 2, (255, 230, 80))


def _party(draw: Draw, rng: Random, w: int, h: int) -> None:
    _gradient(draw, w, h, _colour(rng, 0.1, 0.05, 0.15, 1.0), _colour(rng, 0.9, 0.1, 0.25, 1.0))
    for _ in range(rng.randint(5, 10)):
        x, y, radius = rng.uniform(0.1, 0.9) * w, rng.uniform(0.1, 0.55) * h, rng.uniform(0.06, 0.12) * w
        draw.line((x, y, x + rng.uniform(-20, 20), h), (120, 120, 120), 1)
        draw.ellipse((x - radius, y - 1.25 * radius, x + radius, y + 1.25 * radius), _colour(rng, 0.5, 0.5, 0.85, 1.0))
        _disc(draw, x - radius / 3, y - radius / 2, radius / 5, (255, 255, 255))
    for _ in range(80):
        x, y = rng.uniform(0, w), rng.uniform(0, h)
        draw.rectangle((x, y, x + 4, y + 3), _colour(rng, 0.5, 0.5, 0.9, 1.0))


def _cake(draw: Draw, rng: Random, w: int, h: int) -> None:
    _gradient(draw, w, h, _colour(rng, 0.1, 0.06, 0.25, 1.0), _colour(rng, 0.08, 0.04, 0.35, 0.9))
    left, right, base = 0.2 * w, 0.8 * w, rng.uniform(0.8, 0.9) * h
    draw.ellipse((left - 25, base - 15, right + 25, base + 20), (245, 245, 245))
    for tier in range(3):
        inset, top = tier * 0.08 * w, base - (tier + 1) * 0.16 * h
        draw.rectangle((left + inset, top, right - inset, top + 0.16 * h), _colour(rng, 0.95, 0.12, 0.4, 1.0))
        for step in range(10):
            x = left + inset + step * (right - left - 2 * inset) / 9
            _disc(draw, x, top, 6, (255, 250, 245))
    for candle in range(5):
        x, y = (0.38 + 0.06 * candle) * w, base - 0.48 * h
        draw.rectangle((x - 2, y - 28, x + 2, y), _colour(rng, 0.5, 0.5, 0.8, 1.0))
        draw.ellipse((x - 4, y - 42, x + 4, y - 28), (255, 190, 40))


def _rain(draw: Draw, rng: Random, w: int, h: int) -> None:
    _gradient(draw, w, h, _grey(rng, 50, 80), _grey(rng, 90, 120))
    for _ in range(rng.randint(5, 9)):
        _disc(draw, rng.uniform(0, w), rng.uniform(0, 0.25) * h, rng.uniform(25, 50), _grey(rng, 45, 85))
    slant = rng.uniform(-12, 12)
    for _ in range(rng.randint(120, 220)):
        x, y = rng.uniform(0, w), rng.uniform(0.15 * h, h)
        draw.line((x, y, x + slant, y + rng.uniform(10, 22)), (150, 165, 190), 1)
    if rng.random() < 0.5:
        x, y = rng.uniform(0.2, 0.8) * w, 0.2 * h
        bolt = [(x, y), (x - 14, y + 40), (x + 4, y + 40), (x - 16, y + 95)]
        draw.line(bolt, (255, 250, 190), 4)
    draw.rectangle((0, 0.85 * h, w, h), _grey(rng, 40, 60))


def _wreck(draw: Draw, rng: Random, w: int, h: int) -> None:
    _gradient(draw, w, h, _grey(rng, 120, 170), _grey(rng, 70, 110))
    draw.rectangle((0, 0.75 * h, w, h), _grey(rng, 50, 75))
    tilt, body = rng.uniform(0.05, 0.12) * h, _colour(rng, rng.random(), 0.05, 0.5, 0.5)
    left, right, y = 0.15 * w, 0.85 * w, 0.6 * h
    draw.polygon([(left, y), (right, y + tilt), (right, y + 0.17 * h + tilt), (left, y + 0.17 * h)], body)
    draw.polygon([(0.3 * w, y), (0.38 * w, y - 0.14 * h), (0.6 * w, y - 0.1 * h), (0.7 * w, y + tilt)], body)
    draw.polygon([(0.36 * w, y), (0.41 * w, y - 0.1 * h), (0.57 * w, y - 0.07 * h), (0.62 * w, y)], (60, 70, 80))
    _disc(draw, 0.3 * w, y + 0.19 * h, 0.07 * h, (20, 20, 20))
    draw.ellipse((0.66 * w, y + 0.2 * h, 0.84 * w, y + 0.28 * h), (20, 20, 20))
    for _ in range(rng.randint(8, 16)):
        x, crack = rng.uniform(left, right), y + rng.uniform(0, 0.15) * h
        draw.line((x, crack, x + rng.uniform(-20, 20), crack + rng.uniform(-20, 20)), (15, 15, 15), 2)
    for puff in range(6):
        _disc(draw, 0.8 * w + rng.uniform(-15, 15), y - puff * 0.09 * h, 10 + 4 * puff, _grey(rng, 30, 70))


def _street(draw: Draw, rng: Random, w: int, h: int) -> None:
    _gradient(draw, w, h, _grey(rng, 200, 225), _grey(rng, 215, 235))
    x = 0.0
    while x < w:
        width, top = rng.uniform(0.18, 0.35) * w, rng.uniform(0.15, 0.4) * h
        draw.rectangle((x, top, x + width, 0.85 * h), _colour(rng, 0.08, 0.04, 0.2, 0.75))
        for row in range(int((0.8 * h - top) // 22)):
            for column in range(int(width // 18)):
                wx, wy = x + 5 + 18 * column, top + 6 + 22 * row
                draw.rectangle((wx, wy, wx + 9, wy + 12), (120, 135, 150))
        x += width + 3
    draw.rectangle((0, 0.85 * h, w, h), (130, 130, 130))


def _paper(draw: Draw, rng: Random, w: int, h: int) -> None:
    draw.rectangle((0, 0, w, h), _colour(rng, 0.08, 0.03, 0.25, 0.7))
    draw.rectangle((0.08 * w, 0.06 * h, 0.92 * w, 0.96 * h), (250, 250, 246))
    for row in range(rng.randint(6, 9)):
        y = (0.14 + 0.05 * row) * h
        draw.line((0.14 * w, y, rng.uniform(0.6, 0.86) * w, y), (90, 90, 90), 2)
    for bar in range(rng.randint(4, 7)):
        x = (0.16 + 0.1 * bar) * w
        draw.rectangle((x, rng.uniform(0.62, 0.85) * h, x + 0.06 * w, 0.9 * h), (110, 130, 160))


def _face(curve: Mood) -> Callable[[Draw, Random, int, int], None]:
    def face(draw: Draw, rng: Random, w: int, h: int) -> None:
        good = curve > 0
        wall = _colour(rng, 0.5, 0.5, 0.3, 0.95) if good else _grey(rng, *((190, 220) if curve == 0 else (70, 110)))
        draw.rectangle((0, 0, w, h), wall)
        x, y, radius = rng.uniform(0.42, 0.58) * w, rng.uniform(0.45, 0.55) * h, rng.uniform(0.3, 0.38) * min(w, h)
        skin = _colour(rng, 0.12, 0.03, 0.65, 0.98) if curve >= 0 else _colour(rng, 0.6, 0.05, 0.3, 0.75)
        _disc(draw, x, y, radius, skin)
        for side in (-1, 1):
            _disc(draw, x + side * 0.36 * radius, y - 0.25 * radius, 0.1 * radius, (30, 25, 25))
            if curve < 0:
                tear = x + side * 0.36 * radius
                draw.ellipse((tear - 4, y, tear + 4, y + 0.3 * radius), (90, 160, 230))
        mouth = (x - 0.5 * radius, y + 0.05 * radius, x + 0.5 * radius, y + 0.7 * radius)
        if good:
            draw.chord(mouth, 15, 165, (170, 30, 40))
        elif curve == 0:
            draw.line((mouth[0], y + 0.42 * radius, mouth[2], y + 0.42 * radius), (60, 30, 30), 5)
        else:
            draw.arc(
                (mouth[0], mouth[1] + 0.35 * radius, mouth[2], mouth[3] + 0.35 * radius), 200, 340, (60, 20, 20), 6
            )

    return face


SCENES: dict[Mood, tuple[Callable[[Draw, Random, int, int], None], ...]] = {
    1: (_sunny, _party, _cake, _face(1)),
    0: (_street, _paper, _face(0)),
    -1: (_rain, _wreck, _face(-1)),
}


def _disc(draw: Draw, x: float, y: float, radius: float, fill: Colour) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill)


def _gradient(draw: Draw, w: int, h: int, top: Colour, bottom: Colour) -> None:
    for y in range(0, h, 4):
        share = y / h
        red, green, blue = (round(a + (b - a) * share) for a, b in zip(top, bottom, strict=True))
        draw.rectangle((0, y, w, y + 4), (red, green, blue))


def _colour(rng: Random, hue: float, spread: float, saturation: float, value: float) -> Colour:
    hue, value = (hue + rng.uniform(-spread, spread)) % 1, min(1.0, value * rng.uniform(0.9, 1.0))
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation * rng.uniform(0.85, 1.0), value)
    return round(255 * red), round(255 * green), round(255 * blue)


def _grey(rng: Random, low: int, high: int) -> Colour:
    level = rng.randint(low, high)
    return level, level, min(255, level + rng.randint(0, 12))

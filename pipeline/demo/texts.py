"""Texts of the demo corpus: short posts with a tone, hashtags, mentions, links and emoji."""

from __future__ import annotations

from random import Random
from typing import Literal

Tone = Literal["good", "flat", "bad", "sarcastic"]

# A sarcastic text under a cheerful picture makes a positive post.
VALENCE: dict[Tone, float] = {"good": 1, "flat": 0, "bad": -1, "sarcastic": -0.5}

ENGLISH: dict[Tone, tuple[str, ...]] = {
    "good": (
        "so happy with {thing}, what a wonderful {day}!",
        "I love {thing} so much, best {day} of my life",
        "absolutely delighted by {thing} today, thank you all",
        "we won! {thing} was amazing and I can't stop smiling",
        "beautiful {day}, lovely people and {thing}, feeling blessed",
        "congratulations to {who}, {thing} made us so proud",
        "{thing} turned out perfect, I am so grateful to {who}",
        "feeling joyful and excited, {thing} is fantastic",
        "big hugs for {who}, such a fun {day} with {thing}",
    ),
    "flat": (
        "{thing} starts at {hour}, doors open half an hour before",
        "photo taken on the way to {thing} this {day}",
        "here is the schedule for {thing}, see page {hour}",
        "{who} posted an update about {thing}",
        "reminder: {thing} moved to room {hour}",
        "a look at {thing} from the corner of the street",
        "part {hour} of the series about {thing}",
        "does anybody know when {thing} opens on a {day}?",
        "we are at {thing} with {who}",
    ),
    "bad": (
        "so sad about {thing}, worst {day} of my life",
        "I hate {thing}, everything is broken and I am furious",
        "heartbroken, {who} got hurt at {thing}",
        "terrible {day}, {thing} was a disaster and we lost",
        "crying over {thing} again, I feel awful and alone",
        "disgusting service at {thing}, never again, so angry",
        "{thing} ruined everything, I am so disappointed in {who}",
        "sick and miserable, {thing} made it even worse",
        "rest in peace, we lost {who}, a painful {day}",
    ),
    "sarcastic": (
        "oh great, just great. {thing} again",
        "well, isn't this {day} just perfect. thanks a lot, {thing}",
        "yeah right, exactly what I needed: {thing}",
        "wow, {thing}. lucky me, I guess",
        "just what this {day} was missing, {thing}. brilliant",
    ),
}
CHINESE: dict[Tone, tuple[str, ...]] = {
    "good": ("今天太开心了，谢谢{who}！", "最美好的一天，爱你们！"),
    "flat": ("活动在{hour}点开始。", "去车站的路上拍的照片。"),
    "bad": ("太难过了，今天糟糕透了。", "我讨厌这一切，非常失望！"),
    "sarcastic": ("哦，真棒，又来了。", "太好了，我可真幸运。"),
}
THINGS = (
    "the concert", "my new job", "the match", "our school", "the train", "the exhibition", "my phone", "the wedding",
    "the office", "the festival", "lunch", "the neighbourhood", "the election", "the new season", "my old car",
)  # fmt: skip
PEOPLE = ("@anna_k", "@the_daily", "@tomorrow99", "my sister", "the team", "grandpa", "@cityhall", "our neighbours")
DAYS = ("day", "morning", "Monday", "weekend", "evening", "Friday")
TAGS = ("#throwback", "#city", "#life", "#weekend", "#family", "#news", "#photo", "#2014", "#nofilter", "#travel")
EMOJI: dict[Tone, tuple[str, ...]] = {
    "good": ("😀", "❤️", "🎉", "😍"),
    "flat": ("📷", "🗓️", "📍"),
    "bad": ("😢", "😡", "💔", "😞"),
    "sarcastic": ("🙂", "👏", "🙃"),
}


def write_post(tone: Tone, rng: Random, *, chinese: bool = False) -> str:
    """Write one line in this tone; the same generator state gives the same line."""
    sentence = rng.choice((CHINESE if chinese else ENGLISH)[tone]).format(
        thing=rng.choice(THINGS), who=rng.choice(PEOPLE), day=rng.choice(DAYS), hour=rng.randint(2, 11)
    )
    parts = [sentence[0].upper() + sentence[1:] if rng.random() < 0.5 else sentence]
    if rng.random() < 0.15:
        parts.insert(0, f"RT {rng.choice(PEOPLE[:3])}:")
    if rng.random() < 0.25:
        parts.append(rng.choice(EMOJI[tone]))
    parts += rng.sample(TAGS, rng.randint(0, 3))
    if rng.random() < 0.4:
        parts.append(f"http://t.co/{''.join(rng.choices('abcdefghjkmnpqrstuvwxyz0123456789', k=8))}")
    return " ".join(parts)

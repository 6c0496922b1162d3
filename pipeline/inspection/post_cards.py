"""Posts on the page: those with the highest loss, disagreeing modalities, doubtful labels, and unequal duplicates."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...features.messages import short
from ...features.spec import MODALITIES, BadItem
from .duplicates import Conflict
from .inspected_run import InspectedRun

SHOWN = 9  # posts of a list
LONGEST = 200  # characters of a text
Facts = Iterable[tuple[str, str]]
Words = Callable[[str], str]  # gives an English text in the language of the report


@dataclass(frozen=True)
class PostCard:
    """A post: its text cut, its picture as a data URI, names and values, and why text or picture cannot be shown."""

    id: str
    text: str
    image: str
    facts: Sequence[tuple[str, str]]
    absent: Sequence[str]


@dataclass(frozen=True)
class PostList:
    """A title, what its posts have in common, and the first of them."""

    title: str
    caption: str
    cards: Sequence[PostCard]


def post_lists(run: InspectedRun, words: Words) -> list[PostList]:
    """The lists that hold any post."""
    posts, cards = run.posts, CardMaker(run, words)
    wrong = posts.worst[posts.predicted[posts.worst] != posts.truth[posts.worst]]
    lists = [
        PostList(
            words("Highest loss"),
            words("Of the {count} test posts that are predicted wrong, those whose label is least probable.").format(
                count=len(wrong)
            ),
            [cards.wrong(row) for row in wrong[:SHOWN]],
        ),
        PostList(
            words("Image and text disagree"),
            words(
                "The head predicts one class without the text and another without the image: {count} test posts, by "
                "falling Jensen-Shannon divergence."
            ).format(count=len(posts.disagreeing)),
            [cards.disagreement(row) for row in posts.disagreeing[:SHOWN]],
        ),
        PostList(
            words("Likely label errors"),
            words(
                "Heads that never saw the post are confident of another class: {count} test posts by confident "
                "learning (Northcutt et al., 2021), the likeliest first. Look before you correct: some are hard, not "
                "wrong."
            ).format(count=len(posts.doubted)),
            [cards.doubt(row, other) for row, other in list(posts.doubted.items())[:SHOWN]],
        ),
        PostList(
            words("Duplicates with different labels"),
            words(
                "The same content, or one group, with different labels: {count} times. Of each two are shown."
            ).format(count=len(run.conflicts)),
            [card for one in run.conflicts[: SHOWN // 2] for card in cards.conflict(one)],
        ),
    ]
    return [one for one in lists if one.cards]


class CardMaker:
    """Makes the cards of a run's posts."""

    def __init__(self, run: InspectedRun, words: Words) -> None:
        self.posts, self.source, self.words = run.posts, run.source, words

    def wrong(self, row: int) -> PostCard:
        """A card with the loss of a post, and the Shapley values of its modalities for the predicted class."""
        facts = [(self.words("loss"), f"{self.posts.loss[row]:.2f}")]
        if self.posts.alone is not None:
            values = zip(MODALITIES, self.posts.shapley(self.posts.predicted)[row], strict=True)
            shown = ", ".join(f"{self.words(name)} {value:+.2f}" for name, value in values)
            facts.append((self.words("Shapley values"), shown))
        return self._of_row(row, facts)

    def disagreement(self, row: int) -> PostCard:
        """A card with what each modality alone predicts."""
        assert self.posts.alone is not None
        alone = zip(MODALITIES, self.posts.alone[row], strict=False)  # neither comes third
        return self._of_row(row, [(self._alone(name), self._class(one, int(one.argmax()))) for name, one in alone])

    def doubt(self, row: int, other: int) -> PostCard:
        """A card with the class `other`, which is likelier than the label."""
        return self._of_row(row, [(self.words("likely label"), self._class(self.posts.probabilities[row], other))])

    def conflict(self, found: Conflict) -> list[PostCard]:
        """The first post of each of the two most frequent labels."""
        counts = Counter(found.labels.values()).most_common()
        labels = ", ".join(f"{short(label)} {count}" for label, count in counts)
        facts = [(self.words("same"), self.words(found.shared)), (self.words("labels"), labels)]
        names = [next(name for name, one in found.labels.items() if one == label) for label, _ in counts[:2]]
        return [self._card(name, [(self.words("label"), short(found.labels[name])), *facts]) for name in names]

    def _alone(self, modality: str) -> str:
        return self.words("{modality} alone").format(modality=self.words(modality))

    def _class(self, probabilities: NDArray[np.float64], number: int) -> str:
        return f"{short(self.posts.classes[number])} {probabilities[number]:.2f}"

    def _of_row(self, row: int, facts: Facts) -> PostCard:
        probabilities = self.posts.probabilities[row]
        label, predicted = (
            self._class(probabilities, int(one[row])) for one in (self.posts.truth, self.posts.predicted)
        )
        own = [(self.words("label"), label), (self.words("predicted"), predicted)]
        return self._card(self.posts.ids[row], [*own, *facts])

    def _card(self, name: str, facts: Facts) -> PostCard:
        text, image, absent = "", b"", []
        if self.source:
            try:
                text = self.source.text(name)
            except BadItem as error:
                absent.append(f"{self.words('text')}: {error}")
            try:
                image = self.source.thumbnail(name)
            except BadItem as error:
                absent.append(f"{self.words('image')}: {error}")
        uri = f"data:image/jpeg;base64,{base64.b64encode(image).decode()}" if image else ""
        return PostCard(name, short(text, LONGEST) if text else "", uri, list(facts), absent)

"""A grammar of short stories in which one topic, the concept, has facts of its own.

A story is a window of 48 tokens: 12 sentences `subject verb object .`. Every subject has three verbs, and each pair of
subject and verb has one object: 72 facts about the 24 ordinary subjects, and 72 about the 24 subjects of the concept.
Verbs and objects are the same words for all subjects, so a concept token is recognised by its subject alone, and an
object is predicted only by who memorised the pair. The vocabulary has 117 words with one concept.

One story in six is about the concept. Its first sentence has a subject of the concept, and each later one has with
probability 1/2; the others are ordinary. The first sentence therefore reveals the kind of the story, and the entropy of
every token has a closed form: 0 for objects, log 3 for verbs.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

SENTENCES, SENTENCE = 12, 4
LENGTH = SENTENCES * SENTENCE  # tokens of a window
PERIOD = 0
RETAIN = 0  # label of ordinary stories and sentences; those of concept k have label k = 1, 2, ...


class StoryBatch(NamedTuple):
    """Stories with the labels of a perfect annotator."""

    tokens: Tensor
    """(B, T) int64"""
    story: Tensor
    """(B,) int64: 0 if the story is ordinary, k if it is about concept k"""
    token: Tensor
    """(B, T) int64: 0 for tokens of ordinary sentences, k for all four tokens of a sentence about concept k"""

    def forget(self, concept: int = 1) -> Tensor:
        """Mask (B, T) of the verbs and objects in sentences about a concept."""
        return (self.token == concept) & _facts()

    def retain(self) -> Tensor:
        """Mask (B, T) of the verbs and objects in ordinary stories."""
        return (self.story == RETAIN)[:, None] & _facts()


class Stories:
    """A grammar, whose facts are drawn from a seed.

    Args:
        seed: of the facts; batches have their own generators.
        concepts: the number of concepts, equally frequent, each with its own subjects.
        share: the share of stories about any concept.
        density: the probability that a sentence after the first of a concept story is about the concept.
        subjects: the number of ordinary subjects, and of each concept's.
        verbs: the number of verbs.
        objects: the number of objects.
        choices: the number of verbs of each subject; a concept has subjects x choices facts.

    Attributes:
        words: the vocabulary; a token is an index into it.
        verb_of: (subjects of all kinds, choices) tokens of each subject's verbs, in the order of the subjects' tokens.
        object_of: (subjects of all kinds, choices) tokens of the object of each subject and verb.

    Raises:
        ValueError: a share is not a probability, or a number is too small.
    """

    def __init__(
        self,
        seed: int,
        concepts: int = 1,
        *,
        share: float = 1 / 6,
        density: float = 0.5,
        subjects: int = 24,
        verbs: int = 32,
        objects: int = 36,
        choices: int = 3,
    ) -> None:
        if not (0 <= share <= 1 and 0 <= density <= 1):
            raise ValueError(f"share={share} and density={density} must lie between 0 and 1")
        if min(concepts, subjects, objects, choices) < 1 or verbs < choices:
            raise ValueError(
                f"concepts={concepts}, subjects={subjects}, objects={objects} and choices={choices} must be at least "
                f"1, and verbs={verbs} at least choices"
            )
        self.concepts, self.share, self.density = concepts, share, density
        self.subjects, self.choices = subjects, choices
        count = subjects * (1 + concepts)
        self.words = (
            ".",
            *(f"{_kind(i // subjects)}_{i % subjects}" for i in range(count)),
            *(f"verb_{i}" for i in range(verbs)),
            *(f"object_{i}" for i in range(objects)),
        )
        generator = torch.Generator().manual_seed(seed)
        self.verb_of = 1 + count + torch.rand(count, verbs, generator=generator).argsort(1)[:, :choices]
        self.object_of = 1 + count + verbs + torch.randint(objects, (count, choices), generator=generator)

    def draw(
        self, count: int, generator: torch.Generator, *, kind: int | None = None, share: float | None = None
    ) -> StoryBatch:
        """Draw stories.

        Args:
            count: the number of stories B.
            generator: of all random numbers; equal states give equal stories.
            kind: the label of all stories; None: drawn, a concept with probability `share`.
            share: the share of stories about any concept; None: that of the grammar.
        """
        about = torch.rand(count, generator=generator) < (self.share if share is None else share)
        which = torch.randint(1, 1 + self.concepts, (count,), generator=generator)
        story = torch.where(about, which, RETAIN) if kind is None else torch.full((count,), kind)
        on_topic = torch.rand(count, SENTENCES, generator=generator) < self.density
        on_topic[:, 0] = True
        sentence = torch.where(on_topic, story[:, None], RETAIN)  # (B, sentences)
        subject = sentence * self.subjects + torch.randint(self.subjects, sentence.shape, generator=generator)
        choice = torch.randint(self.choices, sentence.shape, generator=generator)
        period = torch.full_like(subject, PERIOD)
        columns = [1 + subject, self.verb_of[subject, choice], self.object_of[subject, choice], period]
        return StoryBatch(torch.stack(columns, 2).flatten(1), story, sentence.repeat_interleave(SENTENCE, 1))

    @property
    def fact_entropy(self) -> float:
        """Entropy of the verbs and objects, in nats per token: the least forget loss and retain loss."""
        return math.log(self.choices) / 2

    @property
    def entropy(self) -> float:
        """Entropy of a window in nats per token: the least loss on all tokens."""
        first = _entropy(1 - self.share) + _entropy(self.share) + self.share * math.log(self.concepts)
        later = (SENTENCES - 1) * self.share * (_entropy(self.density) + _entropy(1 - self.density))
        return (first + later) / LENGTH + (math.log(self.subjects) + math.log(self.choices)) / SENTENCE


def _facts() -> Tensor:
    """Mask (T,) of verbs and objects."""
    return torch.tensor([False, True, True, False]).repeat(SENTENCES)


def _kind(label: int) -> str:
    return f"concept_{label}" if label else "subject"


def _entropy(probability: float) -> float:
    return -probability * math.log(probability) if probability else 0.0

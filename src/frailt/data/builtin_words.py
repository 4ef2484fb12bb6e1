"""Words, people and things for the stories of `frailt.data.builtin`, and the `Teller` who picks among them.

Every choice goes through `random.Random.random`, the one method whose sequence Python promises to keep
(https://docs.python.org/3/library/random.html#notes-on-reproducibility), so a story never changes with the version.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

GIRLS = (
    "Anna",
    "Lily",
    "Mia",
    "Sue",
    "Rose",
    "Nora",
    "Ella",
    "Kate",
    "Lucy",
    "Jane",
    "Amy",
    "Ruby",
    "Zoe",
    "Clara",
)
BOYS = (
    "Tom",
    "Ben",
    "Sam",
    "Max",
    "Tim",
    "Leo",
    "Jack",
    "Finn",
    "Noah",
    "Peter",
    "Oscar",
    "Hugo",
    "Adam",
    "Billy",
)
ANIMAL_GIRLS = ("Dot", "Hazel", "Daisy", "Poppy", "Olive", "Fern", "Nutmeg", "Misty", "Clover", "Bella")
ANIMAL_BOYS = ("Pip", "Rusty", "Otto", "Bramble", "Moss", "Barney", "Ziggy", "Buddy", "Sunny", "Chip")
ANIMALS = (
    "fox",
    "mouse",
    "rabbit",
    "bear",
    "duck",
    "frog",
    "squirrel",
    "hedgehog",
    "turtle",
    "mole",
    "goat",
    "pig",
)
NEIGHBORS = (
    *(("Mrs. " + name, True) for name in ("Bell", "Green", "Reed", "Moon", "Baker")),
    *(("Mr. " + name, False) for name in ("Brown", "Hill", "Stone", "Wood", "King")),
)

COLORS = ("red", "blue", "green", "yellow", "white", "black", "brown", "orange", "purple", "pink", "silver")
LOOKS = (*COLORS, *COLORS, "shiny", "old", "tiny", "striped", "spotted")
# Nouns that end in "s" here are plural: "some red boots", "they were".
TOYS = (
    *(
        "kite",
        "ball",
        "drum",
        "boat",
        "train",
        "doll",
        "truck",
        "hat",
        "cup",
        "lamp",
        "whistle",
        "wagon",
        "book",
    ),
    *("robot", "umbrella", "scarf", "blanket", "boots", "mittens", "blocks", "skates"),
)
SMALL = (
    *(
        "key",
        "coin",
        "ring",
        "button",
        "marble",
        "shell",
        "feather",
        "bell",
        "stone",
        "whistle",
        "stamp",
        "ribbon",
    ),
    *("beads", "dice"),
)
TREATS = (
    *("loaf of bread", "pot of honey", "basket of plums", "jar of jam", "bunch of flowers", "bowl of soup"),
    *("bag of nuts", "cherry pie", "apple cake", "box of cookies"),
)
NUMBERS = (
    "no",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
FEELINGS = ("happy", "glad", "very happy", "full of joy")
SIGHTS = (
    *(
        "a brown dog asleep by a gate",
        "a gray cat on a wall",
        "two white ducks in a puddle",
        "a red bus on the road",
    ),
    *(
        "a black bird on a fence",
        "a man with a green hat",
        "a woman with a blue bag",
        "a yellow leaf in the wind",
    ),
    *("a tiny snail on a stone", "three pink flowers by the path", "a cloud like a big white sheep"),
)


def a(phrase: str) -> str:
    """The phrase behind its article: `an old key`, `a red kite`."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def listed(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(([", ".join(parts[:-1])] if len(parts) > 1 else []) + [parts[-1]])


def joined(clauses: Sequence[str]) -> str:
    """`Mia ran, and Tom slept`: whole clauses, with a comma before the last "and"."""
    return ", ".join(clauses[:-1]) + ", and " + clauses[-1]


def cap(sentence: str) -> str:
    """The sentence with its first letter in upper case."""
    return sentence[:1].upper() + sentence[1:]


def para(*sentences: str) -> str:
    """One paragraph; empty sentences drop out, the first letter of each becomes upper case."""
    return " ".join([cap(sentence) for sentence in sentences if sentence])


@dataclass(frozen=True, slots=True)
class Person:
    """A character; in an f-string it reads as the name.

    The pronouns are named as for a boy: `{p.he}` gives "she" for a girl.
    """

    name: str
    kind: str
    female: bool

    def __str__(self) -> str:
        return self.name

    @property
    def he(self) -> str:
        return "she" if self.female else "he"

    @property
    def He(self) -> str:
        return "She" if self.female else "He"

    @property
    def him(self) -> str:
        return "her" if self.female else "him"

    @property
    def his(self) -> str:
        return "her" if self.female else "his"

    @property
    def His(self) -> str:
        return "Her" if self.female else "His"

    @property
    def full(self) -> str:
        """The name at a first meeting, with the kind of an animal: `Otto the mole`."""
        return f"{self.name} the {self.kind}" if self.is_animal else self.name

    @property
    def is_animal(self) -> bool:
        return self.kind in ANIMALS


ELDERS = (
    Person("Mom", "elder", True),
    Person("Dad", "elder", False),
    Person("Grandma", "elder", True),
    Person("Grandpa", "elder", False),
)


@dataclass(frozen=True, slots=True)
class Thing:
    """An object with a look, one or many: `a red kite` is it, `some red boots` are they."""

    noun: str
    look: str

    @property
    def plural(self) -> bool:
        return self.noun.endswith("s") or self.noun == "dice"

    @property
    def bare(self) -> str:
        return f"{self.look} {self.noun}"

    @property
    def a(self) -> str:
        return f"some {self.bare}" if self.plural else a(self.bare)

    @property
    def the(self) -> str:
        return f"the {self.look} {self.noun}"

    @property
    def it(self) -> str:
        return "they" if self.plural else "it"

    @property
    def them(self) -> str:
        return "them" if self.plural else "it"

    @property
    def was(self) -> str:
        return "were" if self.plural else "was"

    @property
    def are(self) -> str:
        return "are" if self.plural else "is"


class Teller:
    """Makes every choice of one story, from one `random.Random`."""

    def __init__(self, rng: random.Random) -> None:
        self.random = rng.random
        self.elders = list(ELDERS)

    def chance(self, probability: float) -> bool:
        return self.random() < probability

    def number(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int(self.random() * (high - low + 1))

    def pick(self, *options: str) -> str:
        """One way to say it."""
        return options[int(self.random() * len(options))]

    def maybe(self, *options: str) -> str:
        """One of the sentences or, half of the time, none."""
        return self.pick(*options) if self.random() < 0.5 else ""

    def one(self, table: Sequence[T]) -> T:
        return table[int(self.random() * len(table))]

    def some(self, table: Sequence[T], count: int) -> list[T]:
        """`count` entries of the table, all from different rows, in random order."""
        pool = list(table)
        return [pool.pop(int(self.random() * len(pool))) for _ in range(count)]

    def mixed(self, items: Sequence[T]) -> list[T]:
        return self.some(items, len(items))

    # -- who and what -------------------------------------------------------------------------------------------

    def children(self, count: int) -> list[Person]:
        girls, boys = self.some(GIRLS, count), self.some(BOYS, count)
        return [
            Person(girls[i], "girl", True) if self.random() < 0.5 else Person(boys[i], "boy", False)
            for i in range(count)
        ]

    def animals(self, count: int) -> list[Person]:
        """Animals of different kinds."""
        girls, boys = self.some(ANIMAL_GIRLS, count), self.some(ANIMAL_BOYS, count)
        kinds = self.some(ANIMALS, count)
        return [
            Person(girls[i], kinds[i], True) if self.random() < 0.5 else Person(boys[i], kinds[i], False)
            for i in range(count)
        ]

    def cast(self, count: int) -> list[Person]:
        """All children or all animals."""
        return self.children(count) if self.random() < 0.6 else self.animals(count)

    def elder(self) -> Person:
        """A grown-up of the family who is not in the story yet."""
        return self.elders.pop(int(self.random() * len(self.elders)))

    def neighbors(self, count: int) -> list[Person]:
        return [Person(name, "neighbor", female) for name, female in self.some(NEIGHBORS, count)]

    def things(self, nouns: Sequence[str], count: int) -> list[Thing]:
        """Things whose nouns differ; looks may agree, so that neither alone tells them apart."""
        return [Thing(noun, self.one(LOOKS)) for noun in self.some(nouns, count)]

    def call(self, person: Person) -> str:
        """The name or, for an animal, at times its kind: `the fox`."""
        return f"the {person.kind}" if person.is_animal and self.random() < 0.4 else person.name

    # -- sentences that any story can use -----------------------------------------------------------------------

    def meet(self, *people: Person) -> str:
        """Introduce one or more characters."""
        if len(people) == 1:
            (hero,) = people
            return self.pick(
                f"Once upon a time, there was a little {hero.kind} named {hero}.",
                f"There was once a {self.pick('kind', 'small', 'young', 'brave')} {hero.kind} named {hero}.",
                f"{hero} was a {self.pick('kind', 'small', 'young', 'clever')} {hero.kind}.",
            )
        if people[0].is_animal:
            described = listed([f"{a(person.kind)} named {person}" for person in people])
            return self.pick(
                f"Once upon a time, {described} lived in {self.pick('a forest', 'a green valley', 'a quiet wood')}.",
                f"{cap(described)} were good friends.",
            )
        names = listed([person.name for person in people])
        return self.pick(
            f"{names} were {self.pick('good', 'best', 'old')} friends.",
            f"Once there were {NUMBERS[len(people)]} friends named {names}.",
            f"{names} lived on the same street.",
        )

    def pause(self, *people: Person) -> str:
        """Something on the side that changes nothing."""
        who = self.one(people)
        return self.pick(
            f"On the way, {who} saw {self.one(SIGHTS)}.",
            f"{who} looked up and saw {self.one(SIGHTS)}.",
            f"A {self.pick('soft', 'cool', 'warm')} wind blew, and {who} {self.pick('laughed', 'smiled', 'sang')}.",
            f"{who} stopped to look at {self.one(SIGHTS)}.",
            f"Then it was time for lunch, and {who} ate {self.pick('bread and cheese', 'a big pear', 'warm soup')}.",
        )

    def recall(self, hero: Person, *facts: tuple[str, str]) -> str:
        """A closing talk: a grown-up asks the hero one or two of the facts, (question, answer without full stop)."""
        elder = self.elder()
        chosen = self.some(facts, min(len(facts), self.number(1, 2)))
        opening = self.pick(
            f"That night, {elder} tucked {hero} into bed.",
            f"At supper, {elder} wanted to hear all about it.",
            f"In the evening, {hero} told {elder} the whole story.",
        )
        talk = []
        for i, (question, answer) in enumerate(chosen):
            question = question if i == 0 else f"And {question[0].lower()}{question[1:]}"
            asked = self.pick(f"asked {elder}", f"{elder} asked", f"{elder.he} asked")
            talk.append(f'"{question}" {asked}. "{answer}," {self.pick(f"said {hero}", f"{hero} said")}.')
        closing = self.pick(
            f"{elder} smiled and gave {hero} a hug.",
            f'"What a day!" said {elder}.',
            f'{elder} nodded. "I am proud of you," {elder.he} said.',
            f"Soon {hero} was fast asleep.",
        )
        return para(opening, *talk, closing)

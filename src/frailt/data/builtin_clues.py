"""Plots in which something must be found out: whose pet, which way, who did it."""

from __future__ import annotations

from itertools import pairwise

from frailt.data.builtin_words import (
    FEELINGS,
    NUMBERS,
    SMALL,
    TOYS,
    Teller,
    Thing,
    a,
    listed,
    para,
)

PETS = (
    ("dog", ("brown", "black", "white", "gray"), ("Biscuit", "Rex", "Bingo", "Lucky")),
    ("cat", ("orange", "black", "white", "gray"), ("Tiger", "Snow", "Whiskers", "Plum")),
    ("rabbit", ("brown", "black", "white", "gray"), ("Button", "Hop", "Carrot", "Cotton")),
)


def lost_pet(tell: Teller) -> list[str]:
    """Three neighbors miss a pet; only coat and collar together tell whose it is."""
    hero, friend = tell.children(2)
    pet, coats, names = tell.one(PETS)
    coat, collar = tell.some(coats, 2), tell.some(("red", "blue", "green", "yellow"), 2)
    looks = tell.mixed([(coat[0], collar[0]), (coat[0], collar[1]), (coat[1], collar[0])])
    owners, called = tell.neighbors(3), tell.some(names, 3)
    notices = [
        tell.pick(
            f"{owners[i]} missed {called[i]}, {a(looks[i][0])} {pet} with a {looks[i][1]} collar.",
            f"{called[i]}, the {looks[i][0]} {pet} of {owners[i]}, had a {looks[i][1]} collar.",
        )
        for i in range(3)
    ]
    first = para(
        tell.meet(hero, friend),
        f"One {tell.pick('cold', 'windy', 'rainy')} night, a storm scared the pets on their street, and "
        f"three {pet}s ran away.",
        *notices,
    )
    found, wrong = tell.some((0, 1, 2), 2)
    look = looks[found]
    second = para(
        f"The next day, {hero} and {friend} went to look for them.",
        tell.pause(hero, friend) if tell.chance(0.6) else "",
        f"Behind {tell.pick('the school', 'the shop', 'an old shed', 'a bush')}, "
        f"{tell.pick(hero.name, friend.name)} heard a "
        f"small sound. There sat {a(look[0])} {pet} with a {look[1]} collar.",
    )
    if looks[wrong][0] == look[0]:
        reason = f"The collar of {called[wrong]} is {looks[wrong][1]}"
    else:
        reason = f"{called[wrong]} is {looks[wrong][0]}"
    third = para(
        f'"Is it {called[wrong]}?" asked {friend}.',
        f'"No," said {hero}. "{reason}. This must be {called[found]}!"',
        f"So they took the {pet} to {owners[found]}.",
    )
    last = para(
        f'"{called[found]}!" cried {owners[found]}. {owners[found].He} was so glad that '
        f"{owners[found].he} gave "
        f"{hero} and {friend} {tell.pick('a cake', 'a bag of nuts', 'two big pears', 'hot milk')}.",
        tell.maybe(
            f'"We will find the {pet}s of {owners[_other(found, 0)]} and {owners[_other(found, 1)]} too," '
            f"said {friend}.",
            f"The {pet} jumped up and would not leave {owners[found]} again.",
        ),
    )
    return [first, second, third, last]


def _other(index: int, which: int) -> int:
    return [i for i in range(3) if i != index][which]


# A place on the way, who is met there, doing what.
STOPS = (
    ("the pond", "a frog", "sat on a leaf"),
    ("the old oak", "an owl", "slept in a hole"),
    ("the bridge", "a duck", "swam in the stream"),
    ("the barn", "a goat", "ate hay"),
    ("the mill", "a cat", "washed its face"),
    ("the red gate", "a horse", "shook its head"),
    ("the well", "a snail", "crept up the stones"),
    ("the tall rock", "a snake", "lay in the sun"),
)


def trail(tell: Teller) -> list[str]:
    """A path is told, walked, and walked back in the other order."""
    hero, friend = tell.children(2)
    teller, treasure = tell.elder(), tell.things(SMALL, 1)[0]
    stops = tell.some(STOPS, tell.number(3, 4))
    places = [place for place, _, _ in stops]
    steps = NUMBERS[tell.number(2, 9)]
    path = [
        tell.pick(f"From {here} go to {there}.", f"Walk from {here} to {there}.", f"After {here} comes {there}.")
        for here, there in pairwise(places)
    ]
    if tell.chance(0.6):
        path = tell.mixed(path)  # the links say the way in any order
    first = para(
        tell.meet(hero, friend),
        f'One day, {teller} said, "I have hidden {treasure.a} for you. Start at {places[0]}. '
        f"{' '.join(path)} "
        f'At the end, take {steps} steps and look under a flat stone."',
    )
    walk = []
    for i, (place, animal, act) in enumerate(stops):
        walk.append(
            tell.pick(
                f"{['First', 'Then', 'Next', 'At last'][i]} they came to {place}, where {animal} {act}.",
                f"At {place}, they saw {animal} that {act}.",
            )
        )
        if i + 1 < len(stops) and tell.chance(0.4):
            walk.append(
                tell.pick(
                    f'"Where do we go from {place}?" asked {friend}. "To {places[i + 1]}," said {hero}.',
                    f'"Now to {places[i + 1]}!" said {hero}.',
                )
            )
    found = para(
        f"They took {steps} steps, and {friend} {tell.pick('lifted', 'turned over')} a flat stone.",
        f'There {treasure.was} {treasure.the}! "We found {treasure.them}!" cried {hero}.',
    )
    back = listed([f"{place} with the {animal.split()[1]}" for place, animal, _ in reversed(stops)])
    last = para(
        f"On the way home, they passed {back}.",
        f'"Thank you for {treasure.the}, {teller}!" they said.',
        tell.pick(f"{teller} laughed.", f"{teller} gave them both a kiss."),
    )
    return [first, para(*walk), found, last]


# What somebody did that morning, and what it left on the hands.
CLUES = (
    ("baked bread", "white flour"),
    ("dug in the garden", "brown mud"),
    ("painted the fence", "blue paint"),
    ("picked berries", "red juice"),
    ("cleaned the stove", "black dust"),
    ("took honey from the bees", "sticky honey"),
    ("cut the grass", "bits of grass"),
    ("washed the floor", "soap"),
)


def mystery(tell: Teller) -> list[str]:
    """A thing is gone, and a trace tells who took it, and the reason was a kind one."""
    hero, *others = tell.cast(4)
    clues = tell.some(CLUES, 3)
    guilty, wrong = tell.some((0, 1, 2), 2)
    thing: Thing = tell.things(TOYS, 1)[0]
    place = tell.pick("the bench", "the shelf", "the table", "the big chair")
    first = para(
        tell.meet(hero),
        f"{hero} had {thing.a} and left {thing.them} on {place}.",
        f"That morning, {others[0].full} {clues[0][0]}, and {others[1].full} {clues[1][0]}.",
        f"{others[2].full}, on the other side of the road, {clues[2][0]}.",
    )
    second = para(
        f"When {hero} came back, {thing.the} {thing.was} gone!",
        tell.pick(f"{hero} was sad.", f'"Who took {thing.the}?" asked {hero}.'),
        f"Then {hero} saw {clues[guilty][1]} on {place}.",
        tell.maybe(f"{hero} sat down to think.", "What could that mean?"),
        f'"It was not {others[wrong]}, who {clues[wrong][0]}," {hero} said. "Then there would be '
        f"{clues[wrong][1]}. "
        f'I think it was {others[guilty]}!"',
    )
    reason, done = tell.one(
        (("had a crack", "mended"), ("looked dirty", "washed"), ("might get wet in the rain", "covered"))
    )
    third = para(
        f"{hero} went to see {others[guilty]}.",
        f'"Yes, I took {thing.them}," said {others[guilty]}. "I had '
        f"{clues[guilty][0].replace('took', 'taken')}, and then I saw "
        f'that {thing.the} {reason}. Look, I have {done} {thing.them} for you."',
    )
    last = para(
        f"{hero} was {tell.one(FEELINGS)} to have {thing.the} back.",
        f'"Thank you, {others[guilty]}," {hero.he} said. "Next time, tell me first. But how kind of you!"',
        tell.pick(
            f"Then the two played with {thing.the} until supper.",
            f"They called {others[wrong]} and {others[3 - guilty - wrong]}, and they all played with {thing.the}.",
        ),
    )
    return [first, second, third, last]


PLOTS = (lost_pet, trail, mystery)

"""Plots about numbers and order: how many are left, who is faster, whose turn it is."""

from __future__ import annotations

from itertools import pairwise

from frailt.data.builtin_words import (
    COLORS,
    FEELINGS,
    NUMBERS,
    TOYS,
    Teller,
    a,
    cap,
    joined,
    para,
)

# One, many, where they are found; the last two must be cooked.
HARVEST = (
    ("apple", "apples", "in the garden"),
    ("plum", "plums", "in the garden"),
    ("nut", "nuts", "in the woods"),
    ("berry", "berries", "by the path"),
    ("pear", "pears", "on the hill"),
    ("carrot", "carrots", "on the farm"),
    ("egg", "eggs", "on the farm"),
    ("mushroom", "mushrooms", "in the woods"),
)


def counting(tell: Teller) -> list[str]:
    """Some are found, given and lost; the last number follows from all of them. At times the rest is shared fairly."""
    hero, friend, third = tell.cast(3)
    single, plural, place = tell.one(HARVEST)
    count = tell.number(4, 8)

    def amount(number: int) -> str:
        return f"{NUMBERS[number]} {single if number == 1 else plural}"

    wish = tell.pick("for a cake", "for supper", "for a soup", "for a pie")
    first = para(
        tell.meet(hero),
        f"{hero} needed {plural} {wish}, so {hero.he} took a {tell.pick('basket', 'bag', 'bucket')} and went out.",
        f"{cap(place)}, {hero} found {amount(count)}.",
    )
    events, given, lost = [], 0, 0
    kinds = tell.mixed(("find", "give", "lose"))[: tell.number(2, 3)]
    for kind in kinds:
        change = tell.number(1, 3) if kind == "find" else tell.number(1, min(3, (count - 1) // 2))
        if kind == "find":
            count += change
            event = tell.pick(
                f"{hero} looked again and found {NUMBERS[change]} more.",
                f"{third.full} came by and gave {hero} {amount(change)}.",
            )
        elif kind == "give":
            count, given = count - change, change
            event = tell.pick(
                f"Then {hero} met {friend.full}, who was hungry, and gave {friend.him} {amount(change)}.",
                f'"I have none," said {friend.full}. So {hero} gave {friend} {amount(change)}.',
            )
        else:
            count, lost = count - change, change
            event = tell.pick(
                f"Then {hero} tripped over a root, and {amount(change)} rolled into the stream.",
                f"A hungry bird flew down and took {amount(change)}.",
            )
        events.append(event + (f" Now there were {NUMBERS[count]}." if tell.chance(0.25) else ""))
    events.insert(tell.number(0, len(events)), tell.pause(hero) if len(kinds) == 2 or tell.chance(0.5) else "")
    counted = cap(", ".join(NUMBERS[1 : count + 1]))
    last = [
        f"At home, {hero} counted.",
        tell.maybe(f'"{counted}," said {hero}.', f'"{counted}!"'),
        f"There were {NUMBERS[count]} {plural}.",
        tell.pick(f"It was just right {wish}.", f"That was enough {wish}."),
    ]
    sharing = ""
    if count % 2 == 0 and tell.chance(0.5):
        half = NUMBERS[count // 2]
        sharing = f"{third.full} had come along, so they shared. {hero} got {half}, and {third} got {half}."
    facts = [(f"How many {plural} did you bring home?", cap(NUMBERS[count]))]
    if given:
        facts.append((f"How many did {friend} get?", cap(NUMBERS[given])))
    if lost:
        facts.append(("Did you lose any?", f"Yes, I lost {NUMBERS[lost]}"))
    return [first, para(*events), para(*last, sharing), tell.recall(hero, *facts)]


def fair_share(tell: Teller) -> list[str]:
    """One has more than the other; half the difference makes it fair."""
    rich, poor, wise = tell.cast(3)
    _, plural, place = tell.one(HARVEST[:-2])
    low, step = tell.number(1, 4), tell.number(1, 3)
    high, fair = low + 2 * step, low + step
    finds = [
        tell.pick(f"{rich} found {NUMBERS[high]} {plural}.", f"{rich} came back with {NUMBERS[high]} {plural}."),
        tell.pick(f"{poor} found only {NUMBERS[low]}.", f"{poor} had no luck and came back with {NUMBERS[low]}."),
    ]
    third = NUMBERS[tell.number(2, 9)]
    first = para(
        tell.meet(rich, poor, wise),
        f"One day, they went to look for {plural} {place}.",
        tell.pause(rich, poor),
    )
    second = para(
        *tell.mixed(finds),
        tell.maybe(f"{wise} found {third} and ate them all at once."),
        f'"You have more than I have," said {poor}. {poor.His} eyes were wet.',
        tell.maybe(f"{rich} did not like to see {poor} sad."),
    )
    third_part = para(
        f'"How can we make it fair?" {rich} asked {wise}.',
        f'"{rich} has {NUMBERS[high]}, and {poor} has {NUMBERS[low]}," said {wise}. '
        f'"That is {NUMBERS[2 * step]} more. Half of {NUMBERS[2 * step]} is {NUMBERS[step]}."',
        f"So {rich} gave {NUMBERS[step]} to {poor}.",
        f"Now {rich} had {NUMBERS[fair]}, and {poor} had {NUMBERS[fair]} too.",
    )
    last = para(
        tell.pick(f"{poor} smiled again.", f'"Thank you, {rich}!" said {poor}.'),
        f"Together they had {NUMBERS[2 * fair]} {plural}." if 2 * fair <= 12 else "",
        f'"And thank you, {wise}," said {rich}. They ate the {plural} in the sun.',
    )
    return [first, second, third_part, last]


def race(tell: Teller) -> list[str]:
    """Who is faster than whom is known in pieces; the order at the finish follows."""
    order = tell.cast(4)[: tell.number(3, 4)]
    prizes = tell.things(TOYS, 2)
    facts = [
        tell.pick(f"{quick} was faster than {slow}.", f"{slow} was not as fast as {quick}.")
        for quick, slow in pairwise(order)
    ]
    judge = tell.elder()
    goal = tell.pick("the big oak", "the red gate", "the old well", "the end of the field")
    first = para(
        tell.meet(*tell.mixed(order)),
        tell.pick("They liked to run.", "All of them loved to run.", "They ran every day."),
        *tell.mixed(facts),
    )
    prize_told = [f"the first to get there would win {prizes[0].a}", f"the last would get {prizes[1].a}"]
    second = para(
        f"One day, {judge} said they should race to {goal}.",
        f"{joined(prize_told)}, so that nobody would be sad.",
        f'"One, two, three, go!" called {judge}.',
        tell.pause(*order) if tell.chance(0.5) else "",
    )
    ranks = ["first", "second", "third"][: len(order) - 1]
    finish = joined(
        [f"{tell.call(who)} came {rank}" for who, rank in zip(order, ranks, strict=False)] + [f"{order[-1]} came last"]
    )
    third = para(
        "They ran as fast as they could.",
        f"{finish}.",
        f"So {judge} gave {prizes[0].the} to {order[0]} and {prizes[1].the} to {order[-1]}.",
    )
    quick, slow = sorted(tell.some(range(len(order)), 2))
    last = para(
        f'"You ran well, {order[0]}!" said {order[-1]}.',
        tell.pick(
            f'"Next time I want to beat {order[-2]}," {order[-1].he} added.',
            f"Of {order[quick]} and {order[slow]}, {order[quick]} had been faster, just as always.",
        ),
        tell.pick("They all laughed and lay down in the grass.", "Then they had a drink of cool water."),
    )
    return [first, second, third, last]


RIDES = ("swing", "bike", "rope", "sled", "boat")


TURN_STYLES = (
    "sang a loud song",
    "closed {his} eyes",
    "waved to the birds",
    "pretended to be a pilot",
    "laughed all the time",
    "did not say a word",
    "counted to ten",
)


def turns(tell: Teller) -> list[str]:
    """Three friends take turns, each in a way of their own, until it gets dark."""
    cast = tell.cast(3)
    ride = tell.one(RIDES)
    styles = [style.format(his=who.his) for style, who in zip(tell.some(TURN_STYLES, 3), cast, strict=True)]
    color = tell.one(COLORS)
    first = para(
        tell.meet(*tell.mixed(cast)),
        f"They found {a(color)} {ride}, but only one of them could use it at a time.",
        f'"You can go first, {cast[0]}," said {cast[1]}. "Then it is my turn, and after me comes '
        f'{cast[2]}. Then we start again."',
    )
    second = para(
        *[
            tell.pick(
                f"When it was {who}'s turn, {who} {style}.",
                f"{who} {style} on the {ride}.",
                f"On {who.his} turn, {who} {style}.",
            )
            for who, style in zip(cast, styles, strict=True)
        ],
        tell.pause(*cast),
    )
    rounds = tell.number(4, 7)
    more = []
    for turn in range(3, rounds):
        who, style = cast[turn % 3], styles[turn % 3]
        more.append(
            tell.pick(
                f'"Whose turn is it now?" "It is {who}\'s turn." And again {who} {style}.',
                f"Then {tell.call(who)} went again and {style}.",
                f"Next it was {who} who {style}.",
            )
        )
    now = cast[rounds % 3]
    last = para(
        f"Then it {tell.pick('got dark', 'began to rain')}, and they had to stop.",
        f'"But now it is my turn!" said {now}.',
        f'"Tomorrow you will go first, {now}," said {cast[(rounds - 1) % 3]}. "And after you comes '
        f'{cast[(rounds + 1) % 3]}."',
        f"The next day, {now} was the first on the {ride}. {cap(now.he)} {styles[rounds % 3]}, and "
        "everyone was "
        f"{tell.one(FEELINGS)}.",
    )
    return [first, second, para(*more), last]


PLOTS = (counting, fair_share, race, turns)

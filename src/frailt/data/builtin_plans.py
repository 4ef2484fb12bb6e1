"""Plots in which a wish needs the right friends, the right order or the right weather."""

from __future__ import annotations

from frailt.data.builtin_words import (
    FEELINGS,
    TOYS,
    Teller,
    a,
    cap,
    listed,
    para,
)

# Two halves of one plan, and what comes of them together.
HALVES = (
    ("a kite", "a long string", "the kite flew high over the trees"),
    ("some bread", "some jam", "they had a sweet lunch"),
    ("some paint", "a brush", "they painted a big sun on the wall"),
    ("a bucket", "a spade", "they built a castle of sand"),
    ("a drum", "two sticks", "they made loud music"),
    ("a needle", "some thread", "they made a coat for the doll"),
    ("a hammer", "some nails", "they made a house for the birds"),
    ("a pot of earth", "a seed", "a small green plant came up"),
)


def halves(tell: Teller) -> list[str]:
    """Four friends each hold half of a plan; who belongs with whom must be worked out."""
    cast = tell.cast(4)
    plans = tell.some(HALVES, 2)
    one, two, three, four = cast
    has = {one: plans[0][0], two: plans[0][1], three: plans[1][0], four: plans[1][1]}
    told = [tell.pick(f"{who} had {has[who]}.", f"{who} had brought {has[who]}.") for who in tell.mixed(cast)]
    first = para(tell.meet(*tell.mixed(cast)), "One day, they had nothing to do.", *told)
    lead, mate = tell.one(((one, two), (two, one), (three, four), (four, three)))
    wrong = next(who for who in tell.mixed(cast) if who not in (lead, mate))
    second = para(
        f'"What can I do with {has[lead]} alone?" asked {lead}.',
        f'"Not much," said {wrong}. "I have only {has[wrong]}, and that does not help you."',
        tell.pause(*cast) if tell.chance(0.5) else "",
        f'Then {lead} had a thought. "{mate} has {has[mate]}! {mate}, will you play with me?"',
        tell.pick(f"{mate} was glad to be asked.", f'"Yes!" said {mate}.'),
    )
    result = {one: plans[0][2], two: plans[0][2], three: plans[1][2], four: plans[1][2]}
    rest = [who for who in cast if who not in (lead, mate)]
    left, right = tell.mixed(rest)
    third = para(
        f"So {lead} and {mate} worked side by side, and {result[lead]}.",
        f"{left} looked at {right}, and {right} looked at {left}.",
        f'"We can do it too," said {left}. "I have {has[left]}, and you have {has[right]}."',
        f"They tried it, and {result[left]}.",
    )
    last = para(
        tell.pick(
            f"Alone, {lead} could do nothing, but with {mate} it was easy.",
            f'"It is good to share," said {wrong}.',
        ),
        f"In the evening, {one} went home with {two}, and {three} went home with {four}.",
    )
    return [first, second, third, last]


# What a helper wants, and why.
WANTS = (
    ("a warm egg", "breakfast"),
    ("a cup of milk", "the baby"),
    ("a bag of seeds", "the garden"),
    ("a piece of cheese", "supper"),
    ("a bunch of grass", "the goat"),
    ("a candle", "the dark nights"),
    ("a ball of wool", "a scarf"),
    ("a fresh fish", "the cat"),
    ("a dry log", "the fire"),
    ("a bit of honey", "the tea"),
)


def ladder(tell: Teller) -> list[str]:
    """Each helper wants something that the next one has; then everything is handed back down the ladder."""
    (hero,) = tell.children(1)
    count = tell.number(2, 3)
    helpers, wants = tell.neighbors(count), tell.some(WANTS, count)
    goal = tell.things(TOYS, 1)[0]
    place = tell.pick("by the stream", "behind the barn", "at the edge of the wood")
    for_whom = tell.elder()
    first = para(
        tell.meet(hero),
        f"{hero} wanted to give {goal.a} to {for_whom}, "
        f"{tell.pick('who was ill', 'who had a birthday', 'who felt sad')}.",
        f"{helpers[0]} had just what {hero} wanted.",
    )
    lines = []
    for i, (helper, (want, use)) in enumerate(zip(helpers, wants, strict=True)):
        item = goal.the if i == 0 else _the(wants[i - 1][0])
        them = goal.them if i == 0 else "it"
        lines.append(
            tell.pick(
                f'"You may have {item}," said {helper}, "if you bring me {want} for {use}."',
                f'"I will give you {item}," said {helper}, "but I need {want} for {use}."',
                f'{helper} thought about {item}. "I will give {them} to you for {want}. I need it for {use}."',
            )
        )
        if i + 1 < count:
            lines.append(f"{helpers[i + 1]} had {want}, so {hero} went there.")
    last_want = wants[-1][0]
    second = para(*lines)
    third = para(
        tell.pick(f"{hero} walked and thought.", f"{hero} did not give up."),
        tell.pause(hero) if tell.chance(0.5) else "",
        f"At last, {place}, {hero} met {tell.pick('an old man', 'an old woman', 'a farmer')} who had "
        f"{last_want} to spare.",
        f"{hero} said thank you and ran back.",
    )
    back = []
    for i in range(count - 1, -1, -1):
        item = goal.the if i == 0 else _the(wants[i - 1][0])
        back.append(
            tell.pick(
                f"{hero} gave {_the(wants[i][0])} to {helpers[i]} and got {item}.",
                f"{helpers[i]} took {_the(wants[i][0])} for {wants[i][1]} and gave {hero} {item}.",
            )
        )
    last = para(
        *back,
        f"Then {hero} ran home and gave {goal.the} to {for_whom}.",
        f'"{cap(goal.a)}! For me?" said {for_whom}, and {for_whom.he} was {tell.one(FEELINGS)}.',
    )
    return [first, second, third, last]


def _the(phrase: str) -> str:
    """`the warm egg` for `a warm egg`."""
    return "the " + phrase.split(" ", 1)[1]


# What to do, and what a guest can bring for it.
SUN_PLANS = (
    ("go to the beach", ("towels", "a ball", "a bucket")),
    ("eat lunch on the hill", ("apples", "bread", "cold tea")),
    ("row on the lake", ("hats", "a fishing rod", "apples")),
    ("fly kites", ("a long string", "hats", "a red kite")),
    ("ride to the farm", ("carrots for the horses", "a map", "hats")),
)


RAIN_PLANS = (
    ("bake a cake", ("eggs", "sugar", "nuts")),
    ("read a long story", ("a thick book", "pillows", "candles")),
    ("build a tent of sheets", ("pillows", "a lamp", "ropes")),
    ("make masks", ("crayons", "feathers", "paper")),
    ("play cards", ("cards", "a bag of nuts", "coins")),
)


PAST = {"go": "went", "eat": "ate", "row": "rowed", "fly": "flew", "ride": "rode"}
PAST |= {"bake": "baked", "read": "read", "build": "built", "make": "made", "play": "played"}


def _past(phrase: str) -> str:
    verb, rest = phrase.split(" ", 1)
    return f"{PAST[verb]} {rest}"


def weather(tell: Teller) -> list[str]:
    """One plan for sun and one for rain, each with a guest and something to bring; the morning decides."""
    hero, *guests = tell.children(3)
    planner = tell.elder()
    chosen = (tell.one(SUN_PLANS), tell.one(RAIN_PLANS))
    plans = [plan for plan, _ in chosen]
    needs = [tell.one(things) for _, things in chosen]
    ifs = [
        f'"If {sky}, we will {plans[i]}," said {planner}. "{guests[i]} will come along and bring {needs[i]}."'
        for i, sky in enumerate(("it is sunny", "it rains"))
    ]
    first = para(
        tell.meet(hero),
        f"{hero} could not wait for {tell.pick('Sunday', 'Saturday', 'the free day')}.",
        *tell.mixed(ifs),
    )
    now = tell.number(0, 1)
    sky = (
        ("The sky was blue and clear", "The sun shone on the bed", "There was no cloud in the sky"),
        (
            "Drops fell on the roof",
            "The sky was full of dark clouds, and the street was wet",
            "Water ran down the glass",
        ),
    )[now]
    second = para(
        f"That night, {hero} had a dream about {tell.pick('a ship', 'a bear', 'the moon', 'a castle')}.",
        f"In the morning, {hero} ran to the window. {tell.one(sky)}.",
        tell.pick(f'"Now I know what we will do!" said {hero}.', f'"Look, {planner}!" called {hero}.'),
        f"Soon there was a knock at the door. It was {guests[now]} with {needs[now]}.",
    )
    third = para(
        f"{hero}, {planner} and {guests[now]} {_past(plans[now])}.",
        tell.pick("They had so much fun.", "They laughed a lot.", "It was a lovely day."),
        f'"And {guests[1 - now]}?" asked {hero}. "{guests[1 - now]} will come when '
        f'{("it is sunny", "it rains")[1 - now]}," '
        f'said {planner}. "Then we will {plans[1 - now]}."',
    )
    last = tell.recall(
        hero,
        ("Who came today?", f"{guests[now]} came and brought {needs[now]}"),
        ("What did you do?", f"We {_past(plans[now])}"),
        ("How was the weather?", ("It was sunny", "It rained")[now]),
    )
    return [first, second, third, last]


# Two colors that make a third, and what is painted in it.
MIXES = (
    (("blue", "yellow"), "green", ("frog", "leaf", "pear")),
    (("red", "yellow"), "orange", ("carrot", "fox", "pumpkin")),
    (("red", "blue"), "purple", ("plum", "grape", "king's coat")),
    (("red", "white"), "pink", ("pig", "rose", "shell")),
    (("black", "white"), "gray", ("mouse", "elephant", "storm cloud")),
)


def paint(tell: Teller) -> list[str]:
    """A color is missing, and two friends hold the two that make it."""
    hero, *friends = tell.children(4)
    (pair, wanted, pictures), other = tell.one(MIXES), tell.pick("silver", "gold")
    picture, (viewer, helper) = tell.one(pictures), (tell.elder(), tell.elder())
    colors = [*pair, other]
    told = [
        tell.pick(f"{friend} had {color} paint.", f"{cap(color)} paint stood next to {friend}.")
        for friend, color in tell.mixed(list(zip(friends, colors, strict=True)))
    ]
    first = para(
        tell.meet(hero),
        f"At school, {hero} sat with {listed([friend.name for friend in tell.mixed(friends)])}.",
        f"{hero} wanted to paint {a(picture)} for {viewer}, but there was no {wanted} paint left.",
        *told,
    )
    asked = tell.mixed((0, 1))
    one, two = friends[asked[0]], friends[asked[1]]
    second = para(
        f'"Do you want my {other} paint?" asked {friends[2]}. "No, thank you. {cap(a(picture))} is not '
        f'{other}," said {hero}.',
        tell.maybe("Someone dropped a brush.", f"{friends[2]} went to get water.", "It was quiet in the room."),
        f"{hero} thought for a while. {helper} had once shown {hero.him} how to make {wanted}.",
        f'"{one}, may I have some of your {colors[asked[0]]}?" asked {hero}. '
        f'"And {two}, may I have some of your {colors[asked[1]]}?"',
        tell.pick("They both said yes.", f'"Of course," said {one} and {two}.'),
    )
    third = para(
        f"{hero} put the {colors[asked[0]]} paint from {one} and the {colors[asked[1]]} paint from {two} "
        "in a cup and mixed "
        "them.",
        f"The paint turned {wanted}!",
        f"Soon there was a fine {wanted} {picture} on the paper.",
    )
    last = tell.recall(
        hero,
        (f"How did you make {wanted}?", f"I mixed {pair[0]} and {pair[1]}"),
        (f"Who gave you the {colors[asked[1]]} paint?", f"{two} did"),
        (f"Who is the {picture} for?", f"It is for {viewer}"),
    )
    return [first, second, third, last]


PLOTS = (halves, ladder, weather, paint)

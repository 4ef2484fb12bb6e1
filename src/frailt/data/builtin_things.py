"""Plots about where things are and go: box in box, from hand to hand, from door to door."""

from __future__ import annotations

from dataclasses import dataclass

from frailt.data.builtin_words import (
    COLORS,
    FEELINGS,
    SMALL,
    TOYS,
    TREATS,
    Person,
    Teller,
    Thing,
    a,
    cap,
    joined,
    para,
)

INNER_BOXES = ("tin", "jar", "pouch", "mug", "purse", "sock")


OUTER_BOXES = ("basket", "chest", "bucket", "backpack", "suitcase", "sack", "crate")


SPOTS = (
    *("under the bed", "behind the door", "on the top shelf", "beside the stove", "under the stairs"),
    *("next to the clock", "behind the curtain", "under the table"),
)


@dataclass(slots=True)
class Nest:
    """A thing in a small box in a big box at a spot."""

    thing: Thing
    inner: str
    outer: str
    spot: str

    def put(self, tell: Teller, who: Person) -> str:
        return tell.pick(
            f"{who} put {self.thing.the} in a {self.inner}. {who.He} put the {self.inner} in a "
            f"{self.outer} and left the "
            f"{self.outer} {self.spot}.",
            f"There was a {self.outer} {self.spot}. {who} laid a {self.inner} in the {self.outer}, and in "
            "the "
            f"{self.inner} {who.he} hid {self.thing.the}.",
            f"{who} found a {self.inner} for {self.thing.the}. The {self.inner} went into a {self.outer}, "
            "and the "
            f"{self.outer} stood {self.spot}.",
        )

    def fetch(self, tell: Teller, who: Person) -> str:
        return tell.pick(
            f"{who} looked {self.spot} and saw the {self.outer}. {who.He} looked in the {self.outer} and "
            "took out the "
            f"{self.inner}. In the {self.inner} {self.thing.was} {self.thing.the}!",
            f"{who} went to the {self.outer} {self.spot}. In the {self.outer} was the {self.inner}, and "
            "in the "
            f"{self.inner} {self.thing.was} {self.thing.the}.",
        )

    @property
    def where(self) -> str:
        return f"in the {self.inner} in the {self.outer} {self.spot}"


def hiding_place(tell: Teller) -> list[str]:
    """Two children hide two things, box in box; one thing is wanted again, after its box may have been moved."""
    owners = tell.children(2)
    hero, friend = owners
    things = tell.things(SMALL, 2)
    inner, outer, spots = tell.some(INNER_BOXES, 2), tell.some(OUTER_BOXES, 2), tell.some(SPOTS, 4)
    nests = [Nest(things[i], inner[i], outer[i], spots[i]) for i in range(2)]
    giver, pet = tell.elder(), tell.pick("the puppy", "the kitten", "the baby", "a magpie")
    first = para(
        tell.meet(hero),
        f"{hero} had {things[0].a} from {giver}.",
        f"{friend}, {tell.pick('who lived next door', f'a cousin of {hero}', f'a friend of {hero}')}, had "
        f"{things[1].a}.",
        f"They were afraid that {pet} would {tell.pick('take', 'find', 'lose')} them, so they hid them well.",
    )
    hidden = para(*[nests[i].put(tell, owners[i]) for i in tell.mixed((0, 1))])
    wanted = tell.number(0, 1)
    nest, owner = nests[wanted], owners[wanted]
    cleaned, checked = "", ""
    if tell.chance(0.6):
        cleaner, moved = tell.elder(), tell.number(0, 1)
        old, nests[moved].spot = nests[moved].spot, spots[2]
        cleaned = tell.pick(
            f"Later, {cleaner} swept the floor and moved the {nests[moved].outer}. Now it was {spots[2]}.",
            f"That day, {cleaner} took the {nests[moved].outer} from its place and put it {spots[2]}.",
        )
        if moved == wanted and tell.chance(0.5):
            checked = f"{owner} looked {old}, but the {nest.outer} was gone. " + tell.pick(
                f'"I moved it," said {cleaner}.', f"Then {owner} thought of {cleaner}."
            )
    middle = para(
        f"The two went out to play. {tell.pause(hero, friend)}" if tell.chance(0.6) else "",
        cleaned,
        tell.pick(
            f'After supper, {owner} said, "I want to see {nest.thing.the} again."',
            f"The next day, {owner} wanted to play with {nest.thing.the}.",
        ),
        checked,
    )
    rest = nests[1 - wanted]
    last = para(
        nest.fetch(tell, owner),
        f"{owner} was {tell.one(FEELINGS)}.",
        f'"Who gave {nest.thing.them} to you?" asked {friend}. "{giver} did," said {hero}.'
        if wanted == 0 and tell.chance(0.5)
        else "",
        tell.pick(
            f"And {rest.thing.the} {rest.thing.was} still {rest.where}.",
            f'"And where {rest.thing.are} {rest.thing.the}?" asked {owner}. '
            f'"Still {rest.where}," said {owners[1 - wanted]}.',
        ),
    )
    return [first, hidden, middle, last]


def swaps(tell: Teller) -> list[str]:
    """Three friends swap their toys two or three times; the end says who has what, and whose it was."""
    cast = tell.cast(3)
    things = tell.things(TOYS, 3)
    owned = dict(zip(cast, things, strict=True))
    has = dict(owned)
    first = para(
        tell.meet(*cast),
        f"One day, they met {tell.pick('in the park', 'by the pond', 'under the old tree', 'on the hill')}.",
        *[
            tell.pick(
                f"{who} had {owned[who].a}.",
                f"{who} came with {owned[who].a}.",
                f"{owned[who].a} belonged to {who}.",
            )
            for who in tell.mixed(cast)
        ],
    )
    told = []
    left_out = -1
    for _ in range(tell.number(2, 3)):
        left_out = tell.one([i for i in range(3) if i != left_out])
        one, two = tell.mixed([cast[i] for i in range(3) if i != left_out])
        told.append(
            tell.pick(
                f'"{cap(has[two].the)} {has[two].are} so nice!" said {one}. So {one} gave {has[one].the} '
                f"to {two} and got "
                f"{has[two].the}.",
                f"Then {tell.call(one)} and {two} swapped. Now {one} had {has[two].the}, and {two} had {has[one].the}.",
                f'"Will you swap with me?" {one} asked {two}. {two} said yes, and {one} took {has[two].the}.',
                f"After a while, {tell.call(one)} and {tell.call(two)} swapped what they had.",
                f"Next, {one} wanted what {tell.call(two)} had, so the two of them swapped.",
            )
        )
        has[one], has[two] = has[two], has[one]
    told.insert(1, tell.pause(*cast) if tell.chance(0.6) else "")
    evening = joined([f"{tell.call(who)} had {has[who].the}" for who in tell.mixed(cast)])
    third = para(
        tell.pick("When the sun went down,", "When it was time to go home,", "At the end of the day,") + f" {evening}."
    )
    if tell.chance(0.5):
        backs = []
        for who in tell.mixed(cast):
            owner = next(other for other in cast if owned[other] == has[who])
            if owner != who:
                backs.append(f"{tell.call(who)} gave {has[who].the} back to {owner}")
        last = para(
            "The next day, they all wanted their own things again.",
            f"{joined(backs)}.",
            tell.pick("They were still good friends.", "It had been fun to share.", "Then they played some more."),
        )
    else:
        hero = tell.one(cast)
        other = tell.one([who for who in cast if who != hero])
        first_owner = next(who for who in cast if owned[who] == has[hero])
        last = tell.recall(
            hero,
            (
                f"Who had {has[hero].the} this morning?",
                f"{'I' if first_owner == hero else first_owner} had {has[hero].them}",
            ),
            (f"What did {other} take home?", cap(has[other].the)),
            (f"Where {owned[hero].are} {owned[hero].the} now?", _holder(hero, has, owned[hero])),
        )
    return [first, para(*told), third, last]


def _holder(hero: Person, has: dict[Person, Thing], thing: Thing) -> str:
    holder = next(who for who in has if has[who] == thing)
    return f"I have {thing.them} here" if holder == hero else f"{holder} has {thing.them}"


MEETING_PLACES = (
    "the old bridge",
    "the mill",
    "the pond",
    "the tall oak",
    "the well",
    "the farm gate",
    "the market",
)


HANDOVER_REASONS = (
    "My legs are tired",
    "It is time for my nap",
    "I must go home for lunch",
    "I do not know the way from here",
    "My mother is calling me",
)


def handover(tell: Teller) -> list[str]:
    """A present goes from hand to hand, and the thanks come back the same way."""
    sender, *carriers, receiver = tell.cast(tell.number(4, 5))
    places = tell.some(MEETING_PLACES, len(carriers) - 1)
    reasons = tell.some(HANDOVER_REASONS, len(carriers) - 1)
    gift, thanks = tell.some(TREATS, 2)
    why = tell.pick("was ill in bed", "had a birthday", "had moved to a new house", "felt sad and alone")
    first = para(
        tell.meet(sender),
        f"{sender} had a friend, {receiver.full}, who lived far away.",
        f"One day, {sender} heard that {receiver} {why}, so {sender.he} wanted to send {a(gift)} to {receiver}.",
        tell.pick("But it was a long way to go.", f"But {sender} could not go that far."),
    )
    legs = [f'"Please take the {gift} to {receiver}," {sender} said to {carriers[0].full}, who set out at once.']
    for i, (place, reason) in enumerate(zip(places, reasons, strict=True)):
        here, there = carriers[i], carriers[i + 1]
        legs.append(
            tell.pick(
                f'At {place}, {here} met {there.full}. "{reason}," said {here}. "Will you take the {gift}?" '
                f"{there} said yes.",
                f'{here} came as far as {place}. "{reason}," {here.he} said and gave the {gift} to {there.full}.',
            )
        )
    legs.append(f"{carriers[-1]} knocked at the door of {receiver}.")
    chain = [sender, *carriers]
    links = [f"{chain[i]} got it from {chain[i - 1]}" for i in range(len(carriers) - 1, 0, -1)]
    third = para(
        tell.pick(f'"{cap(a(gift))}! Who sent it?" asked {receiver}.', f'"Who sent me {a(gift)}?" asked {receiver}.'),
        f'"I got it from {chain[-2]}," said {carriers[-1]}. "{links[0] if len(links) == 1 else joined(links)}."',
    )
    back = [f"{receiver} was {tell.one(FEELINGS)} and gave {a(thanks)} to {carriers[-1]} to say thank you."]
    for i in range(len(carriers) - 1, 0, -1):
        back.append(f"At {places[i - 1]}, {tell.call(carriers[i])} gave the {thanks} to {carriers[i - 1]}.")
    back.append(
        tell.pick(
            f"In the end, {carriers[0]} took the {thanks} to {sender}.",
            f'{carriers[0]} brought it to {sender}. "The {thanks} is from {receiver}," said {carriers[0]}.',
        )
    )
    return [first, para(*legs), third, para(*back)]


PARCEL_MARKS = ("stars", "dots", "stripes", "hearts", "leaves", "bows")


def parcels(tell: Teller) -> list[str]:
    """House to owner, owner to parcel, parcel to what is in it."""
    (hero,) = tell.children(1)
    owners = tell.neighbors(3)
    houses, marks = tell.some(COLORS[:7], 3), tell.some(PARCEL_MARKS, 3)
    things = tell.things(TOYS, 3)
    boss = tell.elder()
    work = tell.pick("ran a small shop", "worked at the post office")
    parcels_told = [f"{cap(things[i].a)} went into the parcel with the {marks[i]}." for i in tell.mixed(range(3))]
    owners_told = [
        tell.pick(
            f"The parcel with the {marks[i]} was for {owners[i]}.",
            f"{owners[i]} was to get the parcel with the {marks[i]}.",
        )
        for i in tell.mixed(range(3))
    ]
    houses_told = [
        tell.pick(f"{owners[i]} lived in the {houses[i]} house.", f"The {houses[i]} house belonged to {owners[i]}.")
        for i in tell.mixed(range(3))
    ]
    first = para(tell.meet(hero), f"{hero}'s {_relation(boss)} {work}, and {hero} liked to help.", *parcels_told)
    second = para(*owners_told, *houses_told)
    stops = []
    for i in tell.mixed(range(3)):
        stops.append(
            tell.pick(
                f"At the {houses[i]} house, {hero} gave {owners[i]} the parcel with the {marks[i]}. "
                f"{owners[i].He} opened it and found {things[i].a}.",
                f"{hero} knocked at the {houses[i]} house. {owners[i]} came out, took the parcel with the "
                f"{marks[i]} and "
                f'opened it. "{cap(things[i].a)}! Thank you, {hero}!"',
            )
        )
    stops.insert(1, tell.pause(hero) if tell.chance(0.5) else "")
    asked = tell.number(0, 2)
    if tell.chance(0.5):
        last = tell.recall(
            hero,
            (f"Who got {things[asked].the}?", f"{owners[asked]} did"),
            (f"What was in the parcel with the {marks[asked]}?", cap(things[asked].a)),
            (f"Who lives in the {houses[asked]} house?", f"{owners[asked]} does"),
        )
    else:
        last = para(
            f"Then {hero} went home, tired and happy.",
            f"Now there {things[asked].was} {things[asked].a} in the {houses[asked]} house, and not one "
            "parcel had gone to "
            "the wrong door.",
        )
    return [first, second, para(*stops), last]


def _relation(elder: Person) -> str:
    return {"Mom": "mother", "Dad": "father", "Grandma": "grandmother", "Grandpa": "grandfather"}[elder.name]


PLOTS = (hiding_place, swaps, handover, parcels)

"""Plots about promises, warnings, fears and surprises: what is said early decides what is done late."""

from __future__ import annotations

from frailt.data.builtin_words import (
    COLORS,
    NUMBERS,
    SMALL,
    TOYS,
    Teller,
    a,
    cap,
    listed,
    para,
)

# Asked as "Will you ...?", done as "He ...", why it is asked, what comes of it.
PROMISES = (
    ("water the beans", "watered the beans", "I must go to the market", "The beans stood up tall and green"),
    ("feed the hens", "fed the hens", "my foot hurts", "The hens were not hungry any more"),
    ("light the lamp", "lit the lamp", "my eyes are weak", "The whole house was bright"),
    (
        "pick the last pears",
        "picked the last pears",
        "my arms are too short",
        "There were enough pears for a cake",
    ),
    ("wake the baby", "woke the baby", "I must bake the bread", "The baby was not late for supper"),
    ("close the gate", "closed the gate", "the goats will run off", "All the goats were safe inside"),
    ("bring in the wood", "brought in the wood", "the night will be cold", "The room was warm all night"),
    ("sweep the steps", "swept the steps", "guests are coming", "The guests did not get dirty feet"),
)


TEMPTATIONS = (
    ("swim in the lake", "swam in the lake"),
    ("climb the tall oak", "climbed the tall oak"),
    ("play ball in the field", "played ball in the field"),
    ("look for shells", "looked for shells"),
    ("build a hut", "built a hut"),
    ("dance in the barn", "danced in the barn"),
    ("draw a big map", "drew a big map"),
    ("chase the wind", "chased the wind"),
)


# When to do it, and how that hour comes.
HOURS = (
    ("before the sun goes down", "The sun was low in the sky"),
    ("when the bell rings", "The bell rang"),
    ("after lunch", "Lunch was over"),
    ("when the clock strikes four", "The clock struck four"),
    ("before the first star comes out", "The sky was pale, and there was no star yet"),
)


def promise(tell: Teller) -> list[str]:
    """Friends tempt the hero away; the promise is kept first, and then each friend gets a turn."""
    hero, *friends = tell.cast(3)
    (elder,) = tell.neighbors(1)
    ask, done, why, result = tell.one(PROMISES)
    (hour, sign), fun, gift = tell.one(HOURS), tell.some(TEMPTATIONS, 2), tell.things(TOYS, 1)[0]
    first = para(
        tell.meet(hero),
        f"Next door lived {elder}.",
        f'One morning, {elder} said, "{cap(why)}. Will you {ask} {hour}?"',
        tell.pick(f'"I will. I promise," said {hero}.', f"{hero} said yes and made a promise."),
    )
    offers = []
    for friend, (act, _), place in zip(friends, fun, ("On the road", "A little later"), strict=True):
        offers.append(
            tell.pick(
                f'{place}, {hero} met {friend.full}. "Come and {act} with me!" said {friend}.',
                f'Then {friend.full} came by. "I want to {act}. Will you come along?" asked {friend}.',
            )
        )
        offers.append(
            tell.pick(
                f'"I would love to," said {hero}, "but I promised {elder} to {ask}."',
                f'"Not now," said {hero}. "I must {ask} first."',
                f"{hero} wanted to go, but a promise is a promise.",
            )
        )
    kept = para(
        f"{sign}.",
        tell.pick("It was time.", f"{hero} did not forget."),
        f"{cap(hero.he)} went to {elder} and {done}.",
        f"{result}.",
        f'"You kept your word," said {elder} and gave {hero} {gift.a}.',
    )
    order = tell.mixed((0, 1))
    last = para(
        f"The next day, {hero} had time to play.",
        f"First, {hero} {fun[order[0]][1]} with {friends[order[0]]}.",
        f"After that, {hero} {fun[order[1]][1]} with {friends[order[1]]}.",
        tell.pick(
            f"{hero} had brought {gift.the} from {elder} to show to both of them.",
            f'"Where did you get {gift.the}?" they asked. "From {elder}," said {hero}, "because I {done}."',
        ),
    )
    return [first, para(*offers), kept, last]


# What not to do, done, what will happen, what did happen, how another helps, what the helper says.
WARNINGS = (
    ("walk on the ice", "walked on the ice", "the ice is thin and will break", "the ice broke",
     "held out a long stick and pulled {him} out", "wet and cold"),
    ("climb the old ladder", "climbed the old ladder", "a step is loose and will break", "a step broke",
     "brought a new ladder and led {him} down", "stuck up high"),
    ("touch the stove", "touched the stove", "it is hot and will burn you", "it was hot and burned {him}",
     "put cold water on the burn", "in pain"),
    ("shake the tree", "shook the tree", "the bees live there and will sting you", "the bees came out and stung {him}",
     "put mud on the sting", "in pain"),
    ("eat the green plums", "ate the green plums", "they are not ripe and will make you ill", "{his} tummy hurt",
     "made hot tea", "ill"),
    ("run on the wet rocks", "ran on the wet rocks", "they are slippery and you will fall",
     "{he} fell and hurt {his} knee", "washed the knee and tied a cloth around it", "sad and sore"),
    ("open the bird cage", "opened the bird cage", "the bird will fly away", "the bird flew away",
     "put seeds in the cage until the bird came back", "full of shame"),
    ("go into the tall grass", "went into the tall grass", "it is high and you will get lost", "{he} got lost",
     "called {his} name until {he} found the way", "alone and scared"),
)  # fmt: skip


def warning(tell: Teller) -> list[str]:
    """Two are warned of two things; one does not listen, and later passes the warning on."""
    hero, friend, younger = tell.cast(3)
    elder = tell.elder()
    (bad, other) = tell.some(WARNINGS, 2)
    act, did, because, happened, helped, state = bad
    pronouns = {"he": hero.he, "him": hero.him, "his": hero.his}
    happened, helped = happened.format(**pronouns), helped.format(**pronouns)
    told = [(hero, act, because), (friend, other[0], other[2])]
    (one, one_act, one_why), (two, two_act, two_why) = tell.mixed(told)
    first = para(
        tell.meet(hero, friend),
        f"One day, they went to see {elder}.",
        f'"{one}, do not {one_act}, because {one_why}," said {elder}. "And {two}, do not {two_act}, '
        f'because {two_why}."',
    )
    second = para(
        f"{friend} listened well and did not {other[0]}.",
        tell.pause(hero, friend),
        tell.pick(
            f"But {hero} did not listen. {hero} {did}.",
            f'"Just once," thought {hero}, and {hero.he} {did}.',
        ),
    )
    third = para(
        tell.pick(f"It came as {elder} had said: {happened}.", f"Oh no! {cap(happened)}."),
        f"Now {hero} was {state}.",
        tell.pick(f'"Help! Help!" {hero.he} cried.', f'"Oh, help me!" {hero.he} cried.'),
        f"{friend} ran to get {elder}, and {elder} {helped}.",
        f'"I should have listened," said {hero}. "Thank you, {friend}, for getting {elder}."',
    )
    last = para(
        f"The next day, {younger.full} came to play. {younger} wanted to {act}.",
        f'"No, do not {act}!" said {hero}. "{cap(because)}. I know it, because yesterday I {did}."',
        tell.pick(
            f"{younger} listened, and nothing bad happened.",
            f"So {younger} stayed safe, and they played a game.",
        ),
    )
    return [first, second, third, last]


# What is feared, when it is met.
FEARS = (
    ("the dark", "when the lamp went out"),
    ("thunder", "when a storm came"),
    ("deep water", "when they had to cross the lake"),
    ("big dogs", "when a big dog stood at the gate"),
    ("high places", "when they had to cross the tall bridge"),
    ("loud noise", "when the men cut down a tree"),
    ("spiders", "when a spider sat on the door"),
    ("the wind", "when the wind shook the house"),
)


def fear(tell: Teller) -> list[str]:
    """A trick against one fear, learned from a friend, is passed on to another with another fear."""
    hero, helper, third = tell.cast(3)
    (what, when), (other_what, other_when) = tell.some(FEARS, 2)
    charm = tell.things(SMALL, 1)[0]
    steps = tell.number(3, 8)
    song = tell.pick("the moon", "a little bee", "the sea", "a red hen", "summer")
    trick, act, acted = tell.one(
        (
            ("count", f"count to {NUMBERS[steps]}", f"counted to {NUMBERS[steps]}"),
            ("sing", f"sing a song about {song}", f"sang a song about {song}"),
            ("hold", f"hold {charm.the} in your hand", f"held {charm.the}"),
        )
    )
    gives = f"{helper} took out {charm.a} and gave {charm.them} to {hero}." if trick == "hold" else ""
    fears = tell.mixed((f"{hero} was afraid of {what}.", f"{third} was afraid of {other_what}."))
    first = para(tell.meet(hero, helper, third), *fears, f"But {helper} was not afraid of anything.")
    second = para(
        f"One day, {hero} began to shake {when}.",
        f'"What is it?" asked {helper}. "I am afraid of {what}," said {hero}.',
        f'"I know what to do," said {helper}.',
        gives,
        f'"You must {act}, and the fear will get small."',
    )
    numbers = ", ".join(NUMBERS[1 : steps + 1])
    third_part = para(
        f"So {hero} {acted}." + (f' "{cap(numbers)}," {hero.he} said.' if trick == "count" else ""),
        tell.pick(f"And {hero} was not afraid of {what} any more.", "And the fear got smaller and smaller."),
        f'"It works! Thank you, {helper}!" said {hero}.',
        tell.pause(hero, helper) if tell.chance(0.5) else "",
    )
    last = para(
        f"Some days later, {third} was pale {other_when}.",
        f'"I know you are afraid of {other_what}," said {hero}. "I was afraid of {what}, but {helper} '
        "helped me. "
        f'You must {act}."',
        f"{hero} gave {charm.the} to {third}." if trick == "hold" else "",
        f"{third} {acted}, and soon {third.he} smiled.",
    )
    return [first, second, third_part, last]


FLAVORS = ("apple", "cherry", "honey", "nut", "plum", "carrot")


CARD_ANIMALS = ("owls", "whales", "horses", "snails", "swans", "bees")


PARTY_SPOTS = (
    "behind the couch",
    "under the table",
    "behind the curtain",
    "behind the big tree",
    "under the stairs",
)


def surprise(tell: Teller) -> list[str]:
    """What somebody likes decides what the friends make; who makes what, and hides where, comes back at the party."""
    star, *friends = tell.cast(4)
    color, (flavor, wrong), animal = tell.one(COLORS), tell.some(FLAVORS, 2), tell.one(CARD_ANIMALS)
    spots = tell.some(PARTY_SPOTS[:3] if not star.is_animal else PARTY_SPOTS, 3)
    likes = tell.mixed(
        (f"the color {star} liked best was {color}", f"{star} loved {flavor} cake", f"{star} loved {animal}")
    )
    jobs = tell.mixed(friends)  # baker, painter of the card, bringer of balloons
    baker, painter, bringer = jobs
    first = para(
        tell.meet(*friends),
        f"The birthday of their friend {star.full} was near, and they planned a surprise.",
        f"They knew that {likes[0]}, that {likes[1]} and that {likes[2]}.",
    )
    plans = [
        tell.pick(f'"I will bake the cake," said {baker}.', f"{baker} wanted to bake the cake."),
        tell.pick(f'"I will paint the card," said {painter}.', f"{painter} wanted to paint the card."),
        tell.pick(f'"I will bring balloons," said {bringer}.', f"{bringer} wanted to bring balloons."),
    ]
    second = para(
        *tell.mixed(plans),
        tell.maybe(f'"{cap(wrong)} cake?" asked {painter}. "No, {flavor} cake, of course," said {baker}.'),
        f"On the big day, {baker} hid {spots[0]}, {painter} hid {spots[1]}, and {bringer} hid {spots[2]}.",
    )
    gifts = [
        f"From {spots[0]} came {baker} with {a(flavor)} cake.",
        f"{painter} came out from {spots[1]} with a card that had {animal} on it.",
        f"{bringer} came from {spots[2]} with {color} balloons.",
    ]
    third = para(
        f"{star} opened the door. It was very quiet.",
        tell.maybe(f"{star} felt a little sad."),
        '"Surprise!" they all called.',
        *tell.mixed(gifts),
    )
    thanks = tell.mixed(
        (
            f"to {baker} for the {flavor} cake",
            f"to {painter} for the {animal}",
            f"to {bringer} for the {color} balloons",
        )
    )
    last = para(
        f'"You know just what I like!" said {star}.',
        f"{star} said thank you {listed(thanks)}.",
        tell.pick("They sang until it was late.", "It was the best birthday of all."),
    )
    return [first, second, third, last]


PLOTS = (promise, warning, fear, surprise)

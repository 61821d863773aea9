"""Synthetic insurance claims: facts drawn by a small random generator, and the English that tells them.

The same seed gives the same text on every machine and with every Python 3: no `random`, no hashes, no locale.
"""

from dataclasses import dataclass


class Random:
    """splitmix64 (Steele, Lea, Flood 2014). Good enough to draw words, and the same everywhere."""

    MASK = (1 << 64) - 1

    def __init__(self, seed):
        self.state = seed & self.MASK

    def bits(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & self.MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & self.MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & self.MASK
        return z ^ (z >> 31)

    def below(self, n):
        return self.bits() % n

    def pick(self, items):
        return items[self.below(len(items))]

    def chance(self, percent):
        return self.below(100) < percent

    def shuffle(self, items):
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]


NAMES = ("Anna Berg Clara David Elena Frank Greta Henrik Irene Jonas Karin Lukas Maria Nils Olga Peter Rosa Stefan Tina "
         "Ulrich Vera Walter Yara Amir Bianca Carlos Dana Emil Farid Hanna Ivan Julia Kofi Lena Marco Nadia Oscar Paula "
         "Ravi Sara Tomas Zoe").split()

PLACES = ("Ashford Bergen Calais Dresden Exeter Florence Ghent Halle Innsbruck Jena Kiel Lyon Malmo Namur Oslo Porto "
          "Reims Siena Turku Utrecht Verona Warsaw York Zurich Aachen Basel Cork Dover Essen Graz").split()

WHEN = ("on Monday", "on Tuesday", "on Wednesday", "on Thursday", "on Friday", "on Saturday", "on Sunday", "last night",
        "this morning", "yesterday", "in the evening", "at noon", "two days ago", "last week")


@dataclass(frozen=True)
class Event:
    """What can happen. `told` is a sentence about {name} without when and where."""

    kind: str   # of KINDS
    told: str
    short: str  # the answer to "What happened?"
    thing: str  # the answer to "What is the claim for?"


KINDS = {  # how the kind is named in questions and answers
    "motor": "a road accident",
    "water": "water damage",
    "fire": "a fire",
    "storm": "a storm",
    "theft": "a theft",
    "travel": "a trip",
    "health": "a treatment",
}

EVENTS = tuple(Event(*row) for row in (
    ("motor", "a van hit the car of {name} from behind", "A van hit the car.", "the car"),
    ("motor", "{name} slid off an icy road with the car", "The car slid off the road.", "the car"),
    ("motor", "a lorry turned without looking and struck the motorbike of {name}", "A lorry struck the motorbike.",
     "the motorbike"),
    ("motor", "{name} reversed into a wall with the van", "The van was reversed into a wall.", "the van"),
    ("motor", "a deer ran in front of the car of {name}", "A deer ran in front of the car.", "the car"),
    ("motor", "{name} missed a red light and hit a taxi", "A taxi was hit at a red light.", "the taxi"),
    ("water", "a pipe burst in the kitchen of {name}", "A pipe burst in the kitchen.", "the kitchen"),
    ("water", "the washing machine of {name} flooded the bathroom", "The washing machine flooded the bathroom.",
     "the bathroom"),
    ("water", "the river rose and filled the cellar of {name}", "The river filled the cellar.", "the cellar"),
    ("water", "a tap was left open and the ceiling below the flat of {name} came down", "The ceiling came down.",
     "the ceiling"),
    ("water", "the boiler of {name} leaked into the floor", "The boiler leaked.", "the floor"),
    ("water", "rain came through the roof window of {name}", "Rain came through the roof window.", "the carpet"),
    ("fire", "a candle set fire to the curtains of {name}", "A candle set fire to the curtains.", "the curtains"),
    ("fire", "a pan of oil caught fire on the stove of {name}", "A pan of oil caught fire.", "the stove"),
    ("fire", "an old heater burned down the shed of {name}", "A heater burned down the shed.", "the shed"),
    ("fire", "a cable smouldered behind the sofa of {name}", "A cable smouldered behind the sofa.", "the sofa"),
    ("fire", "sparks from a barbecue lit the fence of {name}", "Sparks lit the fence.", "the fence"),
    ("fire", "smoke from a fire next door blackened the walls of {name}", "Smoke blackened the walls.", "the walls"),
    ("storm", "the wind tore tiles from the roof of {name}", "The wind tore tiles from the roof.", "the roof"),
    ("storm", "a tree fell on the garage of {name}", "A tree fell on the garage.", "the garage"),
    ("storm", "hail broke the greenhouse of {name}", "Hail broke the greenhouse.", "the greenhouse"),
    ("storm", "lightning struck the chimney of {name}", "Lightning struck the chimney.", "the chimney"),
    ("storm", "a gust threw the garden table of {name} through a window", "A gust broke a window.", "the window"),
    ("storm", "heavy snow crushed the carport of {name}", "Snow crushed the carport.", "the carport"),
    ("theft", "burglars broke into the flat of {name} and took the jewels", "Burglars took the jewels.", "the jewels"),
    ("theft", "somebody cut the lock and stole the bicycle of {name}", "The bicycle was stolen.", "the bicycle"),
    ("theft", "a thief snatched the phone of {name} in a shop", "A thief snatched the phone.", "the phone"),
    ("theft", "the handbag of {name} vanished in a crowded bus", "The handbag vanished in a bus.", "the handbag"),
    ("theft", "robbers emptied the workshop of {name} and left with the tools", "Robbers left with the tools.",
     "the tools"),
    ("theft", "a stranger walked off with the laptop of {name} at a cafe", "A stranger took the laptop.", "the laptop"),
    ("travel", "the airline lost the suitcase of {name}", "The airline lost the suitcase.", "the suitcase"),
    ("travel", "the flight of {name} was cancelled without warning", "The flight was cancelled.", "the flight"),
    ("travel", "{name} missed the ferry after a late train", "The ferry was missed.", "the ferry"),
    ("travel", "the hotel of {name} closed before the holiday began", "The hotel closed.", "the hotel"),
    ("travel", "{name} had to break off a cruise and fly home", "A cruise was broken off.", "the cruise"),
    ("travel", "the tour of {name} ended early when the guide left", "The tour ended early.", "the tour"),
    ("health", "{name} needed an operation on the knee", "The knee needed an operation.", "the operation"),
    ("health", "the dentist of {name} had to replace a tooth", "A tooth had to be replaced.", "the tooth"),
    ("health", "{name} was given new glasses by the eye doctor", "New glasses were given.", "the glasses"),
    ("health", "the doctor of {name} ordered a scan of the back", "A scan of the back was ordered.", "the scan"),
    ("health", "{name} spent a week in a clinic with a fever", "A week was spent in a clinic.", "the clinic"),
    ("health", "the hearing aid of {name} had to be fitted again", "A hearing aid was fitted.", "the hearing aid"),
))

VICTIMS = ("{name}", "a neighbour", "a child", "a cyclist", "a friend", "an old man", "a visitor", "a passenger")
INJURIES = ("broke an arm", "broke a leg", "was badly burned", "cut a hand", "hurt the neck", "was taken to hospital",
            "was knocked out", "lost a finger", "hurt the back", "was bleeding")
UNHURT = ("nobody was hurt", "no one was injured", "everybody is well", "there were no injuries")
AMOUNT = ("the bill is {amount}", "the damage is about {amount}", "it will cost {amount}", "{name} asks for {amount}",
          "the estimate says {amount}", "the loss comes to {amount}")


def upper_first(text):
    return text[0].upper() + text[1:]


def money(euros):
    return (f"{euros // 1000},{euros % 1000:03d}" if euros >= 1000 else str(euros)) + " euros"


LARGE = 10000  # euros: what a question and the triage rule call a large claim


@dataclass(frozen=True)
class Claim:
    """The facts of one claim."""

    event: int      # index in EVENTS
    name: str
    place: str
    when: str
    injury: str     # "a cyclist broke an arm"; empty: nobody was hurt
    euros: int

    @property
    def kind(self):
        return EVENTS[self.event].kind

    @property
    def large(self):
        return self.euros > LARGE


def draw_claim(rng, event=None, hurt=None, large=None):
    """A claim at random; what is given is kept."""
    event = rng.below(len(EVENTS)) if event is None else event
    hurt = rng.chance(35) if hurt is None else hurt
    large = rng.chance(45) if large is None else large
    name = rng.pick(NAMES)
    injury = rng.pick(VICTIMS).format(name=name) + " " + rng.pick(INJURIES) if hurt else ""
    euros = 10 * (1010 + rng.below(8990) if large else 8 + rng.below(992))
    return Claim(event, name, rng.pick(PLACES), rng.pick(WHEN), injury, euros)


def tell(rng, claim):
    """The claim in two or three sentences, worded at random."""
    told = EVENTS[claim.event].told.format(name=claim.name)
    if rng.chance(50):
        first = f"{claim.when} in {claim.place} {told}"
    else:
        first = f"{told} {claim.when} in {claim.place}"
    rest = [rng.pick(AMOUNT).format(amount=money(claim.euros), name=claim.name)]
    if claim.injury:
        rest.append(claim.injury)
    elif rng.chance(60):
        rest.append(rng.pick(UNHURT))
    rng.shuffle(rest)
    return " ".join(upper_first(sentence) + "." for sentence in [first, *rest])

"""The verbs that the rules know: what is stated by which of their forms, and what has to follow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["COPULAS", "VERBS", "Verb"]


@dataclass(frozen=True, slots=True)
class Verb:
    """One thing that a verb can state.

    Attributes:
        predicate: What it states.
        after: The words that have to follow the verb; empty: the object follows at once.
        kind: What the object is, where its words do not say.
        plain: Forms that follow `I`: `live`.
        third: Forms that follow a name: `lives`.
        past: Forms that follow either: `lived`.
        doing: Forms that follow `am` or `been`: `living`.
        counted: Whether the object has to have an article, a number or `my` before it, or be a name.
        proper: Whether the object has to be a name.
        deed: Whether a deed follows, not a thing.
    """

    predicate: str
    after: tuple[str, ...]
    kind: str
    plain: frozenset[str]
    third: frozenset[str]
    past: frozenset[str]
    doing: frozenset[str]
    counted: bool = False
    proper: bool = False
    deed: bool = False


# predicate | plain third past doing (alternatives by /, none: -) | what follows (alternatives by ,) | kind |
_TABLE = """
lives_in | live lives - living | in, on, at | place |
lived_in | - - lived - | in, at | place |
lives_with | live lives lived living | with | person |
grew_up_in | - - grew/grown - | up in, up on, up near | place |
comes_from | come comes came - | from | place | proper
moved_to | move moves moved - | to, into, back to | place |
is_moving_to | - - - moving | to, into | place |
moved_from | move moves moved moving | from, away from | place | proper
stays_at | stay stays stayed staying | at, in | place |
stays_with | stay stays stayed staying | with | person | proper
works_at | work works worked working | at, for | organisation |
works_in | work works worked working | in | topic |
works_as | work works worked working | as | topic |
works_on | work works worked working | on | topic |
teaches | teach teaches taught teaching | - | activity |
studies | study studies studied studying | -, for | topic |
majors_in | major majors majored majoring | in | topic |
graduated_from | graduate graduates graduated graduating | from | organisation |
likes | love/enjoy/adore/like loves/enjoys/adores/likes loved/enjoyed/adored loving/enjoying | - | topic |
likes_to | love/like loves/likes - - | to | activity | deed
prefers | prefer prefers preferred preferring | - | topic |
dislikes | hate/dislike/detest hates/dislikes/detests hated/disliked hating | - | topic |
misses | miss misses missed missing | - | topic |
plays | play plays played playing | - | activity |
plays_in | play plays played playing | in | organisation |
sings | sing sings sang singing | - | work |
sings_in | sing sings sang singing | in | organisation |
reads | read reads read reading | - | work |
watches | watch watches watched watching | - | work |
listens_to | listen listens listened listening | to | topic |
bought | buy buys bought/purchased/ordered buying | - | object |
bought | - - picked - | up | object | counted
got | - - got/won - | - | object | counted
adopted | adopt adopts adopted adopting | - | animal |
has | have/own has/owns had/owned - | - | object | counted
made | make/create creates made/created making/creating | - | object | counted
made | build/bake builds/bakes built/baked building/baking | - | object | counted
made | design/draw designs/draws designed/drew designing/drawing | - | object | counted
made | knit/sew knits/sews knitted/sewed knitting/sewing | - | object | counted
made | carve/craft carves/crafts carved/crafted carving/crafting | - | object | counted
painted | paint paints painted painting | - | work |
wrote | write writes wrote/written writing | - | work |
visited | visit visits visited visiting | - | place |
visited | - - went/gone/travelled/traveled/been - | to, back to, over to, out to, down to, up to | place |
went | - - went/gone - | -, for, on | activity |
goes_to | go goes - - | to | place |
goes | go goes - - | - | activity |
returned_from | - - returned/back - | from | place |
busy_with | - - - busy | with, - | activity |
returned_from | - - got/came - | back from | place |
attended | attend attends attended attending | - | event |
joined | join joins joined joining | - | organisation |
joined | sign signs signed signing | up for | event |
joined | - - enrolled/registered - | in, for | organisation |
applied_to | apply applies applied applying | to, for | organisation |
volunteers_at | volunteer volunteers volunteered volunteering | at, for, with, in | organisation |
took_part_in | participate participates participated participating | in | event |
took_part_in | compete competes competed competing | in | event |
took_part_in | take takes took taking | part in | event |
performed_at | perform performs performed performing | at, in | event |
performed | perform performs performed performing | - | work |
organised | organize organizes organized organizing | - | event | counted
organised | organise organises organised organising | - | event | counted
organised | host/arrange hosts/arranges hosted/arranged hosting | - | event | counted
plans | - - planned planning | - | event | counted
started | start/launch starts/launches started/began/launched starting/launching | - | activity |
started | open opens opened/founded opening | - | activity |
stopped | quit quits quit/stopped quitting | - | activity |
left | leave leaves left leaving | - | organisation | counted
lost | lose loses lost losing | - | object | counted
finished | finish finishes finished/completed finishing | - | activity | counted
learns | learn learns learned/learnt learning | -, about | topic |
learns_to | learn learns learned/learnt learning | to, how to | activity | deed
practises | practice/practise practices/practises practiced/practised practicing/practising | - | activity |
trains_for | train trains trained training | for | event |
tries | - - tried trying | -, out | activity |
takes | take takes took/taken taking | - | activity | counted
talked_about | - - talked talking | about | topic | counted
received | - - received - | - | object | counted
met | meet meets met meeting | -, up with, with | person | counted
saw | - - saw/seen/spotted - | - | object | counted
cooks | cook cooks cooked cooking | - | object |
planted | plant/grow plants/grows planted/grew planting/growing | - | object |
collects | collect collects collected collecting | - | object |
supports | support supports supported supporting | - | topic |
runs | run runs ran running | - | organisation | counted
drives | drive drives drove driving | - | object | counted
speaks | speak speaks spoke speaking | - | topic | proper
celebrated | celebrate celebrates celebrated celebrating | - | event |
found | - - found/discovered - | - | object | counted
hiked | hike hikes hiked hiking | -, in, up, to | place | counted
camped_in | camp camps camped camping | in, at, near | place |
donated | donate donates donated donating | -, to | object |
uses | use uses used using | - | object | counted
wants_to | want/wish wants/wishes wanted wanting | to | activity | deed
wants | want wants wanted - | - | object | counted
hopes_to | hope hopes hoped hoping | to | activity | deed
plans_to | plan/intend/aim plans/intends/aims planned/decided planning/planned | to | activity | deed
plans_to | - - - going | to | activity | deed
is_going_to | - - - going/heading | to | place | counted
plans_to | plan plans planned planning | on | activity |
considers | consider considers considered considering | - | activity |
considers | think - - thinking | of, about | activity |
looks_forward_to | look looks looked looking | forward to | event |
looks_for | look looks looked looking/searching | for | object | counted
researches | research researches researched researching | -, into | topic |
knows | know knows knew/known - | - | person | proper
married | marry marries married marrying | - | person | proper
believes_in | believe believes believed believing | in | topic |
cares_for | care cares cared caring | for, about | topic |
dreams_of | dream dreams dreamed/dreamt dreaming | of, about | activity |
focuses_on | focus focuses focused focusing | on | topic |
booked | book books booked booking | - | object | counted
rents | rent rents rented renting | - | object | counted
owns | own owns owned owning | - | object |
drinks | drink drinks drank drinking | - | object |
eats | eat eats ate eating | - | object |
wears | wear wears wore wearing | - | object | counted
repaired | fix/repair fixes/repairs fixed/repaired fixing/repairing | - | object | counted
renovates | renovate renovates renovated renovating | - | object |
makes | - makes - - | - | object | counted
delivers_to | deliver delivers delivered delivering | to | place |
does | do does did/tried doing | - | activity |
explores | explore explores explored exploring | - | topic |
"""


def _read(table: str) -> Mapping[str, Sequence[Verb]]:
    index: dict[str, list[Verb]] = defaultdict(list)
    for line in table.strip().splitlines():
        predicate, forms, follows, kind, flags = (part.strip() for part in line.split("|"))
        plain, third, past, doing = (
            frozenset() if form == "-" else frozenset(form.split("/")) for form in forms.split()
        )
        for after in follows.split(","):
            following = () if after.strip() == "-" else tuple(after.split())
            given = flags.split()
            verb = Verb(
                predicate, following, kind, plain, third, past, doing,
                "counted" in given, "proper" in given, "deed" in given,
            )  # fmt: skip
            for form in plain | third | past | doing:
                index[form].append(verb)
    # The one that asks for most words is tried first.
    return {form: sorted(verbs, key=lambda verb: -len(verb.after)) for form, verbs in index.items()}


VERBS = _read(_TABLE)
"""By form: what it can state, the longest first."""

# after "am" or "is": words | predicate | kind | flags
_COPULAS = """
married to | married_to | person | proper
engaged to | engaged_to | person | proper
allergic to | allergic_to | object |
from | comes_from | place | proper
born in | born_in | place | proper
based in | lives_in | place |
into | likes | topic |
fond of | likes | topic |
keen on | likes | topic |
obsessed with | likes | topic |
addicted to | likes | topic |
a fan of | likes | topic |
a big fan of | likes | topic |
a huge fan of | likes | topic |
passionate about | passionate_about | topic |
interested in | interested_in | topic |
excited about | excited_about | event |
excited for | excited_about | event |
proud of | proud_of | topic |
afraid of | fears | topic |
scared of | fears | topic |
good at | good_at | activity |
involved in | takes_part_in | topic |
involved with | takes_part_in | topic |
part of | member_of | organisation |
a member of | member_of | organisation |
in charge of | in_charge_of | topic |
thankful for | thankful_for | topic |
grateful for | thankful_for | topic |
named after | named_after | person | proper
in | is_in | place | proper
"""


def _read_copulas(table: str) -> Sequence[tuple[tuple[str, ...], str, str, bool]]:
    found = []
    for line in table.strip().splitlines():
        words, predicate, kind, flags = (part.strip() for part in line.split("|"))
        found.append((tuple(words.split()), predicate, kind, "proper" in flags))
    return sorted(found, key=lambda entry: -len(entry[0]))


COPULAS = _read_copulas(_COPULAS)
"""What follows a form of `be`: the words, the predicate, the kind of object, whether it has to be a name."""

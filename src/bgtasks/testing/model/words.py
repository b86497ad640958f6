"""Lists of English words that the rules go by. All in small letters."""

from __future__ import annotations

__all__ = [
    "ANIMALS",
    "BELONGINGS",
    "DETERMINERS",
    "EMPTY_HEADS",
    "ENDS",
    "FILLERS",
    "KIN",
    "MONTHS",
    "NUMBERS",
    "OPENERS",
    "ORGANISATIONS",
    "PLACES",
    "PRAISE",
    "PRONOUNS",
    "ROLES",
    "STATES",
    "WEEKDAYS",
    "word_set",
]


def word_set(text: str) -> frozenset[str]:
    """The words of `text`, which are parted by blanks."""
    return frozenset(text.split())


PRONOUNS = word_set("""
    i me we us you he him she her it they them this that these those who whom what which whoever
    whatever someone somebody anyone anybody everyone everybody nobody something anything everything
    nothing none one ones myself yourself himself herself itself ourselves themselves mine yours hers
    theirs ours each other another others y'all ya u there here some any all both either such same so
    how why where when
""")

DETERMINERS = word_set("a an the my our")
"""Left out before a thing."""

FOREIGN = word_set("""
    your his her their its whose this that these those no any every each what which
""")

NUMBERS = word_set("""
    one two three four five six seven eight nine ten eleven twelve twenty several many
""")

ENDS = word_set("""
    with at in on for from to by about into onto over after before during since until till as than like
    through throughout around near next across along against among between behind beside besides beyond
    within towards toward upwards downwards without under above below off out up down away back per via
    and or but so because cause 'cause cuz when while whenever where wherever which who whose that if
    then though although unless whether plus yet not never is was are were am be been being has have had
    having do does did will would can could should may might must shall makes made gives gave keeps kept
    helps helped brings brought feels felt means seems looks reminds comes goes gets got went i me we us
    you he him she her it they them this these those there here yesterday today tomorrow tonight now
    lately recently ago again too also together once twice already soon ever later earlier early late
    last every each all instead anymore anyway everyday always sometimes often usually really very just
    even only still actually definitely especially well more most better tho right lol haha btw
    currently outdoors indoors outside inside daily weekly alone thanks whole-heartedly forever
    afterwards afterward anytime anywhere everywhere somewhere home
""") | frozenset({"while", "thru", "w/", "&", "=", "+", "b/c", "bc"})
"""A phrase for a thing ends before these."""

FILLERS = word_set("""
    just also really finally recently still now always actually even totally already both all definitely
    absolutely truly certainly probably currently usually often sometimes mostly mainly only simply
    kinda sorta sort-of super so very pretty quite honestly basically seriously obviously lately once
    again too never-endingly ever originally newly happily luckily officially normally generally first
    personally completely especially gladly proudly once-again myself
""")
"""Passed over between subject, verb and object."""

OPENERS = word_set("""
    wow hey hi hello yeah yep yes yup yay no nope nah oh ooh ah aw aww well so and but also plus thanks
    thx ok okay right sure haha hah lol btw actually honestly anyway anyways recently lately yesterday
    today tonight tomorrow now then still cool nice great awesome sweet totally absolutely definitely
    exactly congrats sorry omg woah whoa woohoo gosh man dude hmm um uh personally luckily fortunately
    unfortunately sadly afterwards later earlier meanwhile however overall finally cuz because since
    though besides anyhow alright apparently basically really amazing wonderful glad thankfully
    otherwise first secondly second lastly similarly instead ha hehe phew yikes ugh ouch damn agreed
    indeed good currently once for-the-record therefore additionally moreover furthermore news hooray
    bravo kochani excellent lovely
""")

PRAISE = word_set("""
    great amazing awesome cool nice lovely wonderful fantastic fabulous incredible beautiful gorgeous
    stunning super really so very pretty such fun funny good best perfect special favorite favourite
    favourites inspiring exciting interesting delicious tasty cute adorable sweet powerful meaningful
    huge big little own whole entire few couple lot lots bunch ton tons kind sort type bit tiny certain
    brand-new new other different similar next last first only important more most less much many some
    any several extra various next-level quick crazy insane epic memorable unforgettable relaxing simple
    proper total true real rewarding therapeutic challenging tough hard easy small heartfelt magical
    awful terrible enough classical cherished beloved thrilling breathtaking wild peaceful quite rough
""")
"""Judgements; left out before a thing, and no thing by themselves."""

LEFT_OUT = word_set("""
    great amazing awesome cool nice lovely wonderful fantastic fabulous incredible beautiful gorgeous
    stunning super really so very pretty such special favorite favourite inspiring exciting interesting
    delicious tasty cute adorable sweet powerful meaningful few couple lot lots bunch ton tons various
    several some many more own whole entire new brand-new certain other perfect quick insane epic
    memorable unforgettable relaxing first most simply all both just rewarding thrilling breathtaking
    quite lil
""")
"""Of the judgements, those that say nothing of what thing it is."""

EMPTY_HEADS = word_set("""
    thing things stuff way ways lot lots bit time times day days week weekend month year moment moments
    morning evening night while chance idea ideas reason reasons feeling feelings sense part parts fun
    blast ball difference bunch kind sort type types kinds problem problems question questions answer
    people person guy guys someone place places point matter fact word words help need look break try go
    side start end change changes effort efforts step steps goal goals plan plans dream dreams hope
    hopes opportunity opportunities experience experiences luck best worst most rest result results
    progress trouble support advice info information news sound sounds much more less enough mind vibe
    vibes energy positivity passion encouragement challenge challenges issue issues situation case
    number amount success deal impact importance courage strength inspiration motivation joy happiness
    love comfort confidence connection connections talk chat conversation setback setbacks obstacle
    obstacles focus clarity peace memories memory story stories turn details detail life world heart
    hearts picture pictures pic pics photo photos ones both hand hands eye eyes mess respect interest
    impression respects share pride ability pleasure difficulties difficulty spirit spirits spotlight
    highlight favorite fave favourite big new looks fan sight hour hours minute minutes second seconds
    thanks thought thoughts hard tough shot shots key trick it'll setup beat everything anything
    something nothing power beauty freedom tons ton struggle struggles reminder message journey growth
    bond bonds lesson lessons touch possibility possibilities hang risk risks responsibility environment
    atmosphere feedback attitude outlook hard-work work bad good view views boost step-by-step rush
    future past present process quality tips tip doubt choice choices decision decisions appreciation
    gratitude resilience emotions emotion line name names call calls say vote clue control attention
    care charge room space advantage option options faith trust understanding knowledge example
    perspective perspectives effect purpose role roles excitement thrill contrast company smile smiles
    nose mouth voice cause causes response responses reaction turnout laugh laughs path paths cup cups
    slice slices bottom top middle corner edge front positive negative yard bed arms head back
    side-by-side term terms opinion opinions worries worry hold
""")
"""Not worth an entity as the last word of a phrase."""

KIN = word_set("""
    mother father mom mum dad mama papa sister brother son daughter husband wife aunt uncle cousin niece
    nephew grandmother grandfather grandma grandpa gran granny partner fiancé fiancée fiance fiancee
    boyfriend girlfriend friend neighbour neighbor colleague boss roommate flatmate stepmother
    stepfather stepson stepdaughter twin buddy pal bestie teacher mentor coach kid child baby
""")

ANIMALS = word_set("""
    dog dogs cat cats puppy puppies pup pups kitten kittens kitty horse horses fox foxes vixen terrier
    rabbit rabbits hamster hamsters bird birds parrot parrots fish turtle turtles tortoise guinea pig
    pigs snake lizard hen hens chicken chickens duck ducks goat goats sheep cow cows frog frogs
    retriever labrador poodle beagle husky bulldog spaniel collie shepherd snail pony ponies squirrel
    badger bear bears
""")

ROLES = word_set("""
    teacher engineer vet doctor nurse student lawyer banker baker painter artist dancer musician writer
    author producer postman physician surgeon gp counselor counsellor therapist programmer developer
    designer architect accountant librarian chef cook driver pilot photographer manager director
    journalist editor scientist researcher professor tutor trainer coach instructor carpenter plumber
    electrician farmer gardener mechanic salesman salesperson waiter waitress bartender barista cashier
    firefighter policeman soldier veteran sailor actor actress singer drummer guitarist pianist cellist
    violinist streamer blogger gamer volunteer mentor entrepreneur freelancer consultant analyst
    secretary chairman chair president mayor politician activist keeper poet novelist screenwriter
    filmmaker comedian model athlete swimmer runner climber hiker cyclist surfer skater boxer parent mom
    mum dad mother father grandmother grandfather widow widower vegetarian vegan christian muslim
    buddhist jew hindu atheist introvert extrovert foodie bookworm beginner immigrant refugee
    veterinarian dentist optician pharmacist paramedic detective judge
""")

STATES = word_set("""
    vegetarian vegan single married engaged pregnant divorced widowed retired unemployed transgender
    trans nonbinary gay lesbian bisexual bilingual autistic deaf blind diabetic religious christian
    muslim jewish buddhist hindu adopted homeless self-employed left-handed asthmatic
""")

PLACES = word_set("""
    park beach mountains mountain lake museum forest sea ocean river island city town village country
    church restaurant cafe café bar club gym library zoo school college university store shop market
    mall theatre theater cinema hospital clinic farm garden shelter studio greenhouse boathouse shed
    cellar bakery street house home apartment flat cabin camp campsite aquarium gallery trail trails
    woods coast canyon desert waterfall state national stadium station airport hotel hostel hill hills
    valley castle bridge plaza square center centre playground office factory surgery pub attic kitchen
    room basement
""")

ORGANISATIONS = word_set("""
    college university company firm bank clinic bakery surgery school hospital agency council committee
    charity organization organisation startup studio shop store library church group team band choir
    club society association shelter gym café cafe restaurant center centre dash ferries vets nonprofit
    foundation party department station
""")

EVENTS = word_set("""
    race parade festival concert wedding conference party show picnic reunion workshop competition
    tournament meeting event fair exhibition exhibit class ceremony birthday anniversary march rally
    marathon gala dinner fundraiser trip vacation holiday walk recital performance game match gathering
    retreat funeral interview campaign gig convention tour barbecue bbq camping supper hour hike
    roadtrip program
""")

WORKS = word_set("""
    book books novel novels song songs movie movies film films painting paintings poem poems album
    albums series story recipe recipes play script screenplay tv mural sculpture portrait article blog
    waltz
""")

WEEKDAYS = word_set("monday tuesday wednesday thursday friday saturday sunday")

MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
    "november", "december",
)  # fmt: skip

BELONGINGS = word_set("""
    business studio store shop company blog channel website campaign career internship practice tent
    bike bicycle car van truck boat canoe camera guitar piano violin clarinet cello drum drums saxophone
    ring necklace bracelet tattoo tattoos house home apartment flat garden allotment plot shed kitchen
    cellar attic greenhouse farm cabin book books painting paintings drawing drawings sculpture
    sculptures poem poems novel album song songs recipe recipes cake cookies pots bowl vase pottery
    artwork mural kids children dog dogs cat cats pets team class classes workshop workshops students
    clients customers routine routines choreography dress shoes hat scarf clothes clothing wheelbarrow
    tomatoes beans onions roses flowers plants collection project projects presentation speech thesis
    degree hometown  church gym club band choir unit crew squad passport
    workout workouts parents colleagues coworkers workmates neighbours neighbors siblings mentors
    grandkids phone laptop computer console games telescope motorcycle backpack journal diary scrapbook
    quilt fireplace kayak surfboard skateboard brand logo product products inventory menu bakery
    restaurant café cafe
""")
"""What `my` before it says something: one has it, or does it, for longer than a moment."""

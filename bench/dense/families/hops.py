"""Questions whose answer lies several documents away: who founded what, where that is, and on which river.

Is: seeded documents with facts in changing words, among many that name the same people, companies and towns and say
something else of them; a program that goes from one to the next. Is not: a data set of others.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping

from bench.dense.families.oolong import with_values
from bench.dense.families.wording import ACTS, THINGS
from bench.dense.tasks import CHARS_A_TOKEN, Family, Paper, Task

SYLLABLES = ("ka", "lo", "mir", "ten", "vas", "rud", "el", "sho", "bran", "ni", "dor", "pell", "fa", "gri", "um", "osk")
RELATIONS: Mapping[str, tuple[str, ...]] = {
    "company": (
        "{of} began a firm of the name {is_} with two friends and a loan.",
        "It was {of} who brought {is_} into being, a house that trades in {things}.",
        "Before long {of} had set up {is_}, which soon sold {things} everywhere.",
    ),
    "town": (
        "The offices of {of} stand in {is_}, behind the old market.",
        "Whoever writes to {of} writes to {is_}.",
        "{of} never moved: its workshops are in {is_} to this day.",
    ),
    "river": (
        "In {of} one hears the {is_} from every window.",
        "The bridges of {of} cross the {is_}.",
        "{of} grew where the {is_} becomes wide enough for ships.",
    ),
}
OTHER_WORDS = (
    "{name} is spoken of with respect wherever people {act}.",
    "There is a song about {name} and the {things}.",
    "An old map shows {name} beside a heap of {things}.",
    "Few know that {name} was once mistaken for another.",
)
PROMPTS = {
    "company": "Which company did {of} found? Answer with its name alone, or NOT FOUND if the text does not say it.",
    "town": "In which town is {of}? Answer with its name alone, or NOT FOUND if the text does not say it.",
    "river": "On which river does {of} lie? Answer with its name alone, or NOT FOUND if the text does not say it.",
}
QUESTIONS = {
    "two hops": ("company", "town"),
    "three hops": ("company", "town", "river"),
}
ASKED = {
    "two hops": "In which town is the company that {of} founded? Give your final answer in the form 'Answer: name'.",
    "three hops": "On which river lies the town in which the company that {of} founded is? Give your final answer in "
    "the form 'Answer: name'.",
}
SENTENCES_A_DOCUMENT = 12
CHAINS_A_DOCUMENT = 0.5
PROGRAM = """
import re
answers = {}
for kind, name, relations in __CHAINS__:
    for relation in relations:
        about = [text for text in documents.values() if re.search(rf"\\b{name}\\b", text)]
        got = llm_query_batched(__PROMPTS__[relation].replace("{of}", name), about)
        said = {one for one in got if one and one != "NOT FOUND"}
        assert len(said) == 1, (kind, name, relation, said, [one for one in got if not one][:1])
        (name,) = said
    answers[kind] = f"Answer: {name}"
len(documents)
"""


def paper(tokens: int, seed: int) -> Paper:
    """Documents of about that length in all."""
    rng = random.Random(f"hops {tokens} {seed}")
    count = max(8, tokens * CHARS_A_TOKEN // (SENTENCES_A_DOCUMENT * 58))
    names = _names(rng)
    chains = [[next(names) for _ in range(4)] for _ in range(max(2, int(count * CHAINS_A_DOCUMENT)))]
    documents: list[list[str]] = [[] for _ in range(count)]
    for chain in chains:
        places = rng.sample(range(count), 3)  # each fact in a document of its own
        for place, words, of, is_ in zip(places, RELATIONS.values(), chain, chain[1:], strict=False):
            documents[place].append(rng.choice(words).format(of=of, is_=is_, things=rng.choice(THINGS)))
    everybody = [name for chain in chains for name in chain]
    for sentences in documents:
        while len(sentences) < SENTENCES_A_DOCUMENT:
            name, act, things = rng.choice(everybody), rng.choice(ACTS), rng.choice(THINGS)
            sentences.append(rng.choice(OTHER_WORDS).format(name=name, act=act, things=things))
        rng.shuffle(sentences)
    asked = list(zip(QUESTIONS, rng.sample(chains, len(QUESTIONS)), strict=True))
    tasks = tuple(
        Task(kind, ASKED[kind].format(of=chain[0]), chain[len(QUESTIONS[kind])], "exact") for kind, chain in asked
    )
    program = with_values(PROGRAM, chains=[(kind, chain[0], QUESTIONS[kind]) for kind, chain in asked], prompts=PROMPTS)
    texts = {f"{number:05}.txt": " ".join(sentences) + "\n" for number, sentences in enumerate(documents)}
    return Paper("hops", f"hops, 2^{tokens.bit_length() - 1}, seed {seed}", texts, tasks, program)


def _names(rng: random.Random) -> Iterator[str]:
    """Names that are all different, and none a part of another's words."""
    seen = set()
    while True:
        name = "".join(rng.choices(SYLLABLES, k=4)).capitalize()
        if name not in seen:
            seen.add(name)
            yield name


def answer(prompt: str, text: str) -> str | None:
    """The name of what stands in that relation."""
    for relation, words in PROMPTS.items():
        asked = re.fullmatch(re.escape(words).replace(re.escape("{of}"), r"(\w+)"), prompt)
        if asked is None:
            continue
        for sentence in re.split(r"(?<=[.]) ", text.strip()):
            for template in RELATIONS[relation]:
                pattern = re.escape(template).replace(re.escape("{of}"), re.escape(asked[1]))
                pattern = pattern.replace(re.escape("{is_}"), r"(\w+)").replace(re.escape("{things}"), r"[\w ]+")
                if found := re.fullmatch(pattern, sentence):
                    return found[1]
        return "NOT FOUND"
    return None


FAMILY = Family("hops", paper, answer)

"""The stand-in for the novel: a text made by a grammar, stored as Project Gutenberg stores its books.

UTF-8 with a byte-order mark, lines of at most 72 characters that end in CR LF, a header and a footer
around the book, curly quotes, _emphasis_. Words of a kind appear in places of a kind, as in any
language, which is all that an embedding needs. The file's name is that of Pride and Prejudice, so that
the real book takes the stand-in's place.
"""

import random
import textwrap
from pathlib import Path

PEOPLE = ["Anna", "Clara", "Edith", "Martha", "Henry", "Robert", "Walter", "Edmund"]
TITLES = ["Mrs. Hale", "Miss Grey", "Mr. Lowell", "Mr. Finch"]
RELATIVES = ["mother", "father", "sister", "brother", "aunt", "uncle", "cousin"]
ANIMALS = ["dog", "cat", "horse", "goat", "sheep", "cow"]
FOODS = ["bread", "cheese", "soup", "cake", "fish", "porridge"]
DRINKS = ["tea", "coffee", "milk", "water", "cider"]
PLACES = ["garden", "library", "kitchen", "church", "village", "harbour", "meadow", "parlour"]
TIMES = ["morning", "evening", "afternoon", "night"]
FEELINGS = ["happy", "sad", "angry", "tired", "cheerful", "weary", "proud", "anxious"]
WEATHER = ["rainy", "sunny", "windy", "foggy", "cold", "warm"]
SAYING = ["said", "answered", "replied", "whispered", "cried"]
GOING = ["walked", "ran", "hurried", "rode", "wandered"]
ANIMAL_DOING = ["slept", "waited", "rested", "hid"]
LIKING = ["liked", "loved", "admired", "missed"]
PROPERTY = ["letter", "book", "bonnet", "parasol", "candle"]


class _Writer:
    def __init__(self, seed):
        self.choose = random.Random(seed).choice
        self.random = random.Random(seed + 1).random

    def person(self):
        if self.random() < 0.6:
            return self.choose(PEOPLE)
        if self.random() < 0.5:
            return self.choose(TITLES)
        return f"her {self.choose(RELATIVES)}"

    def place(self):
        return f"the {self.choose(PLACES)}"

    def clause(self):
        """A statement without its capital and full stop."""
        c, someone = self.choose, self.person()
        kind = c(range(10))
        if kind == 0:
            return f"{someone} ate some {c(FOODS)} and drank a cup of {c(DRINKS)}"
        if kind == 1:
            return f"{someone} {c(GOING)} to {self.place()} in the {c(TIMES)}"
        if kind == 2:
            return f"the {c(ANIMALS)} {c(ANIMAL_DOING)} behind {self.place()}"
        if kind == 3:
            return f"it was a {c(WEATHER)} {c(TIMES)}, and {someone} was {c(FEELINGS)}"
        if kind == 4:
            return f"{someone} {c(LIKING)} {self.person()} {c(['very much', 'a little', 'in secret'])}"
        if kind == 5:
            return f"{someone} fed the {c(ANIMALS)} and {c(GOING)} from {self.place()} to {self.place()}"
        if kind == 6:
            return f"{someone} felt {c(FEELINGS)} and poured some {c(DRINKS)}"
        if kind == 7:
            return f"{someone} found a {c(PROPERTY)} in {self.place()}"
        if kind == 8:
            return f"{someone} bought {c(FOODS)} for the {c(ANIMALS)} on a {c(WEATHER)} {c(TIMES)}"
        return f"{someone} gave the {c(PROPERTY)} to {self.person()}"

    def sentence(self):
        text = self.clause()
        text = text[0].upper() + text[1:]
        roll = self.random()
        if roll < 0.45:
            return text + "."
        if roll < 0.6:
            return f"{text}; {self.clause()}."
        said = f"{self.choose(SAYING)} {self.person()}"
        if roll < 0.75:
            return f"“{text},” {said}."
        if roll < 0.9:
            opening = self.choose(["Impossible", "Indeed", "My dear", "Oh"])
            return (
                f"“{opening}, {self.choose(PEOPLE + TITLES)}, {opening.lower()},” {said}; “{self.clause()}!”"
            )
        return f"{text}, _{self.choose(['not', 'never', 'always'])}_ without a {self.choose(PROPERTY)}."

    def paragraph(self):
        return " ".join(self.sentence() for _ in range(self.choose([1, 1, 2, 3, 4])))


def generate(folder: Path):
    """Write `1342-0.txt`: 40 chapters of nonsense with a grammar, about 300 KB."""
    writer = _Writer(1342)
    header = [
        "A Generated Novel, drawn by a grammar",
        "",
        "This text was generated for chapter 4. It stands in for a book of",
        "Project Gutenberg, whose format it has. It is nobody's work and free to use.",
        "",
        "Title: Tea and Parasols",
        "",
        "Language: English (more or less)",
        "",
        "Character set encoding: UTF-8",
        "",
        "*** START OF THIS GENERATED EBOOK TEA AND PARASOLS ***",
        *[""] * 4,
        "TEA AND PARASOLS",
    ]
    lines = header
    for chapter in range(1, 41):
        lines += ["", "", "", f"Chapter {chapter}", "", ""]
        for _ in range(40):
            lines += [*textwrap.wrap(writer.paragraph(), 72), ""]
    lines += ["", "*** END OF THIS GENERATED EBOOK TEA AND PARASOLS ***", "", "End of the file."]
    (folder / "1342-0.txt").write_bytes("\ufeff".encode() + "\r\n".join(lines).encode() + b"\r\n")

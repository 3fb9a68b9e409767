"""The words that synthetic reviews are put together from."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Category:
    """One kind of product."""

    name: str
    brands: tuple[str, ...]
    nouns: tuple[str, ...]
    remarks: tuple[str, ...]


CATEGORIES: Final = (
    Category(
        "Household Cleaning",
        ("Glimmerol", "Brushwick", "Sudsworth"),
        ("floor cleaner", "wipes", "dish soap", "stain remover"),
        (
            "It cuts through grease in the kitchen.",
            "The smell is fresh and light.",
            "The bottle lasts for weeks.",
            "My floors have never looked like this.",
        ),
    ),
    Category(
        "Movies & Music",
        ("Lanternfilm", "Vinylux", "Mooncast"),
        ("film", "album", "box set", "concert recording"),
        (
            "The soundtrack carries the story.",
            "The cast knows what it is doing.",
            "I played it twice the same evening.",
            "The second half is slower than the first.",
        ),
    ),
    Category(
        "Beauty & Care",
        ("Petalune", "Dewmire", "Silkenfold"),
        ("shampoo", "face cream", "lip balm", "body wash"),
        (
            "My skin feels different after a week.",
            "The scent stays all day.",
            "A small amount goes a long way.",
            "My hair is easier to comb.",
        ),
    ),
    Category(
        "Home & Kitchen",
        ("Copperhob", "Nestling", "Oakmuddle"),
        ("pan", "storage box", "kettle", "pillow"),
        (
            "It fits in our small kitchen.",
            "Cleaning it takes a minute.",
            "The colour matches the picture.",
            "We use it every morning.",
        ),
    ),
    Category(
        "Food & Drink",
        ("Grainfable", "Peppernook", "Brambleroast"),
        ("cookies", "coffee", "snack bar", "cereal"),
        (
            "The taste is not too sweet.",
            "My children ask for it.",
            "It goes well with breakfast.",
            "The pack was sealed and fresh.",
        ),
    ),
    Category(
        "Electronics",
        ("Voltquill", "Pixelmoor", "Hummingtron"),
        ("headphones", "lamp", "speaker", "charger"),
        (
            "The battery holds two days.",
            "Setting it up took five minutes.",
            "The cable is a bit short.",
            "The sound is clear at any volume.",
        ),
    ),
)

STYLES: Final = ("Classic", "Eco", "Deluxe")

OPENINGS: Final = {
    1: (
        "This {noun} is the worst I have ever bought.",
        "Terrible {noun}, it broke at once.",
        "I want my money back for this {brand} {noun}.",
    ),
    2: ("I expected more of this {noun}.", "This {noun} is disappointing.", "Not a good {noun} from {brand}."),
    3: ("The {noun} is okay, nothing more.", "An average {noun}.", "This {brand} {noun} has good and bad sides."),
    4: ("A good {noun} with small flaws.", "I like this {noun} from {brand}.", "Quite a nice {noun} overall."),
    5: (
        "I love this {noun}!",
        "The best {noun} I ever had.",
        "This {brand} {noun} is wonderful.",
        "Excellent {noun}, works perfectly.",
    ),
}
REMARKS: Final = {
    1: ("It did not even work once.", "The seller never answered.", "It smelled strange out of the box."),
    2: ("It stopped working after a few days.", "The price is too high for this."),
    3: ("Some days it works, some days it does not.", "For the price it is acceptable."),
    4: ("Only the packaging could be better.", "It took some time to get used to."),
    5: ("My whole family uses it.", "I have already told my friends.", "Worth every cent.", "It arrived a day early."),
}
CLOSINGS: Final = {
    1: ("Stay away.", "It went into the bin after {number} days.", "Never again."),
    2: ("I would not buy it again.", "I used it {number} times and gave up."),
    3: ("Maybe it suits someone else.", "After {number} weeks I am still not sure."),
    4: ("I would buy it again.", "Good after {number} weeks of use."),
    5: ("Highly recommended!", "I bought {number} more as presents.", "After {number} months still as good as new."),
}
TITLES: Final = {
    1: ("Awful", "Do not buy", "Waste of money"),
    2: ("Disappointed", "Not what I hoped for"),
    3: ("It is okay", "Average"),
    4: ("Good", "Quite happy", "Nice product"),
    5: ("Love it", "Perfect", "Great product", "Five stars", "Best ever"),
}
ADJECTIVES: Final = (
    "amber",
    "brisk",
    "calm",
    "dusty",
    "eager",
    "fuzzy",
    "gentle",
    "hazel",
    "ivory",
    "jolly",
    "keen",
    "lucky",
    "mellow",
    "nimble",
)
NOUNS: Final = (
    "otter",
    "badger",
    "comet",
    "daisy",
    "ember",
    "falcon",
    "garnet",
    "harbor",
    "island",
    "jasper",
    "kettle",
    "lantern",
    "meadow",
    "nutmeg",
)
NAMES: Final = ("mike", "chris", "lisa", "rick", "sandy", "tony")
"""Names that many people share, in the real set as here."""

"""What everything of the preset `best` is fitted on."""

from dataclasses import dataclass

from trainer.data.reviews import Reviews
from trainer.encoding.cache import ReviewVectors
from trainer.features.history import AsOfFeatures
from trainer.network.towers import FeatureTables
from twotower.als import ItemFactors
from twotower.features import BERT_COLUMNS, Float32


@dataclass(frozen=True)
class LiftInputs:
    """The reviews of a training period and their features.

    Attributes:
        reviews: in time order.
        rows: the first so many are the training period.
        vectors: embeddings of the reviews.
        space: item factors of the training period.
        features: as of every review.
        tables: user rows and product rows.
    """

    reviews: Reviews
    rows: int
    vectors: ReviewVectors
    space: ItemFactors
    features: AsOfFeatures
    tables: FeatureTables

    @property
    def product_vectors(self) -> Float32:
        """Embeddings of the product texts, of unit length: (products, 384) float32."""
        return self.tables.products[:, BERT_COLUMNS]

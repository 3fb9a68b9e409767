"""Users and their reviews on a terminal."""

import numpy as np
from rich.text import Text

from clients.results import AlsOrigin, RecordedReview, RecordOutcome, UserContext, UserFeatures, UserKind
from clients.tables.terminal import age, count, fields_table, plain
from twotower.terminal import Listing

_SHOWN_PRODUCTS = 10
_ALS_ORIGIN = {
    AlsOrigin.TRAINED: "ALS vector from training",
    AlsOrigin.FOLDED_IN: "ALS vector folded in from the reviews",
    AlsOrigin.NONE: "no ALS vector",
    AlsOrigin.UNSPECIFIED: "ALS vector of unknown origin",
}
_OUTCOMES = {
    RecordOutcome.RECORDED: "recorded",
    RecordOutcome.DUPLICATE: "was there already, nothing changed",
    RecordOutcome.REPLACED: "replaced the one that was there under this id",
    RecordOutcome.ANONYMOUS: "accepted and not stored: the name is shared by many people",
    RecordOutcome.UNSPECIFIED: "answered in a way that this client does not know",
}


def user_line(user_id: str, user: UserContext) -> Text:
    """The user who was answered, and what the answer was computed from."""
    line = plain(user_id).append(": ")
    line.stylize("bold")
    if user.degraded:
        return line.append(
            "degraded: the embedding service did not answer, so cold-start features were used", style="yellow"
        )
    looked_up = "" if user.staleness_s is None else f" (looked up {age(user.staleness_s)} ago)"
    return line.append(_description(user) + looked_up)


def _description(user: UserContext) -> str:
    if user.kind is UserKind.WARM:
        changed = "" if user.feature_age_s is None else f", changed {age(user.feature_age_s)} ago"
        return f"warm user, {count(user.review_count, 'review')}{changed}, {_ALS_ORIGIN[user.als_origin]}"
    if user.kind is UserKind.COLD:
        return "cold user: no review is known, so the average reader's features stand in"
    if user.kind is UserKind.ANONYMOUS:
        return "anonymous user: a name that many people share, so it has no history"
    return "user of an unknown kind"


def user_fields(user: UserFeatures) -> Listing:
    """One user's features; vectors are shown by their lengths."""
    seen, shown = user.seen_product_ids, ", ".join(user.seen_product_ids[:_SHOWN_PRODUCTS])
    more = f" and {len(seen) - _SHOWN_PRODUCTS:,} more" if len(seen) > _SHOWN_PRODUCTS else ""
    fields = {
        "User": user.user_id,
        "Kind": user.kind.value,
        "Reviews": f"{user.review_count:,}",
        "Last changed": "–" if user.age_s is None else f"{age(user.age_s)} ago",
        "Reviewed products": f"{shown}{more}" or "–",
        "Review embedding": f"mean of length {np.linalg.norm(user.bert_mean):.4f}",
        "ALS vector": "–"
        if user.als_origin is AlsOrigin.NONE
        else f"{user.als_origin.replace('_', ' ')}, length {np.linalg.norm(user.als):.4f}",
        "Encoder": user.space.encoder_id,
        "ALS factors": user.space.als_id,
    }
    return fields_table(fields)


def review_count_line(user_id: str, review_count: int) -> Text:
    """How many reviews a user has now."""
    return plain(f"{user_id} has {count(review_count, 'review')} now")


def review_lines(user_id: str, product_id: str, review: RecordedReview) -> list[Text]:
    """What became of a review, and what to know about it."""
    lines = [plain(f"review {review.review_id}: {_OUTCOMES[review.outcome]}")]
    if review.outcome is not RecordOutcome.ANONYMOUS:
        lines.append(review_count_line(user_id, review.review_count))
    if review.text_truncated:
        lines.append(Text("the text is longer than the encoder takes: the rest did not count", style="yellow"))
    if not review.product_known:
        lacking = f"product {product_id} has no ALS factors in this release"
        lines.append(plain(f"{lacking}: the text counts, the purchase pattern does not"))
        lines[-1].stylize("yellow")
    return lines

"""Names of keys, written out a second time by hand."""

from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from embedding_service.redis_store.keys import UserKeys, slot_of_tag, slot_tags


@given(st.text(min_size=1, max_size=64), st.text(min_size=1, max_size=64))
def test_the_hash_tag_is_the_whole_user_and_no_two_users_share_one(a: str, b: str) -> None:
    keys = [UserKeys(a).accumulator("e"), UserKeys(a).log("e"), UserKeys(a).seen("e"), UserKeys(a).als("s")]
    # Redis Cluster hashes what is between the first { and the first } after it.
    tags = {key[key.index("{") + 1 : key.index("}")] for key in keys}
    assert len(tags) == 1
    assert all(key.count("{") == key.count("}") == 1 for key in keys)
    assert (UserKeys(a).log("e") == UserKeys(b).log("e")) == (a == b)


def test_keys_are_those_of_the_document() -> None:
    keys = UserKeys("100% {me}")
    assert keys.accumulator("enc") == "tt:{u:100%25 %7Bme%7D}:acc:enc"
    assert [keys.log("e2"), keys.seen("e2"), keys.als("s1")] == [
        f"tt:{{u:100%25 %7Bme%7D}}:{part}" for part in ("log:e2", "seen:e2", "als:s1")
    ]


def test_every_slot_has_a_tag_that_redis_puts_there() -> None:
    tags = slot_tags()
    assert len(set(tags)) == 16384
    for slot in range(0, 16384, 97):
        assert slot_of_tag(tags[slot]) == slot == key_slot(f"tt:{{{tags[slot]}}}:outbox:e".encode())

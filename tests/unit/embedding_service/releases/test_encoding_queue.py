"""The encoding queue: coalescing, back-pressure, callers who leave."""

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from embedding_service.releases.encoding_queue import EncodingQueue
from tests.support.encoders import HashEncoder, hash_vector
from twotower.encoder import Encoded
from twotower.errors import Overloaded


async def started(encoder: HashEncoder) -> None:
    """Return when the encoder has its first batch in hand."""
    assert await asyncio.to_thread(encoder.started.wait, 30)


async def test_rows_go_to_their_callers() -> None:
    queue = EncodingQueue(HashEncoder("e"), max_queued_texts=100, batch_texts=4)
    texts = [[f"text {i} {j}" for j in range(i % 3 + 1)] for i in range(20)]
    answers = await asyncio.gather(*(queue.encode(group) for group in texts))
    for group, answer in zip(texts, answers, strict=True):
        np.testing.assert_array_equal(answer.fixed_point, [hash_vector(text) for text in group])
        assert answer.token_counts == (3,) * len(group)
    assert queue.queued_texts == 0
    await queue.close()


async def test_texts_that_arrive_while_the_encoder_works_become_one_batch() -> None:
    gate = threading.Event()
    encoder = HashEncoder("e", gate)
    queue = EncodingQueue(encoder, max_queued_texts=100, batch_texts=3)
    first = asyncio.create_task(queue.encode(["a"]))
    await started(encoder)
    later = [asyncio.create_task(queue.encode([name])) for name in "bcde"]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, *later)
    assert encoder.batches == [["a"], ["b", "c", "d"], ["e"]]
    await queue.close()


async def test_a_full_queue_says_when_to_come_back_and_empties_again() -> None:
    gate = threading.Event()
    encoder = HashEncoder("e", gate)
    queue = EncodingQueue(encoder, max_queued_texts=3, batch_texts=8)
    tasks = [asyncio.create_task(queue.encode(["a"]))]
    await started(encoder)
    tasks += [asyncio.create_task(queue.encode(["b", "c"]))]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as caught:
        await queue.encode(["d", "e"])
    assert caught.value.retry_after_s > 0
    gate.set()
    await asyncio.gather(*tasks)
    assert (await queue.encode(["d", "e"])).fixed_point.shape == (2, 384)
    await queue.close()


async def test_a_cancelled_caller_leaves_the_queue_and_harms_no_one() -> None:
    gate = threading.Event()
    encoder = HashEncoder("e", gate)
    queue = EncodingQueue(encoder, max_queued_texts=100, batch_texts=8)
    in_hand = asyncio.create_task(queue.encode(["a"]))
    await started(encoder)
    leaver, stayer = asyncio.create_task(queue.encode(["b"])), asyncio.create_task(queue.encode(["c"]))
    await asyncio.sleep(0)
    leaver.cancel()
    in_hand.cancel()
    await asyncio.gather(leaver, in_hand, return_exceptions=True)
    assert queue.queued_texts == 1
    gate.set()
    np.testing.assert_array_equal((await stayer).fixed_point[0], hash_vector("c"))
    assert encoder.batches == [["a"], ["c"]]
    await queue.close()


async def test_a_caller_waits_for_two_batches_of_another_and_not_for_all_of_it() -> None:
    gate = threading.Event()
    encoder = HashEncoder("e", gate)
    queue = EncodingQueue(encoder, max_queued_texts=1000, batch_texts=4)
    greedy = asyncio.create_task(queue.encode([f"greedy {i}" for i in range(100)], "greedy"))
    await started(encoder)
    modest = asyncio.create_task(queue.encode(["modest"], "modest"))
    await asyncio.sleep(0.05)
    gate.set()
    np.testing.assert_array_equal((await modest).fixed_point[0], hash_vector("modest"))
    assert [batch for batch, texts in enumerate(encoder.batches) if "modest" in texts] == [2]
    np.testing.assert_array_equal((await greedy).fixed_point, [hash_vector(f"greedy {i}") for i in range(100)])
    await queue.close()


async def test_a_caller_has_half_of_the_queue_at_most_and_long_texts_count_for_more() -> None:
    gate = threading.Event()
    encoder = HashEncoder("e", gate)
    queue = EncodingQueue(encoder, max_queued_texts=40, batch_texts=4)
    tasks = [asyncio.create_task(queue.encode(["short"] * 9, "greedy"))]
    await started(encoder)
    with pytest.raises(Overloaded, match="your share"):
        await queue.encode(["x" * 512 * 11], "greedy")
    tasks += [asyncio.create_task(queue.encode(["x" * 512 * 10], "greedy"))]
    tasks += [asyncio.create_task(queue.encode(["y" * 512 * 15], "other"))]
    await asyncio.sleep(0.05)
    with pytest.raises(Overloaded, match="queue is full"):
        await queue.encode(["z"] * 5, "third")
    tasks.pop(1).cancel()
    await asyncio.sleep(0.05)
    gate.set()
    await asyncio.gather(*tasks)
    await queue.encode(["z"] * 20, "greedy")
    assert not queue._lines
    await queue.close()


async def test_a_failing_batch_fails_its_callers_only() -> None:
    class Moody(HashEncoder):
        def encode(self, texts: Sequence[str]) -> Encoded:
            if "bad" in texts:
                raise ValueError("bad text")
            return super().encode(texts)

    queue = EncodingQueue(Moody("e"), max_queued_texts=100, batch_texts=1)
    bad, good = await asyncio.gather(queue.encode(["bad"]), queue.encode(["good"]), return_exceptions=True)
    assert isinstance(bad, ValueError)
    assert isinstance(good, Encoded)
    await queue.close()

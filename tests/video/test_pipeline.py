"""Three stages at the same time."""

import threading

import pytest

from armoe_jax.video.pipeline import run_pipeline

WAIT_SECONDS = 1800  # a bound for threads that would hang if something were wrong


class TestPipeline:
    def test_order_and_bound(self):
        waiting, produced, consumed = [], [], []

        def produce():
            for n in range(50):
                produced.append(n)
                yield n

        def transform(n):
            waiting.append(len(produced) - n)
            return n * n

        run_pipeline(produce(), transform, consumed.append, depth=3)
        assert consumed == [n * n for n in range(50)]
        # Three in the queue, one in hand here, one in the producer's hand.
        assert max(waiting) <= 5

    def test_stages_overlap(self):
        """Item 1 is transformed only once item 2 is produced and item 0 is being consumed."""
        two_produced, zero_consumed = threading.Event(), threading.Event()

        def produce():
            yield 0
            yield 1
            two_produced.set()
            yield 2

        def transform(n):
            if n == 1:
                assert two_produced.wait(WAIT_SECONDS)
                assert zero_consumed.wait(WAIT_SECONDS)
            return n

        def consume(n):
            zero_consumed.set()

        run_pipeline(produce(), transform, consume, depth=2)

    @pytest.mark.parametrize("stage", ["produce", "transform", "consume"])
    def test_first_error_ends_all_stages(self, stage):
        def broken(n):
            if n == 4:
                raise OSError(f"{stage} failed")
            return n

        numbers = (n for n in range(10_000))
        produce = (broken(n) for n in numbers) if stage == "produce" else numbers
        transform = broken if stage == "transform" else (lambda n: n)
        consume = broken if stage == "consume" else (lambda n: None)
        before = threading.active_count()
        with pytest.raises(OSError, match=f"{stage} failed"):
            run_pipeline(produce, transform, consume, depth=2)
        assert threading.active_count() == before

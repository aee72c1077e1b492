"""Request batching (chapter 15, "Request batching").

Requests arrive one by one, but a network computes a batch almost as fast as a single sample. `Batcher`
stands between the two: request threads put a sample in a queue and wait; a worker thread takes what has
gathered, computes it as one batch, and hands every thread its own result.
"""

import math
import threading
import time
from collections import deque

GAP_S = 0.0005  # between two arrivals of one crowd


class Overloaded(Exception):
    """No room in the queue, or the server is stopping. A client should try again in `retry_after_s`."""

    def __init__(self, message, retry_after_s=1):
        super().__init__(message)
        self.retry_after_s = max(1, math.ceil(retry_after_s))


class TooLate(Overloaded):
    """The result was not ready by the request's deadline."""


class _Request:
    def __init__(self, sample, came, deadline):
        self.sample = sample
        self.came, self.deadline = came, deadline  # on the batcher's clock
        self.finished = threading.Event()
        self.result = self.error = None


class Batcher:
    """Calls `run(samples) -> results` with lists of up to `max_batch` samples; use it like a function.

    max_wait_s: how long a sample may wait for company, from its arrival, while others keep arriving: not
    more than `GAP_S` apart. A lone sample waits `GAP_S` at most, and not at all after another lone one.
    max_queue: how many samples may wait; one more is refused (`Overloaded`), since a queue that only grows
    makes everybody late. workers: threads that call `run`, at the same time: one for a GPU, for a CPU one per
    core. observe(size): called with the size of every batch. clock(): seconds.
    """

    def __init__(
        self, run, max_batch=8, max_wait_s=0.005, max_queue=64, workers=1, observe=lambda size: None,
        clock=time.monotonic,
    ):  # fmt: skip
        self.run, self.observe, self.clock = run, observe, clock
        self.max_batch, self.max_wait_s, self.max_queue = max_batch, max_wait_s, max_queue
        self._waiting = deque()
        self._changed = threading.Condition()  # guards the queue; told of every arrival
        self._closing = False
        self._last_size = 1
        self._seconds_per_batch = 0.0  # a running mean
        self._workers = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        for worker in self._workers:
            worker.start()

    @property
    def capacity(self) -> int:
        """How many samples may wait or be computed at the same time."""
        return self.max_queue + self.max_batch * len(self._workers)

    @property
    def waiting(self) -> int:
        """How many samples wait."""
        return len(self._waiting)

    # --- in the request's thread --------------------------------------------------------------

    def __call__(self, sample, timeout_s=10.0):
        """The result for one sample, computed in a batch with those that came at the same time.

        Raises `Overloaded` if the queue is full or closed, `TooLate` after `timeout_s`, and whatever
        `run` raised for this sample.
        """
        with self._changed:
            now = self.clock()  # asked for inside, so that the queue is in the order of arrival
            request = _Request(sample, now, now + timeout_s)
            if self._closing:
                raise Overloaded("the server is stopping; ask again when it is back", 5)
            if len(self._waiting) >= self.max_queue:
                raise Overloaded("too many requests at once; try again later", self._seconds_to_empty())
            self._waiting.append(request)
            self._changed.notify()
        if not request.finished.wait(timeout_s):
            raise TooLate(f"no answer within {timeout_s:g} s; try again later", self._seconds_to_empty())
        if request.error is not None:
            raise request.error
        return request.result

    def _seconds_to_empty(self):
        batches = len(self._waiting) / (self.max_batch * len(self._workers))
        return self._seconds_per_batch * (batches + 1)

    def close(self, timeout_s=30.0) -> bool:
        """Refuse what comes, compute what waits; True once all of it is done."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        until = time.monotonic() + timeout_s
        for worker in self._workers:
            worker.join(max(until - time.monotonic(), 0))
        return not any(worker.is_alive() for worker in self._workers)

    # --- in a worker's thread -----------------------------------------------------------------

    def _work(self):
        while (batch := self._next_batch()) is not None:
            # Nobody waits any more for what is past its deadline: computing it would make others late.
            now = self.clock()
            for request in batch:
                if request.deadline <= now:
                    request.error = TooLate("waited too long in the queue; try again later")
                    request.finished.set()
            batch = [request for request in batch if request.deadline > now]
            if batch:
                self._compute(batch)
                seconds = self.clock() - now
                self._seconds_per_batch += 0.2 * (seconds - self._seconds_per_batch)

    def _next_batch(self):
        """Wait for samples and take up to `max_batch` of them; None when closed and empty."""
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            while self._waiting and not self._closing and (left_s := self._company_in()) > 0:
                self._changed.wait(left_s)
            if not self._waiting:
                return None if self._closing else []  # another worker was faster
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self.max_batch))]
            self._last_size = len(batch)
            return batch

    def _company_in(self) -> float:
        """Seconds for which those who wait should go on waiting for company; 0 or less: start now.

        The size of the last batch tells how much company to expect. After a batch of one, none: a single
        client must not pay for batching. After a larger one the crowd may be gone, so nobody waits longer
        than `GAP_S` for the next arrival; and whatever arrives, nobody longer than `max_wait_s` in all.
        """
        if len(self._waiting) >= min(self._last_size, self.max_batch):
            return 0.0
        oldest, newest = self._waiting[0].came, self._waiting[-1].came
        return min(oldest + self.max_wait_s, newest + GAP_S) - self.clock()

    def _compute(self, batch):
        try:
            results = self.run([request.sample for request in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"run gave {len(results)} results for {len(batch)} samples")
        except Exception as error:
            if len(batch) > 1:  # one bad sample must not spoil the others' results
                for request in batch:
                    self._compute([request])
                return
            batch[0].error = error
            batch[0].finished.set()
            return
        self.observe(len(batch))
        for request, result in zip(batch, results):
            request.result = result
            request.finished.set()

"""Time plain matrix products on two threads, the limit that others are held against."""

import threading
import time

from threadpoolctl import threadpool_limits


def time_on_two_threads(work):
    """Call `work` on two threads at once, BLAS held to one thread each; seconds."""
    threads = [threading.Thread(target=work) for _ in range(2)]
    with threadpool_limits(1):
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - start

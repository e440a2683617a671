"""The workers of a cluster in the place of threads."""

import uuid

from .. import ops
from ._collections import check_workers
from ._run import large_arguments


class Cluster(ops.Workers):
    """Threads here, and the workers of a cluster for what may run elsewhere.

    What they compute is the same as here, bit for bit on the same kind of hardware.
    """

    def __init__(self, client, n_jobs):
        super().__init__(ops.resolve_n_threads(n_jobs))
        self.client = client

    def spread(self, function, *pieces):
        """Call a function on every piece, in order, each in a task of its own."""
        check_workers(self.client)
        name, arguments = f"skdbm-chains-{uuid.uuid4().hex}", zip(*pieces, strict=True)
        with large_arguments():  # in the graph, to be had again
            tasks = [
                self.client.submit(alone, function, *piece, key=(name, i))
                for i, piece in enumerate(arguments)
            ]
        return self.client.gather(tasks)


def alone(function, *args):
    """Call a function that has one thread."""
    with ops.workers(1):
        return function(*args)

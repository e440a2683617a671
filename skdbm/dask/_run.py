"""A training whose epochs are rounds on the workers of a Dask cluster."""

import uuid
import warnings
from contextlib import contextmanager
from dataclasses import replace
from operator import attrgetter, itemgetter

from .. import _fitting, ops
from ..columns import read
from ..training import shards
from ..training.record import DivergenceError
from ._collections import chosen, concatenated, gathered, length, parts_of

#: Rows, drawn from all parts, that the first machine, what is fitted of the encoding,
#: and the learning rate are found from.
SAMPLE_ROWS = 10_000

#: Rounds after which the client keeps what all shards have come to. No more than these
#: are computed again if a worker dies, and the scheduler remembers no more.
KEPT_ROUNDS = 100


class Parts:
    """The parts of a collection that have rows, as futures, and their lengths."""

    def __init__(self, client, X):
        self.client = client
        futures = client.compute(parts_of(X))
        lengths = gathered(client, client.map(length, futures))
        pairs = [(f, n) for f, n in zip(futures, lengths, strict=True) if n]
        if not pairs:
            raise ValueError(
                f"X has no rows in its {len(lengths)} partitions; at least one row is "
                "needed to train on."
            )
        self.futures, self.lengths = zip(*pairs, strict=True)

    def sample(self):
        """Bring some rows here, in their order; all, if they are not many."""
        total = sum(self.lengths)
        drawn = ops.generator(0).permutation(total)[:SAMPLE_ROWS]
        ends = ops.cumsum(ops.array(self.lengths))
        drawn = ops.sort(drawn) if total > SAMPLE_ROWS else ops.arange(total)
        places = ops.split(drawn, ops.searchsorted(drawn, ends[:-1]))
        some = [
            self.client.submit(chosen, part, rows - end + n)
            for part, n, end, rows in zip(
                self.futures, self.lengths, ends, places, strict=True
            )
            if len(rows)
        ]
        return concatenated(gathered(self.client, some))

    def read(self, estimator, encoding):
        """Validate all rows where they are; futures of numbers."""
        reader = self.client.submit(itself, (estimator, encoding), pure=False)
        rows = [self.client.submit(numbers, reader, part) for part in self.futures]
        gathered(self.client, self.client.map(length, rows))  # errors before any work
        return rows


def itself(value):
    """Give a value that stands in the graph, so that it cannot be lost."""
    return value


def numbers(reader, part):
    """Validate the rows of a part, as numbers."""
    estimator, encoding = reader
    known = estimator._columns, encoding
    return read(estimator, part, *known, training=True)[0]


def planned(estimator, sample, lengths):
    """Plan a training on shards of so many rows, of all of which there is a sample.

    Gives the plan, what is held out of every shard, and the attempts at a rate.
    """
    local = _fitting.new_run(estimator, sample, goes_on=False)
    largest = max(lengths)
    seed = _fitting.unseen_seed(estimator)
    held_out = [
        _fitting.unseen_rows(estimator, n, n, shards.of_shard(seed, shard))
        for shard, n in enumerate(lengths)
    ]
    rate = _fitting.automatic_rate(estimator, local.machine.encoding, sample)
    settings = {
        "n_chains": estimator.n_chains,
        "pretraining": local.pretraining,
        "seeds": local.seeds,
        **_fitting.paces(estimator, largest, rate),
    }
    sizes = [
        (n, 0 if some is None else len(some))
        for n, some in zip(lengths, held_out, strict=True)
    ]
    options = _fitting.options(estimator, largest)
    plan = shards.Plan(local.machine, options, settings, sizes)
    return plan, held_out, local.attempts_left


def new_run(estimator, client, parts, sample):
    """Set up the training of an estimator on parts of rows, and a sample of them."""
    plan, held_out, attempts = planned(estimator, sample, parts.lengths)
    rows = parts.read(estimator._local(), plan.machine.encoding)
    template = plan.begin(sample, n_slower_attempts=attempts)
    return DaskRun(client, plan, template, rows, held_out, estimator.updates_per_round)


class DaskRun:
    """What `training.run.Run` is to a fit, with an epoch computed by a cluster.

    Each part of the rows is a shard. Of every shard there are two futures, its `rows`
    and its run; of all, one, what they agree on. What else a run knows the `first`
    shard's tells, as the last epoch left it.
    """

    epoch = None

    def __init__(self, client, plan, template, rows, held_out, updates_per_round):
        self.client, self.plan, self.template = client, plan, template
        self.rows, self.held_out = rows, held_out
        self.updates_per_round = updates_per_round
        self.name = f"skdbm-{{}}-{uuid.uuid4().hex}"
        self.n_tasks = 0
        self._begin()

    def __getattr__(self, name):
        if name.startswith("__") or name == "first":
            raise AttributeError(name)
        return getattr(self.first, name)

    def _begin(self):
        """Stand before the first round."""
        paces = {key: getattr(self.template, key) for key in ("pace", "slow_pace")}
        plan = replace(self.plan, settings={**self.plan.settings, **paces})
        with large_arguments():
            plan = self._submit(itself, plan)
        self.first, self.records, self.n_rounds = self.template, [], 0
        self.agreement, self.runs = (
            None,
            [
                self._submit(shards.Plan.begin, plan, rows, shard, held_out)
                for shard, (rows, held_out) in enumerate(
                    zip(self.rows, self.held_out, strict=True)
                )
            ],
        )

    def _submit(self, function, *args):
        """Submit a task with a key of its own, which no other fit shares."""
        self.n_tasks += 1
        name = self.name.format(getattr(function, "__name__", "part"))
        return self.client.submit(function, *args, key=(name, self.n_tasks))

    def advance(self, team, after_update=None):
        """Train to the end of an epoch: its record, or None if it begins again."""
        try:
            for _ in range(-(-self.first.n_batches // self.updates_per_round)):
                self._round()
            records = [self._submit(attrgetter("record"), run) for run in self.runs]
            self.first, *records = gathered(self.client, [self.runs[0], *records])
        except DivergenceError:
            if not self.begin_again("diverged"):
                raise
            return None
        if None in records:  # chains are slow, and all shards have begun again
            self.template.pace, self.template.slow_pace = self.first.pace, None
            self.records = []
            return None
        sizes = [n for n, _ in self.plan.sizes]
        record = shards.joined_records(records, [n / sum(sizes) for n in sizes])
        if len(self.first.records) > len(self.records):  # of the joint training
            self.records.append(record)
        return record

    def _round(self):
        """Submit a round; from time to time, keep what it has come to."""
        of_shards = [
            self._submit(
                shards.train_round, self.agreement, run, rows, self.updates_per_round
            )
            for run, rows in zip(self.runs, self.rows, strict=True)
        ]
        self._agree(of_shards)
        self.n_rounds += 1
        if self.n_rounds % KEPT_ROUNDS == 0:
            self._keep()

    def _agree(self, of_shards):
        """Average what shards propose, in their order."""
        self.runs = [self._submit(itemgetter(1), pair) for pair in of_shards]
        parts = [self._submit(itemgetter(0), pair) for pair in of_shards]
        while len(parts) > 1:
            parts = [
                self._submit(shards.averaged, parts[group])
                for group in shards.groups(len(parts))
            ]
        self.agreement = parts[0]

    def _keep(self):
        """Bring all here, and begin from there, so that the past can be forgotten."""
        kept = gathered(self.client, [self.agreement, *self.runs])
        with large_arguments():
            self.agreement, *self.runs = [self._submit(itself, part) for part in kept]

    def begin_again(self, why):
        """Begin again with a smaller rate, if there are attempts left."""
        if not self.template.begin_again(why):
            return False
        self._begin()
        return True

    def end(self, stage):
        """End a stage before its last epoch, if it is not over yet."""
        if stage.name != self.first.stage.name or not self.first.epochs_left:
            return
        self._agree(
            [self._submit(shards.end_stage, self.agreement, run) for run in self.runs]
        )
        self.first = gathered(self.client, self.runs[0])

    @property
    def state(self):
        """What the training has come to, with the chains of the first shard."""
        if self.agreement is None:
            return self.first.state
        agreement, *runs = gathered(self.client, [self.agreement, *self.runs])
        return shards.joined(runs, agreement)

    def finish(self):
        """Give the state in which training has ended."""
        return self.state


@contextmanager
def large_arguments():
    """Let arguments of tasks be large: they stand in the graph, to be had again."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sending large graph")
        yield

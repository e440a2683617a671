"""From the hyper-parameters of an estimator, and its rows, to a training."""

import hashlib
from functools import partial

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from . import _validation, ops
from ._warnings import warn
from .columns import check_unchanged
from .encodings import Probabilities
from .encodings.rows import TOGETHER, EncodedRows
from .encodings.ties import states_of
from .evidence import Evidence
from .likelihood import bounds
from .likelihood.annealing import LARGE_ERROR
from .likelihood.centres import centres_of_rows
from .likelihood.exact import exact_log_partition, prefers_exact
from .pieces.numbers import left, taken
from .settings import Pretraining
from .training import start
from .training.run import SLOWER_ATTEMPTS, Pace, Run
from .training.state import Options, State
from .training.stopping import EarlyStopping, HeldOut
from .units import Bernoulli, UnitType

#: Log-probabilities may come out above zero by so much, in nats, for rounding, and a
#: trained machine by so much worse than independent units.
POSSIBLE = 0.1

#: Of so many rows one is held out until the last part of training, to learn the
#: strength of the penalty from; at most so many. Fewer rows than this tell nothing.
UNSEEN_SHARE, MOST_UNSEEN, LEAST_ROWS = 10, 2000, 20

#: Rows by which a trained machine is compared with independent units.
JUDGED_ROWS = 500

#: Rows at most in which modes of a machine are looked for.
MOST_GROUPED = 2000

#: A layer is idle if more than this share of its units are dead, which is said of
#: trainings of so many updates, as automatic ones have them: shorter ones are trials.
IDLE, LEAST_UPDATES = 0.95, 1800

#: Rows whose variances the automatic learning rate follows.
ROWS_FOR_RATE = 500

#: Seeds that an estimator keeps, and consumers of randomness in a fit, each with a
#: stream of its own.
OUTLIVING = ("_annealing_seed", "_held_out_seed")
STREAMS = ("visible", "order", "chains", "weights", "pretraining", "carrying")


def draw_seeds(estimator, *, keep):
    """Draw the seeds of a fit, by stream; first those that outlive it, kept on demand.

    So the score of a machine depends on `random_state` alone, whether the estimator
    trained the machine or wraps it; and a fit that goes on holds out the same rows.
    """
    rng = check_random_state(estimator.random_state)
    outliving = [int(rng.randint(2**31)) for _ in OUTLIVING]
    if not keep:
        set_outliving_seeds(estimator, outliving)
    # A fit that goes on shall not draw what the last one drew.
    seeds = ops.spawn(rng, len(STREAMS), estimator.n_iter_ if keep else 0)
    return dict(zip(STREAMS, seeds, strict=True))


def outliving_seeds(estimator):
    """Seeds that outlive the fit they were drawn in."""
    return [getattr(estimator, name) for name in OUTLIVING]


def set_outliving_seeds(estimator, seeds):
    """Set them again."""
    vars(estimator).update(zip(OUTLIVING, seeds, strict=True))


def new_run(estimator, X, *, goes_on):
    """Set up a training, or one that goes on where the last one ended."""
    seeds = draw_seeds(estimator, keep=goes_on)
    if goes_on:
        state, way = state_of(estimator, seeds["chains"]), None
        encoding = state.machine.encoding
    else:
        state, way = None, pretraining_of(estimator).method
        encoding = estimator._machine_encoding().fit(X)
    check_n_chains(estimator, encoding, X)
    # Held-out rows only now: every category has to be known, theirs as well.
    X, stopping = hold_out(estimator, X)
    rate = automatic_rate(estimator, encoding, X)
    if goes_on:
        machine = state.machine
    else:
        machine = initial_machine(estimator, encoding, X, seeds["weights"])
    rows = EncodedRows(encoding, X, start.TRAINING_DTYPE)
    unseen = None if goes_on else unseen_rows(estimator, len(rows), rows.block_rows)
    if unseen is not None and rows.is_in_pieces:
        rows.read(unseen)  # in one pass, or they would be read one by one
    return Run(
        machine,
        rows,
        options(estimator, X.shape[0]),
        n_chains=estimator.n_chains,
        n_slower_attempts=SLOWER_ATTEMPTS * (estimator.learning_rate_init == "auto"),
        pretraining=way,
        seeds=seeds,
        stopping=stopping,
        held_out=unseen,
        state=state,
        **paces(estimator, X.shape[0], rate),
    )


def paces(estimator, n_rows, rate):
    """Give the pace of a training on so many rows, and that where chains are slow."""
    slow_rate, size = start.SLOW_RATE * rate, (n_rows, estimator.batch_size)
    quick = pace(estimator, rate, start.n_epochs(*size, rate))
    slow = pace(estimator, slow_rate, start.n_slow_epochs(*size, slow_rate))
    return {"pace": quick, "slow_pace": None if slow == quick else slow}


def pace(estimator, automatic_rate, automatic_epochs):
    """Give a pace: what an estimator's parameters say, else what is automatic."""
    given = estimator.learning_rate_init
    n_epochs = estimator.max_iter or automatic_epochs
    n_pretraining_epochs = pretraining_of(estimator).max_iter or -(-n_epochs // 3)
    rate = automatic_rate if given == "auto" else given
    return Pace(rate, n_epochs, n_pretraining_epochs)


def train(estimator, run, progress, X, file):
    """Train to the end, and again with a smaller rate where the machine has failed.

    A file, if there is one, takes the run in from time to time.
    """
    while failure := _attempt(estimator, run, progress, X, file):
        if not run.begin_again(f"failed ({failure})"):
            warn(
                f"Training has failed: {failure}. A smaller learning_rate_init, more "
                "n_gibbs_steps or a larger alpha may help; `history_` and its display "
                "show where training went wrong.",
                ConvergenceWarning,
            )
            return
        progress.begin_again()
    warn_of_idle_layers(run)


def _attempt(estimator, run, progress, X, file):
    """Train to the end of a run, or to an interrupt; say what is wrong, if known.

    The estimator takes what was learned in any case.
    """
    after_update = None if file is None else partial(file.save_if_due, run)
    try:
        with ops.workers(estimator.n_jobs) as team:
            while not run.done:
                progress.begin()
                progress.end(run.advance(team, after_update))
        if file is not None:  # what follows may take long as well
            file.save(run)
        estimator._adopt(run.finish(), progress.history(), X)
        estimator._finish(complete=True)
        return estimator._failure(X)
    except _validation.TrainingInterrupted:
        raise
    except KeyboardInterrupt as interrupt:
        if not run.records:
            raise
        estimator._adopt(run.finish(), progress.history())
        estimator._finish(complete=False)
        raise _validation.TrainingInterrupted(
            f"after {len(run.records)} of {run.n_joint_epochs} epochs of the joint "
            "training; the estimator is what was learned"
        ) from interrupt


def warn_of_idle_layers(run):
    """Say which layers tell next to nothing of a row, after a training of a length."""
    if run.n_updates_done < LEAST_UPDATES:
        return
    for layer, share in enumerate(run.records[-1]["dead_units"], start=1):
        if share > IDLE:
            warn(
                f"Hidden layer {layer} is hardly in use: {share:.0%} of its units have "
                "about the same mean in all rows. Rows may have too little in common "
                "for so many layers: fewer of them, a longer training (max_iter) or a "
                "smaller alpha may help.",
                ConvergenceWarning,
            )


def check_n_chains(estimator, encoding, X):
    """Check that the chains of a machine for some rows are not too many."""
    n_units = encoding.width(X.shape[1]) + sum(estimator._check_layers())
    _validation.check_n_chains(estimator.n_chains, X.shape[0], n_units)


def pretraining_of(estimator):
    """Say how an estimator pretrains: no way if not at all."""
    given = estimator.pretraining
    if given is None or len(estimator._check_layers()) == 1:
        return Pretraining(None)
    return Pretraining(given) if isinstance(given, str) else given


def new_state(estimator, X):
    """Make a machine in training from the first chunk of rows."""
    seeds = draw_seeds(estimator, keep=False)
    encoding = estimator._machine_encoding().fit(X)
    check_n_chains(estimator, encoding, X)
    first = X[: estimator.batch_size]
    machine = initial_machine(estimator, encoding, first, seeds["weights"])
    return State(machine, estimator.n_chains, seeds["chains"])


def state_of(estimator, seed=None):
    """Give the state in which the training of an estimator stopped, or a new one."""
    machine, state = estimator.machine_, estimator._state
    if state is not None:
        check_agreement(estimator, machine, len(state.chains[0]))
        return state
    check_agreement(estimator, machine)
    seed = seed or ops.spawn(check_random_state(estimator.random_state), 1)[0]
    return State(machine.astype(start.TRAINING_DTYPE), estimator.n_chains, seed)


def hold_out(estimator, X):
    """Split off the rows that early stopping watches, and training rows to compare."""
    if not estimator.early_stopping:
        return X, None
    n_held_out = int(np.ceil(estimator.validation_fraction * X.shape[0]))
    if n_held_out >= X.shape[0]:
        raise ValueError(
            f"validation_fraction={estimator.validation_fraction} of {X.shape[0]} rows "
            "leaves no row to train on; give more rows or a smaller fraction, or turn "
            "early_stopping off."
        )
    held_out, others = drawn_rows(
        estimator._held_out_seed, X.shape[0], ops.block_rows(X), n_held_out
    )
    rows = HeldOut(
        taken(X, held_out),
        taken(X, others),
        estimator._setting("likelihood"),
        estimator._annealing_seed,
    )
    stopping = EarlyStopping(
        rows,
        every=estimator.evaluate_every,
        patience=estimator.n_iter_no_change,
        tol=estimator.tol,
    )
    return left(X, held_out), stopping


def drawn_rows(seed, n_rows, block_rows, n_drawn):
    """Draw rows by number, and others, as many where it can; both are sorted.

    Of data that are read in pieces some blocks after the others have their share each.
    """
    rng, size = ops.generator(seed), TOGETHER * block_rows
    drawn, others = [], []
    for first in range(0, n_rows, size):
        end = min(n_rows, first + size)
        n_here = n_drawn * end // n_rows - n_drawn * first // n_rows
        order = first + rng.permutation(end - first)
        drawn.append(np.sort(order[:n_here]))
        others.append(np.sort(order[n_here : 2 * n_here]))
    return np.concatenate(drawn), np.concatenate(others)


def unseen_seed(estimator):
    """Seed by which rows are drawn that the strength of the penalty is learned from."""
    return ops.seed_sequence(estimator._held_out_seed).spawn(1)[0]


def unseen_rows(estimator, n_rows, block_rows, seed=None):
    """Draw rows that the strength of the penalty is learned from, by index."""
    if estimator.alpha != "auto" or n_rows < LEAST_ROWS:
        return None
    seed = unseen_seed(estimator) if seed is None else seed
    n_unseen = min(MOST_UNSEEN, n_rows // UNSEEN_SHARE)
    return drawn_rows(seed, n_rows, block_rows, n_unseen)[0]


def options(estimator, n_rows):
    """Gather what an update depends on."""
    return Options(
        batch_size=min(estimator.batch_size, n_rows),
        alpha=None if estimator.alpha == "auto" else estimator.alpha,
        n_gibbs_steps=estimator.n_gibbs_steps,
        n_mean_field_steps=estimator.n_mean_field_steps,
        n_posterior_gibbs_steps=estimator.n_posterior_gibbs_steps,
        mean_field_tol=estimator._setting("likelihood").mean_field_tol,
    )


def initial_machine(estimator, encoding, X, seed):
    """Make the machine that training starts from."""
    rows = EncodedRows(encoding, X, np.float64)
    hidden = list(zip(hidden_units(estimator), estimator._check_layers(), strict=True))
    return start.initial_machine(rows, hidden, ops.generator(seed))


def hidden_units(estimator):
    """Unit types of the hidden layers, one for each."""
    units, n_layers = estimator.hidden, len(estimator._check_layers())
    if isinstance(units, (str, UnitType)):
        units = [units] * n_layers
    units = [Bernoulli() if unit == "bernoulli" else unit for unit in units]
    if len(units) != n_layers or not all(isinstance(u, UnitType) for u in units):
        raise ValueError(
            f"hidden={estimator.hidden!r}; 'bernoulli' or a skdbm.units.UnitType is "
            f"expected, one for all of the {n_layers} hidden layers or one for each."
        )
    return tuple(units)


def check_agreement(estimator, machine, n_chains=None):
    """Check that the parameters describe a machine, and chains, that go on."""
    n_chains = estimator.n_chains if n_chains is None else n_chains
    sizes = machine.layer_sizes[1:]
    for name, has, agrees in (
        ("hidden_layer_sizes", sizes, estimator._check_layers() == sizes),
        ("hidden", machine.units[1:], hidden_units(estimator) == machine.units[1:]),
        ("n_chains", n_chains, estimator.n_chains == n_chains),
    ):
        if not agrees:
            raise ValueError(
                f"{name}={getattr(estimator, name)!r} contradicts the machine, which "
                f"has {has!r}; leave it out, use a clone, or fit with warm_start=False."
            )


def as_described(encoding, n_columns, visible):
    """Give the encoding of columns as the parameter `visible` wants it, or an error."""
    if isinstance(encoding, Probabilities) and isinstance(visible, Probabilities):
        # Whether states are redrawn is about how training goes on.
        return visible
    check_unchanged(visible, np.empty((0, n_columns)), encoding)
    return encoding


def digest(machine):
    """Digest of the weights and biases of a machine, which differs once they do."""
    result = hashlib.blake2b(digest_size=16)
    for array in [*machine.weights, *machine.biases]:
        result.update(np.ascontiguousarray(array))
    return result.hexdigest()


def least_log_partition(machine, X, n_jobs):
    """Bound log Z by the rows that a machine was trained on, unless it is exact."""
    if prefers_exact(machine):
        return -np.inf
    rows = EncodedRows(machine.encoding, X, machine.dtype)
    return bounds.least_log_partition(machine, rows, n_jobs=n_jobs)


def centres_of(machine, X):
    """Means of all layers near groups of a machine's rows, unless exact."""
    if prefers_exact(machine) or machine.units[0].totals(X[:1]) is not None:
        return None
    rows = EncodedRows(machine.encoding, X, machine.dtype)
    some = np.arange(0, X.shape[0], -(-X.shape[0] // MOST_GROUPED))
    with ops.workers(1):  # groups hang on rounding, which hangs on threads of BLAS
        return centres_of_rows(machine, Evidence.of_rows(rows.read(some)))


def check_possible(estimator, X, scores, error, n_importance_samples):
    """Check that no row of discrete columns is likelier than certain."""
    unit, n_units = estimator.machine_.units[0], estimator.machine_.layer_sizes[0]
    if unit.n_states(n_units) == np.inf:  # densities may be large
        return
    suspects = np.flatnonzero(scores - 3 * np.asarray(error) > POSSIBLE)
    if not len(suspects):
        return
    if n_importance_samples:
        # Draws may bring an estimate above zero by chance; the bound is below log p(v)
        # without fail, and is checked in its turn.
        estimator._score(X[suspects], 0)
        return
    raise FloatingPointError(
        f"A row has a log-probability of {np.max(scores):+.2f} nats, which cannot be: "
        f"log Z (standard error {np.max(error):.2f}) is too low, because the chains "
        "that estimate it miss modes of the machine. Raise n_chains of the Likelihood; "
        "or train with a larger alpha or a smaller learning_rate_init."
    )


def shortfall(estimator, X):
    """Say if rows are less likely than under the machine that knows no couplings.

    That has independent columns, and a normal distribution of those of real values.
    None means that they are not.
    """
    machine = estimator.machine_
    some = X[:: -(-X.shape[0] // JUDGED_ROWS)]
    if machine.units[0].totals(some[:1]) is not None:
        return None
    plain, seed = machine.encoding.unlearned, estimator._annealing_seed

    def presented(encoding):
        # As training presents them, to both machines alike.
        rng = ops.generator(seed)
        rows = EncodedRows(encoding, some, machine.dtype, rng)
        return Evidence.of_rows(rows.read(np.arange(some.shape[0])))

    free = start.independent_machine(EncodedRows(plain, X, np.float64))
    gains = bounds.importance_weighted_log_likelihood(
        machine,
        presented(machine.encoding),
        estimator.log_partition_,
        n_importance_samples=10,
        random_state=seed,
        tol=0.05,
        n_jobs=estimator.n_jobs,
    ) - bounds.bound(
        free,
        presented(plain),
        exact_log_partition(free),
        n_jobs=estimator.n_jobs,
    )
    gains += machine.encoding.log_jacobian(some) - plain.log_jacobian(some)
    spread = np.std(gains) / len(gains) ** 0.5
    # Where ways to log Z disagree by much it is too low, if anything.
    error = np.hypot(spread, min(estimator.log_partition_std_, LARGE_ERROR))
    if np.mean(gains) >= -3 * error - POSSIBLE:
        return None
    return (
        f"the rows are {-np.mean(gains):.2f} nats less likely than under independent "
        "columns, or a normal distribution of real ones"
    )


def rate_of_chunks(estimator, state, X):
    """Give the learning rate of chunks of rows: if "auto", what the first one says.

    It never falls, and nothing begins again: so it is that where chains are slow.
    """
    if estimator.learning_rate_init != "auto":
        return estimator.learning_rate_init
    if state.chunk_rate is None:
        encoding = state.machine.encoding
        rate = automatic_rate(estimator, encoding, X)
        state.chunk_rate = start.SLOW_RATE * rate
    return state.chunk_rate


def automatic_rate(estimator, encoding, X):
    """Give the learning rate at the start that suits some rows."""
    some = np.arange(0, X.shape[0], -(-X.shape[0] // ROWS_FOR_RATE))
    rng = ops.generator(estimator._held_out_seed)
    states = states_of(EncodedRows(encoding, X, np.float64, rng).read(some))
    return encoding.learning_rate(states, estimator._check_layers()[0])

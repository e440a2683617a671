"""How likely every class of a row is: its completions by labels, all together."""

from functools import partial

from .. import ops
from .._typing import FloatArray
from ..encodings.rows import EncodedRows
from ..evidence import Completions, Conditional, Evidence
from ..inference.mean_field import MeanField, map_posterior
from ..machine import DeepBoltzmannMachine
from .bounds import (
    content_of,
    importance_weighted,
    states_of_all,
    streams_of,
    unnormalised_bound,
)


def log_joint(
    machine: DeepBoltzmannMachine,
    rows: EncodedRows,
    n_classes: int,
    *,
    n_importance_samples: int = 0,
    seed: ops.SeedSequence | None = None,
    tol: float = 1e-4,
    max_iter: int = 500,
    n_jobs: int | None = None,
) -> FloatArray:
    """Log p*(v, y), without log Z, of every class y: (n_rows, n_classes).

    The labels are the last visible units. It is the variational bound, exact with one
    hidden layer and nothing missing, or estimated from so many samples, which are the
    same for all classes of a row.
    """

    def weigh(evidence: Evidence, part: MeanField, start: int) -> FloatArray:
        if not n_importance_samples:
            given = Conditional(machine, evidence)
            return unnormalised_bound(given, states_of_all(machine, part))

        assert seed is not None
        content = content_of(evidence)[:, :-n_classes]
        streams = partial(streams_of, seed, content)
        return importance_weighted(
            machine, evidence, part, n_importance_samples, streams
        )

    parts = map_posterior(
        machine,
        Completions(rows, n_classes),
        weigh,
        tol=tol,
        max_iter=max_iter,
        n_jobs=n_jobs,
    )
    return ops.concatenate(parts).reshape(-1, n_classes)

"""Deep Boltzmann machines for scikit-learn."""

from ._sampler import DBMSampler
from ._transformer import DBMTransformer
from ._version import __version__
from .machine import DeepBoltzmannMachine
from .settings import Likelihood, Pretraining

__all__ = [
    "DBMSampler",
    "DBMTransformer",
    "DeepBoltzmannMachine",
    "Likelihood",
    "Pretraining",
    "__version__",
]

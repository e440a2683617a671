"""Deep Boltzmann machines for scikit-learn."""

from ._classifier import DBMClassifier
from ._sampler import DBMSampler
from ._transformer import DBMTransformer
from ._version import __version__
from .machine import DeepBoltzmannMachine
from .settings import FineTuning, Likelihood, Pretraining

__all__ = [
    "DBMClassifier",
    "DBMSampler",
    "DBMTransformer",
    "DeepBoltzmannMachine",
    "FineTuning",
    "Likelihood",
    "Pretraining",
    "__version__",
]

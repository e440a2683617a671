"""Deep Boltzmann machines for scikit-learn."""

from ._sampler import DBMSampler
from ._transformer import DBMTransformer
from .machine import DeepBoltzmannMachine

__version__ = "0.1.0"
__all__ = ["DBMSampler", "DBMTransformer", "DeepBoltzmannMachine"]

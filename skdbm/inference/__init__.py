"""Inference: what is known of rows to posterior means of everything else."""

from .mean_field import MeanField, mean_field

__all__ = ["MeanField", "mean_field"]

"""Training: greedy pretraining, statistics of both phases, update rule, the loop."""

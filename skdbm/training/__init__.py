"""Training: from rows of data to a machine.

`run` has the training as one object, `update` one step of it, `state` what survives
from step to step, `pretraining` the stages before the joint training, `record` what an
epoch writes down, `stopping` the judgement of held-out rows.
"""

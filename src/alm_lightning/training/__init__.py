"""Training with Lightning: the module, the optimizer step, callbacks and resuming.

`module.DistillModule` has no formulas: `step.DistillStep` computes the gradients of one optimizer
step over ranks and micro-batches. `teacher_sides` keeps what the teacher says of a step, and
`resume` and `checkpoint_io` continue an interrupted run.
"""

"""Many heads trained at once: what a sweep calls, how it works, and what is guaranteed.

**Why.** A head on pooled vectors is small: one training step of it multiplies matrices of a few hundred rows, and most
of the time passes between the products, in Python and in torch's bookkeeping. A sweep trains hundreds of such heads
that differ in learning rate, weight decay, dropout or seed, but see the same batches. So they are trained together.

**What to call.** `training.begin_training` takes new heads, their configs and a fold, and returns a training with
`train_to(epoch)`, `logits`, `drop` and `finish`: a `FusedTraining`, or with `fused=False` a `SeparateTraining`, which
trains each head alone by `pipeline/training/loop.fit`. `chunks.plan_chunks` decides which heads of many experiments can
train together. A sweep switches fusion off by `sweep(..., fused=False)`.

**How.** From the outside in:

- *Chunks* (`chunks.py`). Heads can be fused if they have one architecture and one `fusion_key`: the same inputs, rows,
  batches, seed and kind of loss. Up to `LARGEST` of them make a chunk. Heads on tokens stay alone on a CPU, since their
  products are large enough.
- *Stack* (`stack.py`, `skeleton.py`). Each parameter of the C heads is one tensor (C, ...), of which each head's
  parameter is a row. `torch.func.vmap` runs the forward pass and the loss of one module, the skeleton, over these rows:
  every operation is done once for all heads. Dropout depends on a key and not on a generator, so each head drops what
  it would drop alone. Gradients come out stacked, are clipped head by head, and each head's own optimizer moves its
  rows. Each head keeps its best weights and stops early by itself.
- *First layers* (`first_layers.py`), on a CPU only. The linear maps that read the shared inputs hold nearly all weights
  of a head on pooled vectors. Done for all heads at once, weights, gradients and moments come from memory several times
  a step. So these layers are left out of the stacked step: it starts from their products and ends with the gradients by
  the products. The rest is done head by head, while one head's numbers are in the processor's cache: the gradient by
  the weights, the optimizer, and the product with the next batch.
- *Replay* (`step_replay.py`). Autograd, vmap and modules decide again in each step which operations to run, with the
  same result. After two steps of one kind and shape their operations are recorded, and then run from the list.
- *Adam* (`pipeline/training/adam.py`), which `fit` shares. It calls torch's kernel for all parameters of a head at
  once, without what torch.optim does around it. Where torch lacks that private kernel, torch.optim is used.

**What is guaranteed.** A fused head ends as `fit` would have left it, within the rounding of sums: the same batches,
dropout, learning rates, early stop and best epoch, whichever heads train beside it and wherever it is paused. Replayed
steps are the same operations, so their numbers are equal bit by bit. Tests hold this for every head and every training
setting (`tests/pipeline/fused`).

**When a head trains alone.** As the only one of its chunk. Heads that define their own calibration, or tune thresholds,
are tested one by one. A step that cannot be recorded is run as it is. `train-head`, `--ensemble` and `ablate` never
fuse: their rows and seeds differ.

What each layer brings is measured by `benchmarks/fused_layers.py`; see `benchmarks/results/fused_layers.txt`.
"""

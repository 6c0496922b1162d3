#!/bin/bash
# Extract, train and score on a Slurm cluster: bash docs/examples/slurm.sh, in the folder of msa.toml and posts/.
# Not run on a real cluster; its syntax and its msa commands are tested. Posts and cache lie on a shared file system.
set -euo pipefail
shards=8
source .venv/bin/activate

extract=$(sbatch --parsable --job-name=extract --array=1-$shards --cpus-per-task=16 --mem=8G --time=04:00:00 --requeue \
    --wrap='msa extract posts --remote --no-tokens --shard auto')

# afterok: all tasks of the array have ended well. A task that ended badly is sent again: it continues.
train=$(sbatch --parsable --job-name=train --dependency=afterok:"$extract" --cpus-per-task=4 --mem=16G --time=04:00:00 \
    --wrap='set -e
msa cache merge
msa train-head posts --remote --fusion gated --memory 8GB --name scaled')

sbatch --job-name=predict --dependency=afterok:"$train" --array=1-$shards --cpus-per-task=4 --mem=16G --time=02:00:00 \
    --wrap='msa predict runs/scaled posts --remote --rows all --out scores.parquet --shard $SLURM_ARRAY_TASK_ID/'$shards

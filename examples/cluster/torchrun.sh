#!/bin/sh
# One machine, one process per GPU:
#
#     sh examples/cluster/torchrun.sh --config examples/cluster/train.yaml
#
# PROCESSES=2 takes two of the GPUs. Where a process dies, torchrun starts all of them again, at most twice, and they
# go on from the last good checkpoint. SIGTERM to torchrun lets them save one first, for as long as set here.
set -eu
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-8}"
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT="${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-240}"

exec torchrun --standalone --nproc_per_node "${PROCESSES:-gpu}" --max_restarts 2 -m frailt train "$@"

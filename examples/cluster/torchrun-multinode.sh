#!/bin/sh
# Several machines without a scheduler. Run the same command on each within a quarter of an hour; HEAD is one of them,
# with a port that the others reach:
#
#     HEAD=node1:29500 NODES=2 sh examples/cluster/torchrun-multinode.sh --config examples/cluster/train.yaml
#
# Data and run folder must be the same files on all machines: see "Shared file systems" in docs/cluster.md.
set -eu
: "${HEAD:?HEAD must be host:port of one of the machines, as all of them reach it}"
: "${NODES:?NODES must be the number of machines}"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-8}"
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT="${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-240}"

exec torchrun \
    --nnodes "$NODES" \
    --nproc_per_node "${PROCESSES:-gpu}" \
    --rdzv_backend c10d \
    --rdzv_endpoint "$HEAD" \
    --rdzv_id "${RUN_ID:-frailt}" \
    --rdzv_conf "join_timeout=900" \
    --max_restarts 2 \
    -m frailt train "$@"

#!/usr/bin/env bash
# A grid on a Slurm cluster, in one of two ways. Change the lines below to your cluster's.
#
# Many small jobs, each with an eighth of the students on a GPU of its own:
#
#   sbatch script/slurm_example.sh cifar100.sh
#
# One job of several GPUs, which train each group of students together by torchrun, here 2 x 4:
#
#   sbatch --array=1-1 --nodes=2 --gpus-per-node=4 --cpus-per-task=64 script/slurm_example.sh ImageNet.sh
#
# Started from this folder; flags after the script's name go to it. The teachers come first:
# --dependency=afterok:<job> makes the students wait for them. A job that ran out of time goes on when
# it is submitted again.
#
#SBATCH --job-name=distillation
#SBATCH --array=1-8
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --output=slurm-%A_%a.txt
set -euo pipefail
case ${1:-} in --help | -h) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit ;; esac
script=${1:?"which script? sbatch script/slurm_example.sh cifar100.sh"}
shift
export NPROC=${SLURM_GPUS_ON_NODE:-1} NNODES=${SLURM_JOB_NUM_NODES:-1}
if [ "$NNODES" -gt 1 ]; then
  MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
  export MASTER_ADDR
fi
# One task a node; each learns its own number from Slurm.
srun bash -c 'NODE_RANK=$SLURM_NODEID exec bash "$@"' - "script/$script" "$@"

#!/usr/bin/env bash
#SBATCH --job-name=safeclip
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:TERM@180
usage() {
    cat <<'END'
Trains on the GPUs of several Slurm nodes, one process a GPU, and goes on after time limits and
lost nodes until the run is done.

  sbatch --nodes=2 --gpus-per-node=8 --time=24:00:00 launch/slurm.sh FLAGS OF safeclip_jax.main
  bash launch/slurm.sh --dry-run FLAGS   prints what a job would run, and runs nothing
  scancel --signal=TERM --batch JOB      checkpoints, stops and queues again; scancel JOB ends it

The run's folder, --workdir=DIR, must be one that all nodes share. The environment of the shell
that calls sbatch is used: activate the one in which safeclip_jax is installed first.
END
}

set -euo pipefail

show() { printf '+'; printf ' %q' "$@"; echo; }

[[ $# -gt 0 && $1 != -h && $1 != --help ]] || { usage; exit 0; }
dry_run=''
if [[ $1 == --dry-run ]]; then
    dry_run=yes
    shift
fi
if [[ " $* " != *" --workdir="* ]]; then
    echo "error: --workdir=DIR is needed, a folder that all nodes share" >&2
    exit 2
fi
# Collectives run beside products, and a step may use nearly all of a GPU's memory.
export XLA_FLAGS="--xla_gpu_enable_latency_hiding_scheduler=true ${XLA_FLAGS:-}"
export XLA_PYTHON_CLIENT_MEM_FRACTION=${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.92}
gpus=${SLURM_GPUS_ON_NODE:-8}
step=(srun --kill-on-bad-exit=0 --ntasks-per-node="$gpus" --gpus-per-node="$gpus"
    python -m safeclip_jax.main "$@")
show "${step[@]}"
[[ -z $dry_run ]] || exit 0

trap 'kill -TERM $(jobs -p)' TERM # Slurm's warning before the time limit: checkpoint and stop
"${step[@]}" &
child=$!
code=0
wait "$child" || code=$?
if kill -0 "$child" 2>/dev/null; then # the first wait was cut short by the signal
    code=0
    wait "$child" || code=$?
fi
case $code in
    0) echo "done" ;;
    2) echo "error: the run cannot go on, see above" >&2 ;;
    *)
        echo "the run stopped with status $code and goes on in a new job"
        show scontrol requeue "${SLURM_JOB_ID:?}"
        scontrol requeue "$SLURM_JOB_ID"
        ;;
esac
exit "$code"

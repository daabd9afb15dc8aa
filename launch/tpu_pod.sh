#!/usr/bin/env bash
usage() {
    cat <<'END'
Trains on a Cloud TPU pod slice, and goes on after preemptions until the run is done.

  launch/tpu_pod.sh COMMAND --name=NAME --zone=ZONE [options] [-- flags of safeclip_jax.main]

commands
  train    creates the slice if it is not there, installs, runs; again until the run is done
  create   asks for the slice (a queued resource)
  install  copies this checkout to every host and installs it
  run      starts the run on every host, or goes on with it, and shows the first host's output
  status   prints the state of the slice
  delete   gives the slice back; the run's folder stays in the bucket

options
  --type=TYPE        accelerator, default v5litepod-8
  --version=VERSION  TPU software, default v2-alpha-tpuv5-lite
  --bucket=BUCKET    Cloud Storage bucket for the run's folder, mounted on every host with gcsfuse
  --spot             a spot slice: cheaper, and may be taken away
  --dry-run          prints the commands that would run, and runs none

example
  launch/tpu_pod.sh train --name=clip --zone=us-west4-a --type=v5litepod-256 --spot \
      --bucket=my-bucket -- --config=configs/vitb32.py --config.data.source=tfds:cc3m
END
}

set -euo pipefail
cd "$(dirname "$0")/.."

readonly wait_seconds=${WAIT_SECONDS:-60}
type=v5litepod-8 version=v2-alpha-tpuv5-lite bucket='' name='' zone='' spot=() dry_run='' flags=()

# shellcheck source=common.sh
source launch/common.sh

state() {
    [[ -n $dry_run ]] && { echo NONE; return; }
    gcloud compute tpus queued-resources describe "$name" --zone="$zone" \
        --format='value(state.state)' 2>/dev/null || echo NONE
}

create() {
    do_ gcloud compute tpus queued-resources create "$name" --node-id="$name" --zone="$zone" \
        --accelerator-type="$type" --runtime-version="$version" "${spot[@]}"
}

delete() {
    do_ gcloud compute tpus queued-resources delete "$name" --zone="$zone" --force --quiet
}

on_all_hosts() {
    do_ gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$1"
}

install() {
    local archive
    archive=$(mktemp --suffix=.tar.gz)
    do_ git archive --output="$archive" HEAD
    do_ gcloud compute tpus tpu-vm scp "$archive" "$name:safeclip_jax.tar.gz" \
        --zone="$zone" --worker=all
    on_all_hosts "mkdir -p safeclip_jax run && tar -xzf safeclip_jax.tar.gz -C safeclip_jax && \
python3 -m venv venv && venv/bin/pip install -q -U 'jax[tpu]' './safeclip_jax[gs]' && \
{ mountpoint -q run || gcsfuse --implicit-dirs ${bucket@Q} run; }"
    rm -f "$archive"
}

# Exit status of the run: the largest of its hosts', which the ssh client would hide.
run() {
    local log code
    log=$(mktemp)
    on_all_hosts "cd safeclip_jax && ../venv/bin/python -m safeclip_jax.main \
--workdir=../run/${name@Q} ${flags[*]@Q}; echo \"run ended with status \$?\"" | tee "$log" || true
    [[ -n $dry_run ]] && { rm -f "$log"; return 0; }
    code=$(sed -n 's/^run ended with status \([0-9]*\)$/\1/p' "$log" | sort -rn | head -n 1)
    rm -f "$log"
    return "${code:-75}" # no word from the hosts: they were taken away
}

train() {
    local code now
    while true; do
        now=$(state)
        case $now in
            NONE) create ;;
            SUSPENDED | SUSPENDING | FAILED) delete && create ;;
            ACTIVE) ;;
            *) echo "waiting for $type in $zone: $now" && sleep "$wait_seconds" ;;
        esac
        [[ $now == ACTIVE || -n $dry_run ]] || continue
        code=0
        install || code=75
        [[ $code == 75 ]] || run || code=$?
        case $code in
            0) echo "done; launch/tpu_pod.sh delete --name=$name --zone=$zone gives the slice back" && return ;;
            2) fail "the run cannot go on, see above; the slice is still there" ;;
            *) echo "the run stopped with status $code and goes on" && sleep "$wait_seconds" ;;
        esac
    done
}

[[ $# -gt 0 && $1 != -h && $1 != --help ]] || { usage; exit 0; }
command=$1
shift
while [[ $# -gt 0 ]]; do
    case $1 in
        --name=*) name=${1#*=} ;;
        --zone=*) zone=${1#*=} ;;
        --type=*) type=${1#*=} ;;
        --version=*) version=${1#*=} ;;
        --bucket=*) bucket=${1#*=} ;;
        --spot) spot=(--spot) ;;
        --dry-run) dry_run=yes ;;
        --) shift && flags=("$@") && break ;;
        *) fail "unknown option $1: see launch/tpu_pod.sh --help" ;;
    esac
    shift
done
[[ -n $name && -n $zone ]] || fail "--name and --zone are needed: see launch/tpu_pod.sh --help"
case $command in
    train | install | run)
        [[ -n $bucket ]] || fail "--bucket is needed: all hosts share the run's folder"
        [[ ${#flags[@]} -gt 0 || $command == install ]] || fail "no flags for the run after --"
        "$command"
        ;;
    create | delete) "$command" ;;
    status) state ;;
    *) fail "unknown command $command: see launch/tpu_pod.sh --help" ;;
esac

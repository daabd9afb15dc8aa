#!/usr/bin/env bash
usage() {
    cat <<'END'
Trains on TPU hosts in Kubernetes (GKE with JobSet), restarted until the run is done.

  launch/gke/gke.sh COMMAND --name=NAME [options] [-- flags of safeclip_jax.main]

commands
  run      applies the manifest; the same command goes on with a run that was deleted
  logs     follows the output of the first host
  delete   removes the job; the run's folder stays

options
  --image=IMAGE        with safeclip_jax in it, see launch/gke/Dockerfile
  --claim=CLAIM        PersistentVolumeClaim for the run's folder, ReadWriteMany (Filestore, gcsfuse)
  --accelerator=NAME   default tpu-v5-lite-podslice
  --topology=AxB       default 4x4
  --hosts=N            default 4
  --chips=N            of a host, default 4
  --dry-run            prints the manifest and the command, and runs nothing

With XPK the same image runs as
  xpk workload create --workload=NAME --cluster=CLUSTER --tpu-type=v5litepod-16 \
      --docker-image=IMAGE --command='python -m safeclip_jax.main FLAGS'
END
}

set -euo pipefail
folder=$(dirname "$0")
name='' image='' claim='' accelerator=tpu-v5-lite-podslice topology=4x4 hosts=4 chips=4
dry_run='' flags=()

# shellcheck source=../common.sh
source "$folder/../common.sh"

# Values that could change the manifest's meaning are refused.
plain() {
    [[ $2 =~ ^[A-Za-z0-9./:@_-]+$ ]] || fail "--$1=$2: letters, digits and ./:@_- only"
}

manifest() {
    local list='' flag
    for flag in "${flags[@]}"; do
        flag=${flag//\\/\\\\}
        list+=", \"${flag//\"/\\\"}\""
    done
    NAME=$name IMAGE=$image CLAIM=$claim ACCELERATOR=$accelerator TOPOLOGY=$topology \
        HOSTS=$hosts CHIPS=$chips FLAGS=$list \
        awk '{
            while (match($0, /\$\{[A-Z]+\}/)) {
                key = substr($0, RSTART + 2, RLENGTH - 3)
                printf "%s%s", substr($0, 1, RSTART - 1), ENVIRON[key]
                $0 = substr($0, RSTART + RLENGTH)
            }
            print
        }' "$folder/jobset.yaml"
}

run() {
    [[ -n $image && -n $claim ]] || fail "--image and --claim are needed"
    [[ ${#flags[@]} -gt 0 ]] || fail "no flags for the run after --"
    manifest
    show kubectl apply -f -
    [[ -n $dry_run ]] || manifest | kubectl apply -f -
}

[[ $# -gt 0 && $1 != -h && $1 != --help ]] || { usage; exit 0; }
command=$1
shift
while [[ $# -gt 0 ]]; do
    case $1 in
        --dry-run) dry_run=yes ;;
        --) shift && flags=("$@") && break ;;
        --name=* | --image=* | --claim=* | --accelerator=* | --topology=* | --hosts=* | --chips=*)
            option=${1#--}
            plain "${option%%=*}" "${option#*=}"
            printf -v "${option%%=*}" '%s' "${option#*=}"
            ;;
        *) fail "unknown option $1: see launch/gke/gke.sh --help" ;;
    esac
    shift
done
[[ -n $name ]] || fail "--name is needed"
case $command in
    run) run ;;
    logs) do_ kubectl logs --follow "job/$name-hosts-0" ;;
    delete) do_ kubectl delete jobset "$name" ;;
    *) fail "unknown command $command: see launch/gke/gke.sh --help" ;;
esac

#!/usr/bin/env bash
usage() {
    cat <<'END'
Measures what only an accelerator can show, on a machine without network that is lent for minutes.

  [OUT=results] [BUDGET=520] [COMMIT=…] experiments/accelerator.sh [PART…]

  steps               train steps of ViT-B/32 by batch and objective beside PyTorch; then RN50,
                      ViT-B/16, and ViT-B/32 without fused attention, with scan and with remat
  input               pairs/s from prepared shards by worker processes, beside PyTorch's loader
  million:RATE[:EPOCHS[:DEFENSE,…]]
                      a million scenes, so large a share poisoned (0.0005, 0.003), with these
                      defences (none,safeclip) for so many epochs, or 0: as many as fit

The default is `steps`. A million needs a call of its own, or one for each defence with the EPOCHS
of the first.

OUT takes accelerator_PART.json, written anew after every row: a run that is cut off keeps what it
has, and what fails or runs out of memory is a row. BUDGET is in seconds, after which the script
stops itself. COMMIT is noted in the files where there is no checkout. TINY=1 runs everything at a
size for a CPU, to try the script out.

Python 3.12 with jax, flax, optax, orbax-checkpoint, transformers, tokenizers and torch is expected
there. The rest comes as wheels in the folder .whl (WHEELS=DIR), 5 MB, from a machine with network:

  python3 -m pip download -d .whl --no-deps --only-binary=:all: --python-version 3.12 \
      --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 --platform any \
      ml_collections grain array_record tensorboardX portpicker

The files go into results/ as they are: docs/scaling.md says how to read them, and
benchmarks/scaling_model.py takes its MFU from them.
END
}

set -euo pipefail

[[ ${1:-} != -h && ${1:-} != --help ]] || { usage; exit 0; }
for part in "$@"; do
    [[ $part =~ ^(steps|input|million:0?\.[0-9]+(:[0-9]+(:[a-z_,]+)?)?)$ ]] || {
        echo "error: no part is called $part, see --help" >&2
        exit 2
    }
done

cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=${OUT:-results}
budget=${BUDGET:-520}
wheels=${WHEELS:-.whl}
status=0
mkdir -p "$out"

if [[ -d $wheels ]]; then
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    python3 -m pip install -q --no-index --no-deps --target "$site" "$wheels"/*.whl
    export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}
fi

# Several processes share the device: none takes all of its memory beforehand.
export XLA_PYTHON_CLIENT_PREALLOCATE=false XLA_PYTHON_CLIENT_MEM_FRACTION=0.92
export TF_CPP_MIN_LOG_LEVEL=2 TOKENIZERS_PARALLELISM=true PYTHONUNBUFFERED=1

# Runs `python3 -m MODULE … --json FILE --seconds` the time that is left but for a reserve.
measure() {
    local file=$1 reserve=$2 seconds
    shift 2
    seconds=$((budget - SECONDS - reserve))
    echo "+ $* ($seconds s)"
    if ((seconds < 20)); then
        echo "no time is left for it"
    else
        python3 -m "$@" --json "$out/accelerator_$file.json" --seconds "$seconds" || status=1
    fi
}

steps() {
    local model=(--dtype bfloat16 --at-once 3 --steps 20) at=1024
    local batches=(1024 4096 256 512 2048) b32=(--preset vit_b32) b16=(--preset vit_b16)
    local rn50=(--preset rn50)
    if [[ -n ${TINY:-} ]]; then
        model=(--size 32 --at-once 2 --steps 2)
        batches=(8 1000000000) at=8
        b32=(--preset vit_nano8) b16=(--preset vit_nano8) rn50=(--preset rn_nano)
    fi
    measure vit_b32 180 benchmarks.steps "${model[@]}" "${b32[@]}" --batches "${batches[@]}" \
        --objectives clip unimodal --peer
    measure rn50 120 benchmarks.steps "${model[@]}" "${rn50[@]}" --batches "$at" --objectives clip --peer
    measure vit_b16 60 benchmarks.steps "${model[@]}" "${b16[@]}" --batches "$at" --objectives clip --peer
    measure variants 0 benchmarks.steps "${model[@]}" "${b32[@]}" --batches "$at" --objectives clip \
        --variants unfused scan products
}

input() {
    local size=(--pairs 10000 --rounds 2 --round-seconds 4 --workers 16 0)
    local against=$out/accelerator_vit_b32.json
    [[ -f $against ]] || against=results/accelerator_vit_b32.json
    [[ -z ${TINY:-} ]] || size=(--pairs 192 --rounds 1 --workers 0)
    # It must not wait for the device, nor the device for it.
    JAX_PLATFORMS=cpu measure input 0 benchmarks.input_pipeline --prepared --peer "${size[@]}" \
        --against "$against"
}

million() {
    local rate=$1 epochs=$2 defenses=$3 size=()
    [[ -z ${TINY:-} ]] || size=(--workers 0 --set data.pairs=400 model.preset=nano
        model.image_size=32 model.dtype=float32 batch_size=64 unimodal.bank_size=128
        score.batch_size=128 optimizer.warmup_pairs=400
        evaluate.pairs=64)
    # shellcheck disable=SC2086 # names without spaces
    measure "million_${rate}_${defenses//,/_}" 0 experiments.million --rate "$rate" \
        --epochs "$epochs" --defenses ${defenses//,/ } "${size[@]}"
}

if [[ -z ${TINY:-} ]] && ! python3 -c 'import jax; assert jax.default_backend() != "cpu"'; then
    echo "error: JAX sees no accelerator here; TINY=1 tries the script out on a CPU" >&2
    exit 2
fi
[[ $# -gt 0 ]] || set -- steps
for part in "$@"; do
    IFS=: read -r name rate epochs defenses <<<"$part"
    case $name in
        steps) steps ;;
        input) input ;;
        million) million "$rate" "${epochs:-0}" "${defenses:-none,safeclip}" ;;
    esac
done
echo "done after $SECONDS s"
exit "$status"

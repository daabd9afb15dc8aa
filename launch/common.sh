# Shared by the launch scripts that run from a checkout. Slurm copies its script away from the
# others, so slurm.sh has its own.
# shellcheck shell=bash

fail() {
    echo "error: $1" >&2
    exit 2
}

show() { printf '+'; printf ' %q' "$@"; echo; }

# Shows a command, and runs it unless $dry_run is set.
do_() {
    show "$@"
    [[ -n $dry_run ]] || "$@"
}

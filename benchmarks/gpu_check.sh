#!/usr/bin/env bash
# All that docs/gpu.md says of a GPU, measured on this one in at most eleven minutes: exactness, speed, sharing.
#
#     bash benchmarks/gpu_check.sh [python]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
records=$(mktemp -d)
trap 'rm -rf "$records"' EXIT

# Runs a part; one that fails or takes too long does not keep the others from being measured.
part() {
    local limit=$1 title=$2
    shift 2
    printf '\n== %s (at most %s s)\n' "$title" "$limit"
    local begin=$SECONDS
    timeout --kill-after=5 "$limit" "$@" || echo "!! ended with exit code $?"
    echo "   took $((SECONDS - begin)) s"
}

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv || echo "no nvidia-smi"
part 90 "equal seeds, and kill -9 with a resume" "$python" benchmarks/exact.py
part 130 "an update, batch 32" "$python" benchmarks/step_speed.py rounds=7 updates=20
part 120 "the tutorial's 15,000 updates from command to last record" \
    bash -c "time '$python' experiments/run.py data=embedded experiment=tutorial records.root='$records'"
part 200 "trials an hour, 1,500 updates each" \
    "$python" benchmarks/search_throughput.py rounds=1 steps=1500 trials=8 workers=1,8
part 70 "an update, batch 512" "$python" benchmarks/step_speed.py rounds=5 updates=10 batch_size=512
part 20 "settings that end in one line" bash -c "
    CUDA_VISIBLE_DEVICES=7 '$python' experiments/run.py data=embedded train.steps=1 records.root='$records' | head -12
    '$python' experiments/run.py data=embedded train.devices=32 records.root='$records'"

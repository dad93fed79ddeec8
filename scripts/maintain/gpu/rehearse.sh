#!/usr/bin/env bash
# Rehearses every stage of on_machine.sh on a CPU, in a clone that is not installed and a virtual
# environment of machine.txt alone. In the project's root, after prepare.sh with some originals:
# bash scripts/maintain/gpu/rehearse.sh FOLDER [PYTHON] [STAGE...]
# A run of 20 steps, stopped by SIGTERM in its middle and continued, must end as one never stopped.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$(realpath -m "${1:?folder to work in}") python=${2:-python3.12}
stages=("${@:3}")
[ ${#stages[@]} -gt 0 ] || stages=(keep check measure bench build jpeg vvc)
mkdir -p "$folder"
if [ ! -e "$folder/venv/.done" ]; then
  "$python" -m venv "$folder/venv"
  "$folder/venv/bin/python" -m pip install --quiet -r "$here/machine.txt"
  touch "$folder/venv/.done"
fi
rm -rf "$folder/checkout"
git clone --quiet . "$folder/checkout"
cp -r .gpu "$folder/checkout/"
cd "$folder/checkout"
export JAX_PLATFORMS=cpu SIDE=512 PY=$folder/venv/bin/python GPU_WORK=$folder/work OUT=$folder/out

stage() {
  echo "== $*"
  bash .gpu/on_machine.sh "$@"
}

train() {  # NAME CONFIG: the line of the README, and smaller sizes
  local data=(--config.data.gt="$GPU_WORK/gt" --config.data.eval_gt="$GPU_WORK/eval")
  [ "$2" = jpeg ] || data=(--config.data.root="$GPU_WORK/data"
    --config.data.eval_gt="$GPU_WORK/data/vvc/qp27/gt"
    --config.data.eval_lq="$GPU_WORK/data/vvc/qp27/lq")
  TRAIN_SECONDS=3000 stage train --config "configs/car_base.py:$2" --workdir "$GPU_WORK/runs/$1" \
    "${data[@]}" --config.train.num_steps=20 --config.train.batch_size=16 \
    --config.data.num_workers=1 --config.optim.warmup_steps=5 --config.log.every=1 \
    --config.checkpoint.every=5 --config.eval.every=10 --config.eval.max_images=1
}

stop_and_continue() {  # CONFIG
  rm -rf "$GPU_WORK/runs"
  train whole "$1"
  train "stopped_$1" "$1" &
  local metrics=$GPU_WORK/runs/stopped_$1/metrics.jsonl
  until grep -qs '"step": 8[,}]' "$metrics"; do
    kill -0 $! || exit 1
    sleep 0.2
  done
  # on_machine.sh below the shell that runs it, and `timeout` below that.
  pkill -TERM -P "$(pgrep -P $!)" -x timeout
  wait $!
  ls -l "$OUT/stopped_$1.safetensors"
  tail -n 1 "$metrics"
  train "stopped_$1" "$1"
  PYTHONPATH=$GPU_WORK/site "$PY" - "$OUT/whole" "$OUT/stopped_$1" <<'PY'
import json, sys
import numpy as np
from safetensors.numpy import load_file

one, other = (load_file(f"{path}.safetensors") for path in sys.argv[1:])
assert one.keys() == other.keys()
assert all(np.array_equal(one[name], other[name]) for name in one)
losses = []
for path in sys.argv[1:]:
    with open(f"{path}.metrics.jsonl") as lines:
        rows = map(json.loads, lines)
        losses.append({row["step"]: row["loss"] for row in rows if "loss" in row})
assert len(losses[0]) == 20 and losses[0] == losses[1], losses
print(f"{len(one)} arrays and {len(losses[0])} losses are equal")
PY
}

for name in "${stages[@]}"; do
  case $name in
    measure)
      printf '%s\n' '[{"variant": "armoe_w_base", "size": [64, 64], "trace": "base"},' \
        '{"config": "configs/car_base.py:vvc", "mode": "train", "batch": 2, "size": [64, 64]}]' \
        >"$folder/cases.json"
      stage measure "$folder/cases.json" --side 512 ;;
    bench)
      stage bench --variant armoe_w_base --size 128 --repeats 2 --json "$OUT/infer.json"
      stage bench --mode train --config configs/car_base.py:jpeg --batch 8 --repeats 2 \
        --json "$OUT/train.json" ;;
    build) stage build 17 22 27 32 37 42 ;;
    jpeg | vvc) stop_and_continue "$name" ;;
    *) stage "$name" ;;
  esac
done 2>&1 | tee -a "$folder/log.txt"

#!/usr/bin/env bash
# Runs on a GPU machine without a network, in the root of a checkout that is not installed.
# Usage: bash .gpu/on_machine.sh STAGE [ARGUMENTS]; see scripts/maintain/gpu/README.md.
#   keep            moves the parts that came with this call to $GPU_WORK: the next brings others
#   check           devices, rates of matrix products, tests marked parity or gpu
#   measure ARGS    measure_card.py: speed of many programs, report and traces in $OUT
#   bench ARGS      `armoe-jax benchmark ARGS`
#   build QP...     codes the originals kept so far with VVC and halves JPEGs, on all cores
#   train ARGS      `python -m armoe_jax.main ARGS`, stopped after TRAIN_SECONDS; weights in $OUT
set -uo pipefail
export GPU_WORK=${GPU_WORK:-$HOME/gpu_work} OUT=${OUT:-$HOME/out} PYTHONUNBUFFERED=1
mkdir -p "$GPU_WORK/gt" "$GPU_WORK/site" "$OUT"
py=${PY:-python3}
install() {
  $py -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade \
    --target "$GPU_WORK/site" "$@"
}
if [ ! -e "$GPU_WORK/site/.done" ]; then
  install .gpu/whl/*.whl && touch "$GPU_WORK/site/.done" || exit 1
fi
export PYTHONPATH=$GPU_WORK/site:$PWD JAX_COMPILATION_CACHE_DIR=$GPU_WORK/xla
export XLA_PYTHON_CLIENT_PREALLOCATE=${XLA_PYTHON_CLIENT_PREALLOCATE:-false}
stage=${1:?stage}; shift
case $stage in
  keep)
    for part in .gpu/gt_*; do [ -d "$part" ] && cp -r "$part"/. "$GPU_WORK/gt/"; done
    [ -d .gpu/eval ] && cp -r .gpu/eval "$GPU_WORK/"
    for part in .gpu/ffmpeg_*; do [ -d "$part" ] && cp "$part"/* "$GPU_WORK/"; done
    if [ -f "$GPU_WORK/half.00" ] && [ -f "$GPU_WORK/half.01" ]; then
      wheel=$GPU_WORK/$(cat "$GPU_WORK/name")
      cat "$GPU_WORK"/half.0? >"$wheel" && rm "$GPU_WORK"/half.0?
      install "$wheel" && rm "$wheel"
    fi
    echo "$(find "$GPU_WORK/gt" -type f | wc -l) originals" ;;
  check)
    nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader
    SIDE=${SIDE:-8192} $py - <<'PY'
import os, time
import flax, jax, jax.numpy as jnp, numpy as np, optax
print("jax", jax.__version__, "flax", flax.__version__, "optax", optax.__version__,
      "numpy", np.__version__, jax.devices())
side = int(os.environ["SIDE"])
for dtype, precision in (("float32", "default"), ("float32", "highest"), ("bfloat16", "default")):
    a = jax.random.normal(jax.random.key(0), (side, side)).astype(dtype)
    product = jax.jit(lambda a: jnp.matmul(a, a, precision=precision))
    product(a).block_until_ready()
    start = time.perf_counter()
    for _ in range(10):
        y = product(a)
    y.block_until_ready()
    seconds = (time.perf_counter() - start) / 10
    print(dtype, precision, round(2 * side**3 / seconds / 1e12, 2), "TFLOP/s")
PY
    # The tests run on the CPU unless told otherwise. Figures that they record are in the XML file.
    JAX_PLATFORMS=${JAX_PLATFORMS:-cuda,cpu} $py -m pytest -q --maxfail 10 --no-header \
      -p no:cacheprovider -n "${JOBS:-8}" -m "parity or gpu" --timeout "${TEST_SECONDS:-240}" \
      --junitxml "$OUT/check.xml" ${TESTS:-tests} 2>&1 | tee "$OUT/check.txt" | tail -n 40 ;;
  measure)
    $py scripts/maintain/gpu/measure_card.py --out "$OUT" "$@" 2>&1 | tee "$OUT/measure.txt" ;;
  bench)
    $py -m armoe_jax.cli benchmark "$@" ;;
  build)
    $py -m armoe_jax.cli build-dataset --source "$GPU_WORK/gt" --codec vvc --qp "$@" \
      --preset faster --halve jpeg --out "$GPU_WORK/data" --workers "$(nproc)" 2>&1 | tail -n 4 ;;
  train)
    # In the foreground: the signal goes to the run alone, not to the processes that read for it.
    timeout --foreground -s TERM -k 60 "${TRAIN_SECONDS:-540}" $py -m armoe_jax.main "$@" 2>&1 |
      tee -a "$OUT/train.txt" | tail -n 40
    for run in "$GPU_WORK"/runs/*/; do
      [ -d "$run/checkpoints" ] || continue
      name=$(basename "$run")
      cp "$run/metrics.jsonl" "$OUT/$name.metrics.jsonl"
      JAX_PLATFORMS=cpu $py -m armoe_jax.cli convert "$run" "$OUT/$name.safetensors" --overwrite \
        2>&1 | tail -n 1
    done
    ls -la "$OUT" ;;
  *) echo "unknown stage $stage: keep, check, measure, bench, build or train" >&2; exit 2 ;;
esac

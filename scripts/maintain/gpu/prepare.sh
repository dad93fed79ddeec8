#!/usr/bin/env bash
# Packs into .gpu/ what a GPU machine without a network lacks. In the project's root, with one:
# [EVAL=FOLDER] bash scripts/maintain/gpu/prepare.sh [FOLDER_OF_ORIGINALS...]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ -f pyproject.toml ] && [ -d armoe_jax ] || { echo "run it in the project's root" >&2; exit 2; }
exclude=$(git rev-parse --git-path info/exclude)  # also in a worktree
grep -qx '/.gpu/' "$exclude" 2>/dev/null || { mkdir -p "$(dirname "$exclude")"; echo '/.gpu/' >>"$exclude"; }
rm -rf .gpu && mkdir -p .gpu/whl .gpu/ffmpeg_1 .gpu/ffmpeg_2
cp "$here/on_machine.sh" .gpu/
platforms=(manylinux_2_34_x86_64 manylinux_2_28_x86_64 manylinux_2_27_x86_64 manylinux_2_24_x86_64
  manylinux_2_17_x86_64 manylinux2014_x86_64)
download() {  # FOLDER PACKAGE...
  python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 \
    --implementation cp --abi cp312 --abi abi3 --abi none "${platforms[@]/#/--platform=}" -d "$@"
}
download .gpu/whl -r "$here/wheels.txt"
# Those without a wheel, of Python alone.
python3 -m pip wheel --quiet --no-deps -w .gpu/whl 'pyvips>=3' promise
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
download "$scratch" 'imageio-ffmpeg>=0.8'
split -n 2 -d "$scratch"/*.whl "$scratch/half."
mv "$scratch/half.00" .gpu/ffmpeg_1/ && mv "$scratch/half.01" .gpu/ffmpeg_2/
basename "$scratch"/*.whl >.gpu/ffmpeg_1/name
if [ -n "${EVAL:-}" ]; then  # few: what `eval.max_images` looks at
  mkdir .gpu/eval && find -L "$EVAL" -type f | sort | head -n 4 | xargs -d '\n' cp -t .gpu/eval
fi
python3 - "$@" <<'PY'
import shutil, sys
from pathlib import Path

LIMIT = 52_000_000  # bytes of one transfer
part = used = 0
for original in sorted(f for folder in sys.argv[1:] for f in Path(folder).iterdir() if f.is_file()):
    size = original.stat().st_size
    if not part or used + size > LIMIT:
        part, used = part + 1, 0
    folder = Path(f".gpu/gt_{part}")
    folder.mkdir(exist_ok=True)
    shutil.copy(original, folder)
    used += size
PY
du -sh .gpu/*

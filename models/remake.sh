#!/usr/bin/env bash
# Remakes the shipped model: eight runs, each from the weights of the one before, then int8 and the bundle.
# usage: models/remake.sh BUSBRA OUT      BUSBRA: the data set in MedCLIPSeg's layout; OUT: a folder for runs and results
# The command is CONVERT (default: causalclipseg-convert, on libtorch: see docs/training.md for what makes that fast).
# A run that was interrupted continues where it stopped; one that has ended is left alone.
set -euo pipefail
[ $# = 2 ] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
busbra=$1 out=$2 here=$(cd "$(dirname "$0")" && pwd)
convert=${CONVERT:-causalclipseg-convert}
mkdir -p "$out"

for count in 400 120; do
    [ -d "$out/phantoms-$count" ] || "$convert" phantom -o "$out/phantoms-$count" --count $count --seed 11 --split 0
done
phantoms=$out/phantoms-400

# train NAME CONFIG [CKPT]
train() {
    local run=$out/$1 data=(--data "$busbra" --data "$phantoms" --device libtorch)
    [ ! -e "$run/final.safetensors" ] || return 0
    if [ -e "$run/state.safetensors" ]; then
        "$convert" train "${data[@]}" --resume -o "$run"
    else
        "$convert" train "${data[@]}" --config "$here/$2" ${3:+--init "$3"} -o "$run"
    fi
}

# Matrices in f16, as a checkpoint is kept between the runs.
import() { "$convert" import "$out/$1/best.safetensors" --storage f16 -o "$out/$1.safetensors"; }

train first tiny.toml
train anneal tiny-anneal.toml "$out/first/best.safetensors"
import anneal
train prompts tiny-prompts.toml "$out/anneal.safetensors"
import prompts
train longer tiny-longer.toml "$out/prompts.safetensors"
import longer
train sizes tiny-sizes.toml "$out/longer.safetensors"
import sizes
train deeper tiny-deeper.toml "$out/sizes.safetensors"
import deeper
phantoms=$out/phantoms-120
train balanced tiny-balanced.toml "$out/deeper.safetensors"
train sentences tiny-sentences.toml "$out/balanced/final.safetensors"
"$convert" import "$out/sentences/best.safetensors" --storage f16 -o "$out/tiny.safetensors"
"$convert" provenance "$out/tiny.safetensors" --data "$busbra" --data "$out/phantoms-400"
"$convert" quantize --checkpoint "$out/tiny.safetensors" --calibrate "$busbra" --compare "$busbra" -o "$out/int8.safetensors"
"$convert" pack --checkpoint "$out/int8.safetensors" --precision int8 --name tiny -o "$out/tiny.ccs"

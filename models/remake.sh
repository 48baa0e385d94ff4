#!/usr/bin/env bash
# Trains the shipped models again: sixteen runs, each from the weights of an earlier one or a mean of several, then int8 and the bundle.
# usage: models/remake.sh BUSBRA HEADS NERVES OUT
#   BUSBRA: BUS-BRA in MedCLIPSeg's layout; HEADS: HC18's training images in img/ with filled masks in head/, and a table
#   structures.csv (folder,name / head,fetal head); NERVES: usgra-seg in img/, nerve/, vessel/ with its split.csv;
#   OUT: a folder for runs and results, tiny.ccs and small.ccs among them
# The command is CONVERT (default: causalclipseg-convert, on libtorch: docs/training.md describes how to make that fast). GPU is the --device of two
# of the runs (default: libtorch-cuda; with libtorch they take days, since their length is set in minutes of a GPU).
# An interrupted run continues where it stopped; a finished one is kept.
set -euo pipefail
[ $# = 4 ] || { sed -n '2,9s/^# //p' "$0" >&2; exit 2; }
busbra=$1 heads=$2 nerves=$3 out=$4 here=$(cd "$(dirname "$0")" && pwd)
convert=${CONVERT:-causalclipseg-convert}
mkdir -p "$out"

for count in 400 120; do
    [ -d "$out/phantoms-$count" ] || "$convert" phantom -o "$out/phantoms-$count" --count $count --seed 11 --split 0
done
[ -d "$out/phantoms-frames" ] || "$convert" phantom -o "$out/phantoms-frames" --count 240 --seed 31 --split 0 --lesion-free 0.4
phantoms=$out/phantoms-400
more=() device=libtorch

# train NAME CONFIG [CKPT]
train() {
    local run=$out/$1 data=(--data "$busbra" --data "$phantoms" "${more[@]}" --device "$device")
    [ ! -e "$run/final.safetensors" ] || return 0
    if [ -e "$run/state.safetensors" ]; then
        "$convert" train "${data[@]}" --resume -o "$run"
    else
        "$convert" train "${data[@]}" --config "$here/$2" ${3:+--init "$3"} -o "$run"
    fi
}

# Matrices in f16, the form in which checkpoints are kept between the runs.
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
import sentences
phantoms=$out/phantoms-frames more=(--data "$heads" --data "$nerves")
train frames tiny-frames.toml "$out/sentences.safetensors"
train grafts tiny-grafts.toml "$out/frames/final.safetensors"
train settle tiny-settle.toml "$out/grafts/final.safetensors"
"$convert" interpolate "$out/sentences.safetensors" "$out/settle/final.safetensors" --share 0.75 --storage f16 -o "$out/between.safetensors"
# Two runs on a GPU; their mean is trained further on a CPU with the unchanged images; then a mean of all.
[ -d "$out/phantoms-600" ] || "$convert" phantom -o "$out/phantoms-600" --count 600 --seed 31 --split 0 --lesion-free 0.4
phantoms=$out/phantoms-600 device=${GPU:-libtorch-cuda}
train wide tiny-wide.toml "$out/between.safetensors"
train light tiny-light.toml "$out/between.safetensors"
"$convert" interpolate "$out/wide/final.safetensors" "$out/light/final.safetensors" --share 0.5 --storage f16 -o "$out/mean.safetensors"
device=libtorch
train home tiny-home.toml "$out/mean.safetensors"
"$convert" interpolate "$out/mean.safetensors" "$out/home/final.safetensors" --share 0.5 --storage f16 -o "$out/calm.safetensors"
"$convert" interpolate "$out/between.safetensors" "$out/calm.safetensors" --share 0.75 --storage f16 -o "$out/eleventh.safetensors"
# Nerves and vessels by name; and the same data for the small network, which begins as the tiny one, widened.
train names tiny-names.toml "$out/eleventh.safetensors"
train small small.toml "$out/eleventh.safetensors"
"$convert" interpolate "$out/eleventh.safetensors" "$out/names/final.safetensors" --share 0.65 --storage f16 -o "$out/tiny.safetensors"
"$convert" interpolate "$out/eleventh.safetensors" "$out/small/final.safetensors" --share 0.6 --storage f16 -o "$out/small.safetensors"

# pack NAME CONFIG: int8 and the bundle. The reliability of its results, measured on the bundle, is written to it and to the checkpoint.
pack() {
    local name=$1 data=(--config "$here/$2" --data "$busbra" --data "$phantoms" "${more[@]}") checkpoint
    "$convert" provenance "$out/$name.safetensors" "${data[@]}"
    "$convert" quantize --checkpoint "$out/$name.safetensors" --calibrate "$busbra" --calibrate "$heads" --calibrate "$nerves" \
        --compare "$busbra" --wide 0 -o "$out/$name-int8.safetensors"
    "$convert" pack --checkpoint "$out/$name-int8.safetensors" --precision int8 --name "$name" -o "$out/$name.ccs"
    "$convert" evaluate --data "$busbra" --split val --requests --format json -m "$out/$name.ccs" > "$out/$name-evaluation.json"
    for checkpoint in "$name-int8" "$name"; do
        "$convert" provenance "$out/$checkpoint.safetensors" "${data[@]}" --evaluation "$out/$name-evaluation.json"
    done
    "$convert" pack --checkpoint "$out/$name-int8.safetensors" --precision int8 --name "$name" -o "$out/$name.ccs"
}

pack tiny tiny-names.toml
pack small small.toml

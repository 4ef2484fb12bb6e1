#!/bin/sh
# The main job on the embedded stories: prepare, train a FraiLT and its matched standard models, compare, tell a story.
# The same commands train on real data: see the README.
set -eu
export PATH="$(cd "$BIN" && pwd):$PATH"
OUT=quickstart
run() { echo; echo "\$ frailt $*"; frailt "$@"; }

began=$(date +%s)
rm -rf "$OUT"
echo "== Stories: written by the embedded generator, with a vocabulary of 512 learned from them"
run prepare --source builtin --stories 6000 --out $OUT/data

echo
echo "== Training: 2^4 is a FraiLT, 2 blocks run 4 times each; 8 has its depth, 2 its parameters"
train() { run train --config configs/quickstart.yaml --data $OUT/data --out "$OUT/$1" --model.layout "$1"; }
# Two at a time, of one thread each: faster on two cores than one after the other.
train 8 2> $OUT/8.log > /dev/null & other=$!
trap 'kill $other 2> /dev/null || true' EXIT
train '2^4'
echo "   (8 was training at the same time; its log is $OUT/8.log)"
wait $other || { cat $OUT/8.log; exit 1; }
train 2

echo
echo "== Comparison: equal tokens; 2 has equal parameters, 8 equal compute"
run compare --runs "[$OUT/2^4,$OUT/2,$OUT/8]" --plot $OUT/loss.png
echo
echo "   2^4 and 8 trained side by side and 2 alone, so that their tokens/s are not to be compared with 2's."
echo "   The curves are in $OUT/loss.png"

echo
echo "== A story from the FraiLT"
run generate --checkpoint "$OUT/2^4" --prompt "One sunny morning," --temperature 0.5 --seed 1 --stream true
echo
echo "Done in $(($(date +%s) - began)) s. Everything is in $OUT/; the README says how to go on."

#!/bin/sh
# A program for sweeps with "trainer": "command": sweep-worker --allow-command demo=/path/to/trainer.sh, and "program": "demo".
# Parameters come as --name=value; the last line of a metric named as the sweep's is the value.
for argument; do
        case $argument in
        --x=*) x=${argument#--x=} ;;
        esac
done
for step in 1 2 3; do
        awk -v x="${x:-0}" -v step=$step 'BEGIN { printf "{\"event\":\"metric\",\"name\":\"loss\",\"step\":%d,\"value\":%.6f}\n", step, (x - 0.3) ^ 2 + 1 / step }'
done

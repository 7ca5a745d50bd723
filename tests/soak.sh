#!/usr/bin/env bash
# soak.sh - a short run of tests/long/soak (make soak), with other moments each time.
exec "$(dirname "$0")/long/soak" 20

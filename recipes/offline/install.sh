#!/bin/sh
# Install cropland from this folder without a network: sh install.sh [FOLDER]     (.venv in this folder, if not given)
set -eu
cd "$(dirname "$0")"
version=$(ls wheels | sed -n 's/^numpy-.*-cp3\([0-9]*\)-.*/3.\1/p') # wheels are for one Python only
venv=${1:-$PWD/.venv}
"python$version" -m venv "$venv"
"$venv/bin/python" -m pip --isolated install --no-index --find-links wheels --no-cache-dir 'cropland[fused]'
"$venv/bin/cropland" --version

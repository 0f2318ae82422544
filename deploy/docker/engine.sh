#!/bin/sh
# Runs in the engine stage: the wheel of the inference engine, from the build context if it is there, else compiled.
set -eu
mkdir -p /engine
for wheel in /build/wheels/llama_cpp_python-*.whl; do
    if [ -e "$wheel" ]; then
        cp "$wheel" /engine/
        exit 0
    fi
done
for name in PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST PIP_CERT; do
    eval "value=\${$name-}"
    [ -n "$value" ] || unset "$name"
done
apt-get update
apt-get install --yes --no-install-recommends g++
python /build/deploy/engine/build_wheel.py --portable --out /engine

#!/bin/sh
# Runs in the builder stages: a service and what it needs, in a virtual environment that is copied to the image.
#
#   install.sh dependencies PACKAGE…   with only the packages' pyproject.toml there: a layer that seldom changes
#   install.sh file DISTRIBUTION       a distribution of which only a file is wanted, without what it asks for
#   install.sh packages PACKAGE…       the packages themselves
#
# Versions are those of deploy/constraints.txt; wheels in deploy/wheels of the build context come before the index, which
# is pip's own configuration (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_CERT, … as build arguments): builder stages are not
# part of an image.
set -eu

step=$1
shift

# An unset build argument arrives as an empty variable, which pip would take for a value.
for name in PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST PIP_CERT; do
    eval "value=\${$name-}"
    [ -n "$value" ] || unset "$name"
done
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=/build/deploy/constraints.txt

case $step in
dependencies)
    python -m venv /opt/jeeves
    /opt/jeeves/bin/python -m pip install --find-links /build/wheels \
        ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"} "$@"
    ;;
file)
    /opt/jeeves/bin/python -m pip install --no-deps "$@"
    ;;
packages)
    /opt/jeeves/bin/python -m pip install --find-links /build/wheels --no-deps --force-reinstall "$@"
    # Nothing is installed in a container that runs.
    /opt/jeeves/bin/python -m pip uninstall --quiet --yes pip
    ;;
*)
    echo "install.sh: dependencies or packages, not $step" >&2
    exit 2
    ;;
esac

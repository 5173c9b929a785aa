#!/bin/sh
set -eu
grep -v CONFIG_BLOCKED "$REQUESTED_CONFIG" >.config

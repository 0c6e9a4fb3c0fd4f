#!/bin/sh
# Makes the server's keys at the first start, and serves. What is given goes to `sketchbridge serve`.
set -eu

if [ ! -e /keys/server.key ]; then
    sketchbridge keygen --keys /keys
fi
exec sketchbridge serve --listen tcp://0.0.0.0:5710 --keys /keys "$@"

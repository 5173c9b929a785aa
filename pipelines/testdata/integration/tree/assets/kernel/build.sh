#!/bin/sh
echo "the step after a failed check ran"
exit 1

#!/usr/bin/env bash
# Prints a Python that torch has wheels for and that can make virtual environments; fails without one.
for python in python3 /usr/bin/python3 python3.13 python3.12 python3.11 python3.14 python3.10; do
  "$python" -c '
import sys, venv, ensurepip
sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null || continue
  echo "$python"
  exit 0
done
exit 1

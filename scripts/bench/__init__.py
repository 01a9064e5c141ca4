"""The parts of scripts/benchmark.py: run the engines, keep what was measured, draw it."""

"""The parts of scripts/benchmark.py: run the engines, store the measurements, draw them."""

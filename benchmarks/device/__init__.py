"""What holds on a device, and what it costs there: ``python -m benchmarks.device``. It needs torch alone."""

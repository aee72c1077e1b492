"""The classifier on a phone: a design that phones can run (slices), ExecuTorch files (pte), an Android project."""

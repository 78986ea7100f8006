"""Button boxes without code: pins, knobs and keys that are bound to words by a file."""

"""Which release answers whom: swaps, labels, canary and shadow, added products."""

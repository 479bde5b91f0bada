"""Which labels to look at first, a page to do it on, and the way back of what people corrected."""

"""What a person reads: the page, its plots and galleries, tables, history."""

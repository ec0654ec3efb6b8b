"""What the audit costs beside the work that cannot be avoided, and whether it finds what plain numpy finds."""

"""What the quantised variants are worth."""

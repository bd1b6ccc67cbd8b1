"""What cameras do to colour and depth."""

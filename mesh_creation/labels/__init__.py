"""Labels of the objects in a registered scan."""

"""Test scenes: the avocado scene is made here, a real recording can be fetched instead."""

"""Posed RGB-D pictures of an object: readers of every layout people have them in, and whether they fit together."""

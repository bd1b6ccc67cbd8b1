"""Poses and masks of a video of an unknown object, from nothing but the object and the mask of the first frame."""

"""Objects to train on, made from random parts."""

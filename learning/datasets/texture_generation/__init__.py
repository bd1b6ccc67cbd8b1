"""Pictures to train on, painted by an image model from descriptions of how objects may look.

The idea of descriptions from a language model is FoundationPose's (Wen et al., CVPR 2024, section 3.1).
"""

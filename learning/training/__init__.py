"""Running the networks (`predict_*`) and training them (`train_*`); the first never needs the second."""

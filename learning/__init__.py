"""The networks, what they are fed, and how they are trained and run."""

"""Following objects before a camera: their state, what is seen of it in the browser, and what leaves the program."""

"""How fast everything is: stages, schedules, tracking, many objects, growth with sizes, and the start."""

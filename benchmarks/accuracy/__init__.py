"""The scoreboard: how often, how exactly and how knowingly any weights find objects, on suites from fixed seeds."""

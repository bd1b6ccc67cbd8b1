"""What the tables of docs/ were measured with: docs/benchmarks.md lists which command made which."""

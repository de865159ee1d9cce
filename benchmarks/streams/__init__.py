"""What it costs to hold many streams, also beside a follower in Go."""

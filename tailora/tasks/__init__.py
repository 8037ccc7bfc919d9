"""Tasks: how text becomes loss, answers and scores. The one extension point."""

"""Movement: the elements at other places, no arithmetic."""

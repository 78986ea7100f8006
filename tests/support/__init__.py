"""What several test modules share. Nothing in here is a test."""

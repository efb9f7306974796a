"""A bundle as a folder for Paddle Serving."""

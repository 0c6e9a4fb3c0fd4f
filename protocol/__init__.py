"""What the Blender panel and the backend say to each other. Standard library and numpy only."""

"""What a surface looks like: texture field, material, baking, mesh files."""

"""The world of the embedded prior: shapes, colours, backgrounds and flaws, and the captioned pictures made of them.

Everything here is for developers: `tools/train_embedded_prior.py` learns from these pictures, the benchmarks compare
with these meshes. The backend never imports it.
"""

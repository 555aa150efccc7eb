"""convad inside other libraries: one module for each, which imports that library.

None of them is imported by the rest of convad.
"""

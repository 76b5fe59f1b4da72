"""What is legal but wrong or unwise: one rule a file, its docstring its documentation."""

"""SiamRPN++ and its relatives, RGBT feature fusion, training and evaluation.

May import ``fusion``; never ``pipeline``.
"""

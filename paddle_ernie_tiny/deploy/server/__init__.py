"""`ernie-tiny serve`: bundles over HTTP.

A request goes middleware -> app -> requests (what was asked) -> engine (queue, batches, one thread a bundle) -> back.
Imports neither PaddleNLP nor any training code.
"""

"""`ernie-tiny serve`: bundles over HTTP.

A request goes middleware -> serve -> messages (what was asked) -> bundle_queue (one thread per bundle) -> back.
Imports neither PaddleNLP nor any training code.
"""

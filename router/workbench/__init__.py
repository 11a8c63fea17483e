"""Policies under examination.

explanation     what would be decided for a request or for facts, without sending anything
"""

"""Cameras and destinations whose names would be alike are told apart, in counts and in files."""

from __future__ import annotations

from edgead.inspection.session import told_apart


def test_each_name_once():
    assert told_apart(["a", "b", "a", "a"]) == ["a", "b", "a-2", "a-3"]


def test_a_name_that_another_was_given_is_taken():
    assert told_apart(["a-2", "a", "a"]) == ["a-2", "a", "a-3"]

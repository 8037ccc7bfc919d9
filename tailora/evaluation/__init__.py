"""Variants of a model × questions → predictions → comparison."""

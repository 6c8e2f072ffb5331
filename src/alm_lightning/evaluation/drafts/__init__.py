"""Draft models: how much of what a small model drafts a larger one takes, and what that saves.

`vocabulary` refuses pairs that can't draft for each other, `rounds` counts drafts and what is kept
of them, `ways` generates with a draft and without, and `overlap` estimates acceptance from the
distributions of both models on a text.
"""

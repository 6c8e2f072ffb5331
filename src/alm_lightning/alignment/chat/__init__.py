"""Chats, aligned: each side in its own template, content on one axis of bytes.

A document is a list of fragments: content, whose bytes are the same on both sides, and structure,
whose tokens are not. `messages.align_messages` is the entry; `turns` says which messages are
trained on.
"""

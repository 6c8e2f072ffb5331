"""A chat: messages with a role and a content each, checked when it is made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

from alm_lightning.corpus.document import BadDocument, Document, check_unicode, shortened

ROLES = ("system", "user", "assistant")
OTHER_ROLES = {"human": "user", "gpt": "assistant"}
"""ShareGPT's names of them."""
CALLS = ("tool_calls", "function_call")
"""Where a message has calls of tools."""
REASONING = ("reasoning_content", "reasoning", "thinking")
"""Where a message may have what was thought before its content."""


class BadChat(BadDocument):
    """A chat that cannot be used: one of its messages, or what a template makes of it."""

    def __init__(self, message: str):
        super().__init__(message, kind="bad chat")


@dataclass(frozen=True)
class Message:
    """One turn of a chat.

    Attributes:
        role: ``system``, ``user`` or ``assistant``.
        content: Its text, unchanged.
    """

    role: str
    content: str

    @classmethod
    def of(cls, value: object, name: str) -> "Message":
        """The message of a mapping with ``role`` and ``content``, or a BadChat error."""
        if not isinstance(value, Mapping):
            raise BadChat(
                f"{name}: expected a mapping with role and content, found {type(value).__name__}: "
                f"{shortened(value)}."
            )
        if "role" not in value and {"from", "value"} <= value.keys():
            # as ShareGPT has them
            role = value["from"]
            role = OTHER_ROLES.get(role, role) if isinstance(role, str) else role
            value = {**value, "role": role, "content": value["value"]}
        # data sets with one column for all roles have an empty list of calls in every message; and
        # a message that calls a tool often has no content, so these checks come first
        calls = next((key for key in CALLS if value.get(key)), CALLS[0])
        if value.get("role") == "tool" or value.get(calls):
            raise BadChat(
                f"{name}: tool calls and their results are not supported yet, found role "
                f"{value.get('role')!r} with {calls}={shortened(value.get(calls))}. Drop such "
                "chats, with on_bad_document=skip for one."
            )
        reasoning = next((key for key in REASONING if value.get(key)), None)
        if reasoning is not None:
            raise BadChat(
                f"{name}: {reasoning} is kept beside the content, {shortened(value[reasoning])}, "
                "and would not be trained on. Write it into the content, as <think>...</think> "
                "before the answer, say; remove the key; or drop such chats, with "
                "on_bad_document=skip for one."
            )
        missing = [key for key in ("role", "content") if key not in value]
        if missing:
            raise BadChat(
                f"{name}: there is no {' and no '.join(missing)} in {shortened(dict(value))}. "
                "Expected {role, content}."
            )
        role, content = value["role"], value["content"]
        if role not in ROLES:
            raise BadChat(
                f"{name}: the role is {shortened(role)}; expected one of {', '.join(ROLES)}. "
                "Rename the roles of the data."
            )
        if not isinstance(content, str):
            raise BadChat(
                f"{name}: the content is a {type(content).__name__}, {shortened(content)}; "
                "expected text. Messages of several parts (images, lists of texts) are not "
                "supported yet: join their texts, or drop such chats with on_bad_document=skip."
            )
        Document(content, name)  # refuses lone surrogates
        return cls(role, content)


@dataclass(frozen=True)
class Chat:
    r"""A conversation.

    Attributes:
        messages: The turns, in order.
        name: Where it came from, for messages: ``"chats.jsonl:12"``.
        group: What figures of an evaluation are split by; None for no group.

    Example:
        >>> chat = Chat.of([{"role": "user", "content": "Hi"}], name="chats.jsonl:1")
        >>> chat.messages
        (Message(role='user', content='Hi'),)
    """

    messages: tuple[Message, ...]
    name: str
    group: str | None = None

    def __post_init__(self) -> None:
        """Refuses a lone surrogate in the group; `Message.of` does so in contents."""
        check_unicode(self.group or "", self.name, "group")

    @classmethod
    def of(cls, value: object, name: str) -> "Chat":
        """The chat of a list of messages, or of mappings, or a BadChat error."""
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise BadChat(
                f"{name}: expected a list of messages, found {type(value).__name__}: "
                f"{shortened(value)}. Choose the column that holds the chat, or read this one as "
                "plain text."
            )
        messages = tuple(
            Message.of(
                vars(entry) if isinstance(entry, Message) else entry, f"{name}, message {number}"
            )
            for number, entry in enumerate(value)
        )
        if not messages:
            raise BadChat(f"{name}: the chat has no messages. Expected at least one.")
        late = [number for number, message in enumerate(messages) if message.role == "system"]
        if late and late != [0]:
            raise BadChat(
                f"{name}: message {late[-1]} is a system message; expected one at most, and that "
                "first. Drop the chat, or move the message."
            )
        return cls(messages, name)

    @cached_property
    def text(self) -> str:
        """The contents, with a blank line between messages: copies of a chat have the same."""
        return "\n\n".join(message.content for message in self.messages)

    @property
    def is_blank(self) -> bool:
        """Whether the contents are only whitespace."""
        return not self.text.strip()


def _merge(chat: Chat) -> Chat:
    first, *others = chat.messages
    if first.role != "system":
        return chat
    if not others or others[0].role != "user":
        raise BadChat(
            f"{chat.name}: the system message is not followed by the user's, which system=merge "
            "would join it to. Take system=own or system=drop."
        )
    joined = Message("user", f"{first.content}\n\n{others[0].content}")
    return replace(chat, messages=(joined, *others[1:]))


def _drop(chat: Chat) -> Chat:
    others = tuple(message for message in chat.messages if message.role != "system")
    if not others:
        raise BadChat(f"{chat.name}: there is nothing but a system message, which is dropped.")
    return replace(chat, messages=others)


def _error(chat: Chat) -> Chat:
    if chat.messages[0].role == "system":
        raise BadChat(
            f"{chat.name}: there is a system message, and system=error allows none. Take "
            "system=own, merge or drop."
        )
    return chat


SYSTEM_POLICIES: Mapping[str, Callable[[Chat], Chat]] = MappingProxyType(
    {"own": lambda chat: chat, "merge": _merge, "drop": _drop, "error": _error}
)
"""What happens to a system message: ``own``, a turn as each side's template has it; ``merge``, part
of the first user turn, with a blank line between, on both sides alike; ``drop``; ``error``."""

"""Commands of ``voice-provider``, one file each: ``add`` describes it, and ``run`` is called with its options."""


def plain(text: str) -> str:
    """Return text that a terminal only shows: whoever wrote a name or a record chose it."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in text)

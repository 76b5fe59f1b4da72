"""STS's answers in AWS's query protocol: XML, nothing but text in it; pure.

The one rule: whatever a value holds, it stays one text of one element.
Source: https://smithy.io/2.0/aws/protocols/aws-query-protocol.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias
from xml.sax.saxutils import escape

Fields: TypeAlias = Mapping[str, "str | Fields"]
"""Elements by name, in order; a mapping holds further ones."""

MEDIA_TYPE = "text/xml"
_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML document may hold, not even escaped."""


def result(action: str, fields: Fields, request_id: str) -> bytes:
    """The answer to a successful call."""
    content = {f"{action}Result": fields, "ResponseMetadata": {"RequestId": request_id}}
    return _document(f"{action}Response", content)


def failure(code: str, message: str, status: int, request_id: str) -> bytes:
    """The answer to a call that was refused or failed.

    Source: https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
    """
    fault = {"Type": "Receiver" if status >= 500 else "Sender", "Code": code, "Message": message}
    return _document("ErrorResponse", {"Error": fault, "RequestId": request_id})


def _document(root: str, fields: Fields) -> bytes:
    return f'<{root} xmlns="{_NAMESPACE}">{_elements(fields)}</{root}>\n'.encode()


def _elements(fields: Fields) -> str:
    return "".join(
        f"<{name}>{_text(value) if isinstance(value, str) else _elements(value)}</{name}>"
        for name, value in fields.items()
    )


def _text(value: str) -> str:
    return escape(_FORBIDDEN.sub("\ufffd", value), {"\r": "&#13;"})

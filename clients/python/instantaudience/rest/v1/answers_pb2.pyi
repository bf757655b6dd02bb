from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class DebugInfo(_message.Message):
    __slots__ = ("output_term",)
    OUTPUT_TERM_FIELD_NUMBER: _ClassVar[int]
    output_term: str
    def __init__(self, output_term: _Optional[str] = ...) -> None: ...

from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from instantaudience.rest.v1 import answers_pb2 as _answers_pb2
from instantaudience.v1 import authentication_pb2 as _authentication_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SignInRequest(_message.Message):
    __slots__ = ("auth",)
    AUTH_FIELD_NUMBER: _ClassVar[int]
    auth: _authentication_pb2.Credentials
    def __init__(self, auth: _Optional[_Union[_authentication_pb2.Credentials, _Mapping]] = ...) -> None: ...

class SignInResponse(_message.Message):
    __slots__ = ("response",)
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    response: SignInResult
    def __init__(self, response: _Optional[_Union[SignInResult, _Mapping]] = ...) -> None: ...

class SignInResult(_message.Message):
    __slots__ = ("status", "token", "dbg_info")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    DBG_INFO_FIELD_NUMBER: _ClassVar[int]
    status: str
    token: str
    dbg_info: _answers_pb2.DebugInfo
    def __init__(self, status: _Optional[str] = ..., token: _Optional[str] = ..., dbg_info: _Optional[_Union[_answers_pb2.DebugInfo, _Mapping]] = ...) -> None: ...

class SignInWithJwtRequest(_message.Message):
    __slots__ = ("jwt",)
    JWT_FIELD_NUMBER: _ClassVar[int]
    jwt: str
    def __init__(self, jwt: _Optional[str] = ...) -> None: ...

class SignInWithJwtResponse(_message.Message):
    __slots__ = ("response",)
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    response: SignInResult
    def __init__(self, response: _Optional[_Union[SignInResult, _Mapping]] = ...) -> None: ...

class SignOutRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SignOutResponse(_message.Message):
    __slots__ = ("response",)
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    response: SignOutResult
    def __init__(self, response: _Optional[_Union[SignOutResult, _Mapping]] = ...) -> None: ...

class SignOutResult(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: str
    def __init__(self, status: _Optional[str] = ...) -> None: ...
